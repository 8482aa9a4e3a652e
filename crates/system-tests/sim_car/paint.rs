//! Owns what pictures are made of: colours, noise, letters, the picture's bytes, and textures.

use font8x8::legacy::BASIC_LEGACY;
use glam::{Vec3, Vec4};

/// Red, green and blue from 0 to 255.
pub(crate) type Colour = Vec3;
/// A colour times its opacity, and the opacity from 0 to 1.
pub(crate) type Paint = Vec4;

/// 0 below the edge, 1 above, and a ramp of this width between, so that no edge is jagged.
pub(crate) fn step(value: f32, edge: f32, width: f32) -> f32 {
    ((value - edge) / width + 0.5).clamp(0.0, 1.0)
}

/// 1 for half of each period and 0 for the other; between, where a pixel sees many periods.
pub(crate) fn stripes(at: f32, period: f32, pixel: f32) -> f32 {
    let periods = at / period;
    let phase = periods - floor(periods) as f32;
    step((0.25 - (phase - 0.5).abs()) * period, 0.0, pixel.max(0.001))
}

/// The whole number below. (`f32::floor` is a call on x86-64, and each pixel needs several.)
pub(crate) fn floor(value: f32) -> i32 {
    let whole = value as i32;
    whole - i32::from(whole as f32 > value)
}

/// A random number from 0 to 1, the same for the same place.
pub(crate) fn hash(x: i32, y: i32) -> f32 {
    let mut bits = (x as u32).wrapping_mul(0x9E37_79B1) ^ (y as u32).wrapping_mul(0x85EB_CA77);
    bits = (bits ^ bits >> 15).wrapping_mul(0x2C1B_3C6D);
    bits = (bits ^ bits >> 12).wrapping_mul(0x297A_2D39);
    ((bits ^ bits >> 15) >> 8) as f32 / (1 << 24) as f32
}

/// Smooth noise from 0 to 1, with spots of size 1.
pub(crate) fn noise(x: f32, y: f32) -> f32 {
    let (i, j) = (floor(x), floor(y));
    let [u, v] = [x - i as f32, y - j as f32].map(|share| share * share * (3.0 - 2.0 * share));
    let row = |j| hash(i, j) * (1.0 - u) + hash(i + 1, j) * u;
    row(j) * (1.0 - v) + row(j + 1) * v
}

/// Noise with finer and finer spots in it.
pub(crate) fn clouds(x: f32, y: f32) -> f32 {
    [(1.0, 0.5), (2.1, 0.25), (4.3, 0.15), (8.9, 0.1)]
        .map(|(scale, weight)| noise(x * scale + scale, y * scale - scale) * weight)
        .iter()
        .sum()
}

/// Whether a letter of this text has ink here, in dots of letters of 8×8.
pub(crate) fn is_ink(text: &str, column: f32, row: f32) -> bool {
    if !(0.0..8.0).contains(&row) || column < 0.0 {
        return false;
    }
    let (column, row) = (column as usize, row as usize);
    let letter = text.as_bytes().get(column / 8);
    let dots = letter.and_then(|letter| BASIC_LEGACY.get(usize::from(*letter)));
    dots.is_some_and(|dots| dots[row] >> (column % 8) & 1 == 1)
}

/// A picture, row by row.
pub(crate) struct Picture {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<[u8; 3]>,
}

impl Picture {
    /// Paints over a pixel.
    pub(crate) fn blend(&mut self, x: usize, y: usize, paint: Paint) {
        let pixel = &mut self.pixels[y * self.width + x];
        let below = Colour::from(pixel.map(f32::from));
        *pixel = bytes(below * (1.0 - paint.w) + paint.truncate());
    }
}

pub(crate) fn bytes(colour: Colour) -> [u8; 3] {
    colour.to_array().map(|part| part as u8)
}

/// A painted surface, column by column.
pub(crate) struct Surface {
    width: usize,
    height: usize,
    dots: Vec<Paint>,
}

impl Surface {
    fn new(width: usize, height: usize, dot: impl Fn(usize, usize) -> Paint) -> Self {
        let dots = 0..width * height;
        let dots = dots.map(|i| dot(i / height, i % height)).collect();
        Self {
            width,
            height,
            dots,
        }
    }

    /// The paint at a place, between the four dots round it.
    pub(crate) fn at(&self, x: f32, y: f32) -> Paint {
        let place = |share: f32, dots: usize| {
            let at = (share * dots as f32 - 0.5).clamp(0.0, dots as f32 - 1.001);
            let dot = at as u32;
            (dot as usize, at - dot as f32)
        };
        let ((left, x), (top, y)) = (place(x, self.width), place(y, self.height));
        let column = |first: usize| self.dots[first].lerp(self.dots[first + 1], y);
        let first = left * self.height + top;
        column(first).lerp(column(first + self.height), x)
    }
}

/// A surface and its smaller and smaller copies, so that it does not flicker far away.
pub(crate) struct Copies(Vec<Surface>);

impl Copies {
    /// A surface of so many dots (powers of two), each painted by its place: x from 0 to 1, y from 0
    /// at the top to 1.
    pub(crate) fn new(width: usize, height: usize, paint: impl Fn(f32, f32) -> Paint) -> Self {
        let share = |dot, dots| (dot as f32 + 0.5) / dots as f32;
        let paint = |x, y| paint(share(x, width), share(y, height));
        let mut copies = vec![Surface::new(width, height, paint)];
        while let Some(last) = copies.last()
            && last.width.min(last.height) > 2
        {
            copies.push(Surface::new(last.width / 2, last.height / 2, |x, y| {
                let at = 2 * (x * last.height + y);
                let four = [at, at + 1, at + last.height, at + last.height + 1];
                four.map(|dot| last.dots[dot]).iter().sum::<Paint>() / 4.0
            }));
        }
        Self(copies)
    }

    /// The copy that fits a height of so many pixels.
    pub(crate) fn of_height(&self, pixels: f32) -> &Surface {
        let dots = self.0[0].height as f32 / pixels.max(1.0);
        &self.0[((dots.max(1.0).log2() + 0.3) as usize).min(self.0.len() - 1)]
    }
}
