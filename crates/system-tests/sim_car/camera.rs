//! Owns the simulated car's camera: what the car sees as JPEG after JPEG on standard output, at a
//! steady rate, until nobody reads it any more.

use std::io::{self, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use crate::hud::Facts;
use crate::paint::Picture;
use crate::radio::Receiver;
use crate::render::Renderer;
use crate::world::Pose;

/// From 1 to 100: a picture of 640×480 has some 40 KB.
const QUALITY: u8 = 75;
/// How often a worker that is not there is looked for.
const AGAIN: Duration = Duration::from_millis(500);

/// What the camera shows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub width: u16,
    pub height: u16,
}

/// Films until `output` is closed, so many pictures a second, what the car of the worker at this
/// socket sees. After so much patience without an answer from it the picture goes on without.
///
/// # Errors
/// If a picture can't be written for another reason than that nobody reads.
pub(crate) fn film(
    size: Size,
    rate: u32,
    socket: &Path,
    patience: Duration,
    mut output: impl Write,
) -> io::Result<()> {
    let renderer = Renderer::new(size.width.into(), size.height.into());
    let mut picture = Picture::new(size.width.into(), size.height.into());
    let mut car = Car::new(socket, patience);
    let (mut jpeg, mut number) = (Vec::new(), 0);
    let pause = Duration::from_secs(1) / rate;
    let mut due = Instant::now();
    loop {
        number += 1;
        let (pose, is_there) = car.pose();
        let facts = Facts {
            pose,
            is_there,
            time: SystemTime::now(),
            number,
        };
        renderer.paint(&mut picture, &facts);
        jpeg.clear();
        encode(&picture, size, &mut jpeg)?;
        match output.write_all(&jpeg).and_then(|()| output.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
        // Whoever reads slowly gets fewer pictures, and none that is old.
        due = (due + pause).max(Instant::now());
        sleep(due.saturating_duration_since(Instant::now()));
    }
}

fn encode(picture: &Picture, size: Size, jpeg: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = Encoder::new(jpeg, QUALITY);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder
        .encode(&picture.bytes, size.width, size.height, ColorType::Rgb)
        .map_err(io::Error::other)
}

/// The car, as far as it can be heard.
struct Car<'a> {
    socket: &'a Path,
    patience: Duration,
    receiver: Option<Receiver>,
    last: Pose,
    look_at: Instant,
}

impl<'a> Car<'a> {
    fn new(socket: &'a Path, patience: Duration) -> Self {
        Self {
            socket,
            patience,
            receiver: None,
            last: Pose::START,
            look_at: Instant::now(),
        }
    }

    /// Where it is, or was when it was heard last; and whether it is there now.
    fn pose(&mut self) -> (Pose, bool) {
        if self.receiver.is_none() && Instant::now() >= self.look_at {
            self.receiver = Receiver::tune(self.socket, self.patience).ok();
            self.look_at = Instant::now() + AGAIN;
        }
        match self.receiver.as_ref().map(Receiver::pose) {
            Some(Ok(pose)) => self.last = pose,
            Some(Err(_)) => self.receiver = None,
            None => {}
        }
        (self.last, self.receiver.is_some())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::UNIX_EPOCH;

    use zune_jpeg::JpegDecoder;
    use zune_jpeg::zune_core::bytestream::ZCursor;

    use super::*;
    use crate::garage::Garage;
    use crate::radio::{SOCKET, Station};
    use crate::world::Motion;

    /// As long as a slow machine may need.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// Takes each write as a picture, and is closed after some.
    struct Viewer<F: FnMut(Vec<u8>) -> bool>(F);

    impl<F: FnMut(Vec<u8>) -> bool> Write for Viewer<F> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if (self.0)(bytes.to_vec()) {
                Ok(bytes.len())
            } else {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn decoded(jpeg: &[u8]) -> (usize, usize, Vec<u8>) {
        let mut decoder = JpegDecoder::new(ZCursor::new(jpeg));
        let pixels = decoder.decode().unwrap();
        let (width, height) = decoder.dimensions().unwrap();
        (width, height, pixels)
    }

    /// How much two pictures differ in their middle, where nothing is written.
    fn difference(one: &[u8], other: &[u8]) -> u64 {
        let middle = one.len() / 3..one.len() * 2 / 3;
        (one[middle.clone()].iter().zip(&other[middle]))
            .map(|(one, other)| u64::from(one.abs_diff(*other)))
            .sum()
    }

    #[test]
    fn it_films_in_the_size_asked_until_nobody_looks_and_shows_the_car_move() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join(SOCKET);
        let garage = Arc::new(Garage::new());
        let _station = Station::open(&socket, &garage).unwrap();
        let size = Size {
            width: 160,
            height: 120,
        };
        let mut frames = Vec::new();
        let viewer = Viewer(|jpeg| {
            assert_eq!(
                (&jpeg[..2], &jpeg[jpeg.len() - 2..]),
                (&b"\xff\xd8"[..], &b"\xff\xd9"[..])
            );
            let (width, height, pixels) = decoded(&jpeg);
            assert_eq!((width, height), (160, 120));
            frames.push(pixels);
            if frames.len() == 2 {
                garage.tell(Motion::Left, 1.0);
            }
            // It has turned by an eighth.
            frames.len() < 3 || garage.pose().heading < 0.8
        });
        film(size, 100, &socket, PATIENCE, viewer).unwrap();
        let standing = difference(&frames[0], &frames[1]);
        let moved = difference(&frames[0], frames.last().unwrap());
        assert!(moved > 20 * (standing + 1000), "{standing} {moved}");
    }

    #[test]
    fn without_a_car_it_says_so_until_there_is_one() {
        let renderer = Renderer::new(320, 240);
        let paint = |is_there| {
            let mut picture = Picture::new(320, 240);
            let facts = Facts {
                pose: Pose::START,
                is_there,
                time: UNIX_EPOCH,
                number: 1,
            };
            renderer.paint(&mut picture, &facts);
            picture
        };
        assert_ne!(paint(true), paint(false));
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join(SOCKET);
        let mut car = Car::new(&socket, PATIENCE);
        assert_eq!(car.pose(), (Pose::START, false));
        let garage = Arc::new(Garage::new());
        let station = Station::open(&socket, &garage).unwrap();
        car.look_at = Instant::now();
        assert_eq!(car.pose(), (Pose::START, true));
        drop(station);
    }
}
