//! Owns the simulated car's camera: what the car sees as JPEG after JPEG on standard output, at a
//! steady rate, until nobody reads it any more; and what is written into the pictures.

use std::io::{self, Write};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use glam::vec3;
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use crate::car::{Car, CarFile};
use crate::paint::{Colour, Picture, is_ink};
use crate::render::Renderer;

/// From 1 to 100: a picture of 640×480 has some 40 KB.
const QUALITY: u8 = 75;
const INK: Colour = vec3(244.0, 246.0, 240.0);
const ALARM: Colour = vec3(255.0, 196.0, 60.0);

/// Films so many pictures a second, until `output` is closed.
///
/// # Errors
/// If a picture can't be written for another reason than that nobody reads.
pub(crate) fn film(
    (width, height): (u16, u16),
    rate: u32,
    file: &CarFile,
    mut output: impl Write,
) -> io::Result<()> {
    let mut renderer = Renderer::new(width.into(), height.into());
    let (mut jpeg, mut last) = (Vec::new(), Car::new(Duration::ZERO));
    let mut due = Instant::now();
    for number in 1u32.. {
        let car = file.car();
        last = *car.as_ref().unwrap_or(&last);
        let picture = renderer.paint(&last);
        write(picture, car.as_ref().ok(), number);
        jpeg.clear();
        let mut encoder = Encoder::new(&mut jpeg, QUALITY);
        encoder.set_sampling_factor(SamplingFactor::F_2_2);
        encoder
            .encode(picture.pixels.as_flattened(), width, height, ColorType::Rgb)
            .map_err(io::Error::other)?;
        match output.write_all(&jpeg).and_then(|()| output.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            written => written?,
        }
        // Whoever reads slowly gets fewer pictures, and none that is old.
        due = (due + Duration::from_secs(1) / rate).max(Instant::now());
        sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// Writes the time, the picture's number, and the car's speed and motion, or that there is no car.
fn write(picture: &mut Picture, car: Option<&Car>, number: u32) {
    let (width, height, dot) = (picture.width, picture.height, (picture.height / 240).max(1));
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let seconds = now.as_secs();
    let [hours, minutes, seconds] = [seconds / 3600 % 24, seconds / 60 % 60, seconds % 60];
    let tenths = now.subsec_millis() / 100;
    let clock = format!("{hours:02}:{minutes:02}:{seconds:02}.{tenths} UTC  #{number:06}");
    text(picture, [4 * dot, 4 * dot], dot, &clock, INK);
    if let Some(car) = car {
        let corner = [4 * dot, height.saturating_sub(14 * dot)];
        let said = format!("{:.1} m/s {}", car.speed.abs(), car.says().0);
        text(
            picture,
            corner,
            dot,
            &said,
            if car.bumped { ALARM } else { INK },
        );
    } else {
        let (left, top) = (width / 2, height / 3);
        let corner = [left.saturating_sub(72 * dot), top.saturating_sub(12 * dot)];
        text(picture, corner, 3 * dot, "NO CAR", ALARM);
    }
}

/// Writes letters of 8×8 dots on a dark ground.
fn text(picture: &mut Picture, [left, top]: [usize; 2], dot: usize, text: &str, colour: Colour) {
    for y in top..(top + 10 * dot).min(picture.height) {
        for x in left..(left + (text.len() * 8 + 2) * dot).min(picture.width) {
            let [column, row] = [x - left, y - top].map(|pixels| pixels as f32 / dot as f32 - 1.0);
            let paint = match is_ink(text, column, row) {
                true => colour.extend(1.0),
                false => vec3(16.0, 20.0, 28.0).extend(1.0) * 0.45,
            };
            picture.blend(x, y, paint);
        }
    }
}

#[cfg(test)]
mod tests {
    use zune_jpeg::JpegDecoder;
    use zune_jpeg::zune_core::bytestream::ZCursor;

    use super::*;
    use crate::car::Motion;

    /// Takes each write as a picture, and is closed when the closure says so.
    struct Viewer<F: FnMut(&[u8]) -> bool>(F);

    impl<F: FnMut(&[u8]) -> bool> Write for Viewer<F> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let is_open = (self.0)(bytes);
            is_open
                .then_some(bytes.len())
                .ok_or(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// How much two pictures differ in their middle, where nothing is written.
    fn difference(one: &[u8], other: &[u8]) -> u64 {
        let middle = one.len() / 3..one.len() * 2 / 3;
        let pairs = one[middle.clone()].iter().zip(&other[middle]);
        pairs
            .map(|(one, other)| u64::from(one.abs_diff(*other)))
            .sum()
    }

    #[test]
    fn it_films_in_the_size_asked_until_nobody_looks_and_shows_the_car_move() {
        let folder = tempfile::tempdir().unwrap();
        let file = CarFile(folder.path().join("car"));
        file.start().unwrap();
        let mut frames = Vec::new();
        let viewer = Viewer(|jpeg| {
            assert!(jpeg.starts_with(b"\xff\xd8") && jpeg.ends_with(b"\xff\xd9"));
            let mut decoder = JpegDecoder::new(ZCursor::new(jpeg));
            frames.push(decoder.decode().unwrap());
            assert_eq!(decoder.dimensions(), Some((160, 120)));
            if frames.len() == 2 {
                file.tell(Motion::Left, 1.0).unwrap();
            }
            // It has turned by an eighth.
            frames.len() < 3 || file.car().unwrap().heading < 0.8
        });
        film((160, 120), 100, &file, viewer).unwrap();
        let standing = difference(&frames[0], &frames[1]);
        let moved = difference(&frames[0], &frames[frames.len() - 1]);
        assert!(moved > 20 * (standing + 1000), "{standing} {moved}");
    }

    #[test]
    fn without_a_car_it_says_so_until_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = CarFile(folder.path().join("car"));
        let mut sizes = Vec::new();
        let viewer = Viewer(|jpeg| {
            let mut decoder = JpegDecoder::new(ZCursor::new(jpeg));
            let pixels = decoder.decode().unwrap();
            // Whether the letters of NO CAR, above the middle, are there.
            let letters = &pixels[320 * 3 * 60..320 * 3 * 100];
            let is_alarm =
                |dot: &&[u8]| dot[0] > 240 && (150..220).contains(&dot[1]) && dot[2] < 100;
            sizes.push(letters.chunks_exact(3).filter(is_alarm).count());
            if sizes.len() == 2 {
                file.start().unwrap();
            }
            sizes.len() < 3
        });
        film((320, 240), 100, &file, viewer).unwrap();
        assert!(
            sizes[0] > 500 && sizes[1] > 500 && sizes[2] == 0,
            "{sizes:?}"
        );
    }
}
