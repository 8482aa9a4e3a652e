//! Owns how the camera learns from the worker where the car is: a Unix socket in the folder that both
//! work in, the command directory. A line asks, a line of JSON answers; `stop` stops the car, for the
//! stop command's file.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::garage::Garage;
use crate::world::{Motion, Pose};

/// The socket's name, where none is given. It begins with a dot, so that it is no command.
pub(crate) const SOCKET: &str = ".sim-car.socket";
/// Most who may listen: a camera, and a stop now and then.
const MOST: usize = 16;
/// Most bytes of a line.
const LINE: u64 = 1024;
/// Who says nothing for so long is let go; a camera asks once a second at the least.
const SILENCE: Duration = Duration::from_secs(10);

/// The worker's end. The socket's file goes with it.
#[derive(Debug)]
pub(crate) struct Station {
    path: PathBuf,
    inode: u64,
}

impl Station {
    /// Answers at this path, which it takes from any worker before.
    ///
    /// # Errors
    /// If the socket can't be made there.
    pub(crate) fn open(path: &Path, garage: &Arc<Garage>) -> io::Result<Self> {
        // Renamed into place: whoever looks finds the old or the new one.
        let mut own = path.as_os_str().to_owned();
        own.push(format!(".{}", std::process::id()));
        let _ = fs::remove_file(&own);
        let listener = UnixListener::bind(&own)?;
        let inode = fs::symlink_metadata(&own)?.ino();
        fs::rename(&own, path)?;
        let (garage, listening) = (Arc::clone(garage), Arc::new(AtomicUsize::new(0)));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else {
                    // Out of file descriptors, which must not become a busy loop.
                    std::thread::sleep(Duration::from_millis(100));
                    continue;
                };
                if listening.fetch_add(1, Ordering::Relaxed) >= MOST {
                    listening.fetch_sub(1, Ordering::Relaxed);
                    continue;
                }
                let (garage, listening) = (Arc::clone(&garage), Arc::clone(&listening));
                std::thread::spawn(move || {
                    let _ = serve(&stream, &garage);
                    listening.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        let path = path.to_owned();
        Ok(Self { path, inode })
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        // Another worker may have taken its place.
        if fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn serve(stream: &UnixStream, garage: &Garage) -> io::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    let mut lines = BufReader::new(stream);
    while let Some(line) = line(&mut lines)? {
        let pose = match line.as_slice() {
            b"pose" => garage.pose(),
            b"stop" => garage.tell(Motion::Stop, 1.0),
            _ => return Ok(()),
        };
        let mut answer = serde_json::to_vec(&pose)?;
        answer.push(b'\n');
        (&mut &*stream).write_all(&answer)?;
    }
    Ok(())
}

fn line(lines: &mut BufReader<&UnixStream>) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    lines.by_ref().take(LINE).read_until(b'\n', &mut line)?;
    Ok((line.pop() == Some(b'\n')).then_some(line))
}

/// The camera's end.
#[derive(Debug)]
pub(crate) struct Receiver {
    stream: UnixStream,
}

impl Receiver {
    /// Calls the worker, which has this time for each of its answers.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn tune(path: &Path, patience: Duration) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self { stream })
    }

    /// Where the car is now.
    ///
    /// # Errors
    /// If there is no answer in time, or none that makes sense: then call again.
    pub(crate) fn pose(&self) -> io::Result<Pose> {
        self.ask(b"pose\n")
    }

    /// Stops the car.
    ///
    /// # Errors
    /// As [`pose`](Self::pose).
    pub(crate) fn stop(&self) -> io::Result<Pose> {
        self.ask(b"stop\n")
    }

    fn ask(&self, question: &[u8]) -> io::Result<Pose> {
        (&mut &self.stream).write_all(question)?;
        let answer = line(&mut BufReader::new(&self.stream))?;
        let answer = answer.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(serde_json::from_slice(&answer)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn the_camera_hears_where_the_car_is_and_a_stop_is_passed_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SOCKET);
        assert!(Receiver::tune(&path, PATIENCE).is_err(), "no car");
        let garage = Arc::new(Garage::new());
        let station = Station::open(&path, &garage).unwrap();
        let receiver = Receiver::tune(&path, PATIENCE).unwrap();
        assert_eq!(receiver.pose().unwrap(), Pose::START);
        garage.tell(Motion::Left, 1.0);
        assert_eq!(receiver.pose().unwrap().motion, Motion::Left);
        assert_eq!(receiver.stop().unwrap().motion, Motion::Stop);
        assert_eq!(garage.pose().motion, Motion::Stop);
        drop(station);
        assert!(!path.exists());
    }

    #[test]
    fn noise_and_long_lines_end_the_call_and_no_more_than_that() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SOCKET);
        let _station = Station::open(&path, &Arc::new(Garage::new())).unwrap();
        for noise in [&b"\xff\x00\n"[..], &[b'x'; 5000]] {
            let mut stream = UnixStream::connect(&path).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let _ = stream.write_all(noise);
            // Closed, or reset with what was not read.
            let read = stream.read(&mut [0; 10]);
            assert!(
                matches!(read, Ok(0))
                    || read.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
            );
        }
        let receiver = Receiver::tune(&path, PATIENCE).unwrap();
        assert_eq!(receiver.pose().unwrap(), Pose::START);
    }

    #[test]
    fn a_worker_takes_the_place_of_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SOCKET);
        let (old, new) = (Arc::new(Garage::new()), Arc::new(Garage::new()));
        let old_one = Station::open(&path, &old).unwrap();
        let _new_one = Station::open(&path, &new).unwrap();
        drop(old_one);
        new.tell(Motion::Left, 1.0);
        let receiver = Receiver::tune(&path, PATIENCE).unwrap();
        assert_eq!(receiver.pose().unwrap().motion, Motion::Left);
    }
}
