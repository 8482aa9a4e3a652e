//! A camera's picture as a terminal can show it: a cell is two pixels, one above the other. Pure.

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Most pixels each way: a picture says its size before it is decoded.
const MOST: (usize, usize) = (4096, 2160);

/// Red, green and blue.
pub type Rgb = [u8; 3];

/// A picture in cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    columns: usize,
    /// Pixels, row by row: two rows for each row of cells.
    pixels: Vec<Rgb>,
}

impl Picture {
    /// Decodes a JPEG and makes it as large as this many columns and rows allow.
    ///
    /// # Errors
    /// A sentence, if it is no JPEG that can be shown.
    pub fn decode(jpeg: &[u8], (columns, rows): (u16, u16)) -> Result<Self, String> {
        let options = DecoderOptions::default()
            .set_max_width(MOST.0)
            .set_max_height(MOST.1)
            .jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
        let decoded = decoder.decode();
        let bytes = decoded.map_err(|why| format!("the picture is no JPEG: {why:?}"))?;
        let (width, height) = decoder.dimensions().unwrap_or_default();
        let (pixels, _) = bytes.as_chunks();
        if width == 0 || height == 0 || pixels.len() < width * height {
            return Err("the picture is empty".to_owned());
        }
        let most = (usize::from(columns).max(1), 2 * usize::from(rows).max(1));
        let (columns, lines) = fit((width, height), most);
        let average = |n: usize| {
            let (column, line) = (n % columns, n / columns);
            let across = part(column, columns, width);
            let down = part(line, lines, height);
            average(pixels, width, across, down)
        };
        let pixels = (0..columns * lines).map(average).collect();
        Ok(Self { columns, pixels })
    }

    /// Cells of each row: the upper and the lower pixel of each.
    pub fn rows(&self) -> impl Iterator<Item = impl Iterator<Item = (Rgb, Rgb)>> {
        self.pixels.chunks_exact(2 * self.columns).map(|two| {
            let (upper, lower) = two.split_at(self.columns);
            upper.iter().copied().zip(lower.iter().copied())
        })
    }

    pub fn columns(&self) -> usize {
        self.columns
    }
}

/// Largest size of the same shape within this one, with an even number of lines.
fn fit((width, height): (usize, usize), most: (usize, usize)) -> (usize, usize) {
    let (columns, lines) = match width * most.1 > height * most.0 {
        true => (most.0, most.0 * height / width),
        false => (most.1 * width / height, most.1),
    };
    (columns.max(1), (lines + lines % 2).clamp(2, most.1))
}

/// Pixels of the source for one of `count` parts; never none.
fn part(number: usize, count: usize, pixels: usize) -> std::ops::Range<usize> {
    let from = number * pixels / count;
    from..((number + 1) * pixels / count).max(from + 1)
}

fn average(
    pixels: &[Rgb],
    width: usize,
    across: std::ops::Range<usize>,
    down: std::ops::Range<usize>,
) -> Rgb {
    let mut sums = [0_usize; 3];
    let count = across.len() * down.len();
    for line in down {
        for pixel in &pixels[line * width..][across.clone()] {
            for (sum, value) in sums.iter_mut().zip(pixel) {
                *sum += usize::from(*value);
            }
        }
    }
    // 5 bits of each: less noise, and fewer cells that change.
    sums.map(|sum| u8::try_from(sum / count).unwrap_or(u8::MAX) & 0xF8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 16 × 8 pixels: the left half is red, the right half blue.
    const RED_AND_BLUE: &[u8] = include_bytes!("picture/red-and-blue.jpg");

    #[test]
    fn a_picture_keeps_its_shape_and_its_colours() {
        let picture = Picture::decode(RED_AND_BLUE, (80, 10)).unwrap();
        let rows: Vec<Vec<_>> = picture.rows().map(Iterator::collect).collect();
        assert_eq!((picture.columns(), rows.len()), (40, 10));
        let is = |(upper, lower): (Rgb, Rgb), strong: usize| {
            [upper, lower].iter().all(|pixel| {
                let weak = pixel.iter().enumerate().filter(|(n, _)| *n != strong);
                pixel[strong] > 200 && weak.clone().all(|(_, value)| *value < 60)
            })
        };
        assert!(rows.iter().all(|row| is(row[2], 0) && is(row[37], 2)));
        // As wide as there is room.
        let flat = Picture::decode(RED_AND_BLUE, (20, 40)).unwrap();
        assert_eq!((flat.columns(), flat.rows().count()), (20, 5));
    }

    #[test]
    fn the_smallest_area_and_one_larger_than_the_picture_hold_it() {
        for size in [(0, 0), (1, 1), (1, 200), (500, 1), (500, 200)] {
            let picture = Picture::decode(RED_AND_BLUE, size).unwrap();
            assert!(picture.columns() <= usize::from(size.0.max(1)), "{size:?}");
            assert!(picture.rows().count() <= usize::from(size.1.max(1)));
        }
    }

    #[test]
    fn what_is_no_jpeg_gets_a_sentence() {
        for bytes in [
            &b""[..],
            b"\xff\xd8\xff",
            &RED_AND_BLUE[..200],
            &[0x55; 5000],
        ] {
            let _ = Picture::decode(bytes, (80, 20)).map(|it| it.columns());
        }
        assert!(Picture::decode(b"GIF89a", (80, 20)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_spoilt_picture_does_harm(
            changes in proptest::collection::vec((0..RED_AND_BLUE.len(), proptest::prelude::any::<u8>()), 1..8),
            length in 0..=RED_AND_BLUE.len(),
        ) {
            let mut bytes = RED_AND_BLUE.to_vec();
            for (at, value) in changes {
                bytes[at] = value;
            }
            let _ = Picture::decode(&bytes[..length], (80, 20));
            let _ = Picture::decode(&bytes, (80, 20));
        }
    }
}
