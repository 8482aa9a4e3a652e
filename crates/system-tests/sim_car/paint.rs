//! Owns what all that is painted is made of: colours, noise, and the picture that they come into.

#![expect(
    clippy::cast_possible_truncation,
    reason = "pixels and colours are what floats are rounded to"
)]

/// Red, green and blue from 0 to 255.
pub(crate) type Colour = [f32; 3];

/// The colour between two: `share` of the second.
pub(crate) fn mix(one: Colour, other: Colour, share: f32) -> Colour {
    let share = share.clamp(0.0, 1.0);
    [0, 1, 2].map(|i| one[i] + (other[i] - one[i]) * share)
}

/// A colour made lighter or darker.
pub(crate) fn lit(colour: Colour, light: f32) -> Colour {
    colour.map(|part| part * light)
}

/// 0 below the edge, 1 above, and a ramp of this width between, so that no edge is jagged.
pub(crate) fn step(value: f32, edge: f32, width: f32) -> f32 {
    ((value - edge) / width + 0.5).clamp(0.0, 1.0)
}

/// The whole number below. (`f32::floor` is a call on machines of the first 64 bits, and this is
/// asked for each pixel several times.)
pub(crate) fn floor(value: f32) -> i32 {
    let whole = value as i32;
    whole - i32::from(whole as f32 > value)
}

/// From 0 to 1, the same for the same place, and without any order.
pub(crate) fn hash(x: i32, y: i32) -> f32 {
    let mut bits = (x as u32).wrapping_mul(0x9E37_79B1) ^ (y as u32).wrapping_mul(0x85EB_CA77);
    bits ^= bits >> 15;
    bits = bits.wrapping_mul(0x2C1B_3C6D);
    bits ^= bits >> 12;
    bits = bits.wrapping_mul(0x297A_2D39);
    bits ^= bits >> 15;
    (bits >> 8) as f32 / (1 << 24) as f32
}

/// Smooth noise from 0 to 1, with spots as large as 1.
pub(crate) fn noise(x: f32, y: f32) -> f32 {
    let (left, top) = (x.floor(), y.floor());
    let (right_share, low_share) = (smooth(x - left), smooth(y - top));
    let (i, j) = (left as i32, top as i32);
    let upper = hash(i, j) * (1.0 - right_share) + hash(i + 1, j) * right_share;
    let lower = hash(i, j + 1) * (1.0 - right_share) + hash(i + 1, j + 1) * right_share;
    upper * (1.0 - low_share) + lower * low_share
}

/// The same with finer and finer spots in it.
pub(crate) fn clouds(x: f32, y: f32) -> f32 {
    let mut sum = 0.0;
    for (scale, weight) in [(1.0, 0.5), (2.1, 0.25), (4.3, 0.15), (8.9, 0.1)] {
        sum += noise(x * scale + scale, y * scale - scale) * weight;
    }
    sum
}

fn smooth(share: f32) -> f32 {
    share * share * (3.0 - 2.0 * share)
}

/// A picture, row by row, three bytes a pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture {
    pub width: usize,
    pub height: usize,
    pub bytes: Vec<u8>,
}

impl Picture {
    pub(crate) fn new(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            bytes: vec![0; width * height * 3],
        }
    }

    pub(crate) fn row(&mut self, y: usize) -> &mut [u8] {
        let length = self.width * 3;
        &mut self.bytes[y * length..][..length]
    }

    /// Puts a colour there, of which so much covers what was there.
    pub(crate) fn blend(&mut self, x: usize, y: usize, colour: Colour, cover: f32) {
        let at = (y * self.width + x) * 3;
        let pixel = &mut self.bytes[at..at + 3];
        if cover >= 0.999 {
            put(pixel, colour);
            return;
        }
        for (byte, part) in pixel.iter_mut().zip(colour) {
            let old = f32::from(*byte);
            *byte = (old + (part - old) * cover) as u8;
        }
    }
}

/// Puts a colour into a pixel.
pub(crate) fn put(pixel: &mut [u8], colour: Colour) {
    for (byte, part) in pixel.iter_mut().zip(colour) {
        *byte = part as u8;
    }
}
