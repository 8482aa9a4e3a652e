//! Keeps the camera's program running while somebody watches, and reads its pictures; starts it
//! again with a pause when it dies or hangs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_shared::backoff::Backoff;
use p2p_shared::bounded::Text;
use p2p_shared::logging::LogThrottle;
use p2p_shared::names::Argument;
use p2p_shared::os::jitter;
use p2p_shared::protocol::CameraState;
use p2p_shared::text::{Escaped, EscapedBytes};
use p2p_shared::timing::{KILL_GRACE, millis};
use tokio::io::AsyncReadExt;
use tokio::time::{sleep, sleep_until, timeout};

use super::jpeg::{JpegLosses, JpegSplitter};
use super::watchdog::Watchdog;
use super::{CameraShared, LOG_PERIOD, unwatched, watched};
use crate::clock;
use crate::process::{
    self, OWNER_VARIABLE, OsProcesses, Output, Pipes, ProcessGroup, Program, Spawn,
};
use crate::run::ended;
use crate::stderr_log;

/// Bytes that are read at a time: what a pipe holds.
const READ: usize = 64 * 1024;
/// Time for a program that has closed its output to end, and for its last words to come.
const LAST_MOMENT: Duration = Duration::from_millis(500);
const LAST_WORDS: usize = 200;

pub(super) struct CameraSupervisor {
    words: Vec<String>,
    folder: PathBuf,
    shared: CameraShared,
    failures: LogThrottle,
    losses: LogThrottle,
    lost: JpegLosses,
}

impl CameraSupervisor {
    pub(super) fn new(words: Vec<String>, folder: PathBuf, shared: CameraShared) -> Self {
        Self {
            words,
            folder,
            shared,
            failures: LogThrottle::new(1, LOG_PERIOD),
            losses: LogThrottle::new(1, LOG_PERIOD),
            lost: JpegLosses::default(),
        }
    }

