//! The witness of "the command's process started": this very program, copied into the car's command
//! directory. Its first act is to write its name and the time. No log of the product is used.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::time::{ClockId, clock_gettime};

/// The car's motion commands, in the order of the pad.
pub const MOTION: [&str; 4] = ["forward", "back", "left", "right"];
/// Its stop command.
pub const STOP: &str = "stop";
/// Of those that move, these run while the car moves; the others set something and exit.
const STAYING: [&str; 2] = ["left", "right"];
/// The pipe to the benchmark, beside the command directory.
const PIPE: &str = "acts";

/// The time, by the clock that all processes of this machine share.
pub fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap())
}

/// Runs this process as a command of the car, if it was started as one; returns whether it was.
pub fn run_if_command() -> bool {
    let called = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&called)
        .file_name()
        .and_then(|name| name.to_str());
    let Some(name) = name.filter(|name| *name == STOP || MOTION.contains(name)) else {
        return false;
    };
    let act = format!("{name} {} {}\n", std::process::id(), now().as_nanos());
    let pipe = OpenOptions::new()
        .write(true)
        .custom_flags(i32::try_from(OFlags::NONBLOCK.bits()).unwrap())
        .open(Path::new("..").join(PIPE));
    // A benchmark that is over listens no more.
    if let Ok(mut pipe) = pipe {
        let _ = pipe.write_all(act.as_bytes());
    }
    if STAYING.contains(&name) {
        std::thread::sleep(Duration::from_secs(30));
    }
    true
}

/// Start of a command, as the command itself wrote it.
#[derive(Debug, Clone)]
pub struct CommandStart {
    pub name: String,
    pub process: u32,
    pub at: Duration,
}

impl CommandStart {
    pub fn is_stop(&self) -> bool {
        self.name == STOP
    }
}

/// Receives the starts of one car's commands.
pub struct CommandStarts(Receiver<CommandStart>);

impl CommandStarts {
    /// Listens for the commands of the car in this folder.
    pub fn of(folder: &Path) -> Self {
        let path = folder.join(PIPE);
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        // Open for writing too: else it would end with each command.
        let pipe = File::options().read(true).write(true).open(&path).unwrap();
        let (starts, heard) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines() {
                let line = line.unwrap();
                let mut words = line.split(' ');
                let mut word = || words.next().unwrap();
                let act = CommandStart {
                    name: word().to_owned(),
                    process: word().parse().unwrap(),
                    at: Duration::from_nanos(word().parse().unwrap()),
                };
                if starts.send(act).is_err() {
                    return;
                }
            }
        });
        Self(heard)
    }

    /// The first act that is wanted; those before it are forgotten.
    pub fn first(
        &self,
        within: Duration,
        wanted: impl Fn(&CommandStart) -> bool,
    ) -> Option<CommandStart> {
        let until = now() + within;
        loop {
            let act = self.0.recv_timeout(until.saturating_sub(now())).ok()?;
            if wanted(&act) {
                return Some(act);
            }
        }
    }

    /// All acts, until there was none for so long.
    pub fn until_quiet(&self, silence: Duration) -> Vec<CommandStart> {
        std::iter::from_fn(|| self.0.recv_timeout(silence).ok()).collect()
    }
}