    /// Keeps the program running while somebody watches, until the inner ends.
    pub(super) async fn run(mut self) {
        let end = self.shared.end.clone();
        let mut watching = self.shared.watching.clone();
        let mut backoff = Backoff::default();
        while let Some(true) = end.run_until_cancelled(watched(&mut watching)).await {
            self.shared.state.send_replace(Some(CameraState::Starting));
            let Err(why) = self.once(&mut backoff).await else {
                continue;
            };
            let pause = backoff.pause(Instant::now(), jitter());
            if let Some(untold) = self.failures.allow(Instant::now()) {
                let restart_ms = millis(pause);
                tracing::error!(
                    why,
                    restart_ms,
                    untold,
                    "the camera is gone; it is started again"
                );
            }
            self.shared.state.send_replace(Some(CameraState::Failed {
                why: Text::new(why),
            }));
            tokio::select! {
                () = end.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    }

    /// Runs the program once, until the inner ends or nobody watches. An error is the reason why
    /// the program ended sooner.
    async fn once(&mut self, backoff: &mut Backoff) -> Result<(), String> {
        let (mut group, pipes) = self.start()?;
        tracing::info!(program = %Escaped(&self.words[0]), "the camera is started");
        let mut stdout = pipes.stdout;
        let said = stderr_log::spawn(None, pipes.stderr);
        let end = self.shared.end.clone();
        let over = tokio::select! {
            () = end.cancelled() => Ok("the inner ends"),
            () = unwatched(self.shared.watching.clone()) => Ok("nobody watches"),
            why = self.read(&mut stdout, backoff) => Err(why),
        };
        // A viewer that comes while the program ends is not shown an old picture.
        self.shared.newest.send_replace(None);
        let mut why = match over {
            Ok(why) => {
                end_reading(&mut group, stdout).await;
                tracing::info!(why, "the camera is ended");
                return Ok(());
            }
            Err(Some(why)) => why,
            Err(None) => match timeout(LAST_MOMENT, group.ended()).await {
                Ok(status) => format!("it ended ({})", ended(&status)),
                Err(_) => "it closed its output".to_owned(),
            },
        };
        end_reading(&mut group, stdout).await;
        if let Ok(Ok(words)) = timeout(LAST_MOMENT, said).await
            && !words.is_empty()
        {
            why = format!("{why}: {}", EscapedBytes(&words).cut(LAST_WORDS));
        }
        Err(why)
    }

    /// Reads pictures until the program has closed its output (`None`) or has to be ended.
    async fn read(
        &mut self,
        stdout: &mut Box<dyn Output>,
        backoff: &mut Backoff,
    ) -> Option<String> {
        let mut splitter = JpegSplitter::default();
        let mut watchdog = Watchdog::new(Instant::now());
        let mut buffer = vec![0; READ];
        loop {
            let read = tokio::select! {
                read = stdout.read(&mut buffer) => read,
                () = sleep_until(watchdog.next().into()) => {
                    match watchdog.verdict(Instant::now()) {
                        Some(why) => return Some(why),
                        None => continue,
                    }
                }
            };
            let (Ok(length @ 1..), now) = (read, Instant::now()) else {
                return None;
            };
            let mut pictures = 0;
            splitter.push(&buffer[..length], clock::now_ms(), |picture| {
                pictures += 1;
                self.shared.newest.send_replace(Some(picture));
            });
            if pictures > 0
                && self
                    .shared
                    .state
                    .send_if_modified(|state| state.take().is_some())
            {
                backoff.connected(now);
            }
            let lost = splitter.take_lost();
            self.lost.garbage += lost.garbage;
            self.lost.too_large += lost.too_large;
            self.log_losses();
            watchdog.read(length, pictures, splitter.is_within(), now);
            if let Some(why) = watchdog.verdict(now) {
                return Some(why);
            }
        }
    }

    fn start(&self) -> Result<(ProcessGroup, Pipes), String> {
        let (program, arguments) = self
            .words
            .split_first()
            .ok_or_else(|| "no program is given".to_owned())?;
        let arguments: Result<Vec<Argument>, _> = arguments
            .iter()
            .map(|word| Argument::try_from(Bytes::from(word.clone())))
            .collect();
        let program = Program {
            file: Path::new(program),
            arguments: &arguments.map_err(|error| error.to_string())?,
            folder: &self.folder,
            variables: &[(OWNER_VARIABLE, std::process::id().to_string())],
            has_stdin: false,
        };
        let processes: Arc<dyn Spawn> = Arc::new(OsProcesses);
        ProcessGroup::start(&processes, &program)
            .map_err(|error| self.why_not(program.file, &error))
    }

    /// The sentence that says why the program can't be started, and what to do.
    fn why_not(&self, program: &Path, error: &io::Error) -> String {
        let name = program.to_string_lossy();
        let shown = Escaped(&name);
        let is_path = name.contains('/');
        let file = self.folder.join(program);
        if error.kind() != io::ErrorKind::NotFound || is_path && file.exists() {
            return process::why_not(&file, error);
        }
        if is_path {
            format!("there is no file {shown}, seen from the folder of the commands")
        } else {
            format!("there is no program {shown} in the PATH: install it, or give its whole path")
        }
    }

    fn log_losses(&mut self) {
        if self.lost != JpegLosses::default() && self.losses.allow(Instant::now()).is_some() {
            let JpegLosses { garbage, too_large } = std::mem::take(&mut self.lost);
            tracing::warn!(
                bytes = garbage,
                too_large,
                "the camera wrote data that is not a picture; it was thrown away"
            );
        }
    }
}

/// Ends the program, and reads its output meanwhile: if the output were closed first, the program
/// would complain.
async fn end_reading(group: &mut ProcessGroup, mut stdout: Box<dyn Output>) {
    let reading = async {
        let mut thrown_away = vec![0; READ];
        while matches!(stdout.read(&mut thrown_away).await, Ok(1..)) {}
        std::future::pending().await
    };
    tokio::select! {
        () = group.end(KILL_GRACE) => {}
        () = reading => {}
    }
}

#[cfg(test)]
mod tests;
