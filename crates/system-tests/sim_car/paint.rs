//! Owns what a picture is made of: colours, noise, the picture's bytes, and textures.

use std::array::from_fn;

/// Red, green and blue from 0 to 255.
pub(crate) type Colour = [f32; 3];
/// A colour times its opacity, and the opacity from 0 to 1.
pub(crate) type Paint = [f32; 4];

pub(crate) fn mix<const N: usize>(one: [f32; N], other: [f32; N], share: f32) -> [f32; N] {
    let share = share.clamp(0.0, 1.0);
    from_fn(|i| one[i] + (other[i] - one[i]) * share)
}

pub(crate) fn lit(colour: Colour, light: f32) -> Colour {
    colour.map(|part| part * light)
}

pub(crate) fn opaque(colour: Colour, opacity: f32) -> Paint {
    let [red, green, blue] = lit(colour, opacity);
    [red, green, blue, opacity]
}

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

/// A picture, row by row.
pub(crate) struct Picture {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<[u8; 3]>,
}

impl Picture {
    pub(crate) fn new(width: usize, height: usize, pixel: impl Fn(usize, usize) -> Colour) -> Self {
        let pixels =
            (0..width * height).map(|i| pixel(i % width, i / width).map(|part| part as u8));
        let pixels = pixels.collect();
        Self {
            width,
            height,
            pixels,
        }
    }

    /// Paints over a pixel.
    pub(crate) fn blend(&mut self, x: usize, y: usize, [red, green, blue, opacity]: Paint) {
        let pixel = &mut self.pixels[y * self.width + x];
        for (byte, part) in pixel.iter_mut().zip([red, green, blue]) {
            *byte = (f32::from(*byte) * (1.0 - opacity) + part) as u8;
        }
    }
}

/// A painted surface and its smaller and smaller copies, so that it does not flicker far away.
pub(crate) struct Texture(Vec<Level>);

pub(crate) struct Level {
    width: usize,
    height: usize,
    /// Column by column, as panels are painted.
    dots: Vec<Paint>,
}

impl Texture {
    /// A surface of so many dots (powers of two), each painted by its place: x from 0 to 1, y from
    /// 0 at the top to 1.
    pub(crate) fn new(width: usize, height: usize, paint: impl Fn(f32, f32) -> Paint) -> Self {
        let (w, h) = (width as f32, height as f32);
        let level = Level::new(width, height, |x, y| {
            paint((x as f32 + 0.5) / w, (y as f32 + 0.5) / h)
        });
        let mut levels = vec![level];
        while let Some(last) = levels.last()
            && last.width.min(last.height) > 2
        {
            let halved = Level::new(last.width / 2, last.height / 2, |x, y| {
                let at = 2 * (x * last.height + y);
                let four = [at, at + 1, at + last.height, at + last.height + 1];
                [0, 1, 2, 3].map(|part| four.map(|i| last.dots[i][part]).iter().sum::<f32>() / 4.0)
            });
            levels.push(halved);
        }
        Self(levels)
    }

    /// The copy that fits a height of so many pixels.
    pub(crate) fn level(&self, pixels: f32) -> &Level {
        let dots = self.0[0].height as f32 / pixels.max(1.0);
        &self.0[((dots.max(1.0).log2() + 0.3) as usize).min(self.0.len() - 1)]
    }
}

impl Level {
    fn new(width: usize, height: usize, dot: impl Fn(usize, usize) -> Paint) -> Self {
        let dots = (0..width * height)
            .map(|i| dot(i / height, i % height))
            .collect();
        Self {
            width,
            height,
            dots,
        }
    }

    /// The dots of a column from top to bottom, each between the two beside it.
    pub(crate) fn column(&self, x: f32) -> impl Iterator<Item = Paint> {
        let at = (x * self.width as f32 - 0.5).max(0.0);
        let (left, last) = (at as usize, self.width - 1);
        let dots = |x: usize| &self.dots[x.min(last) * self.height..][..self.height];
        let pairs = dots(left).iter().zip(dots(left + 1));
        pairs.map(move |(one, other)| mix(*one, *other, at - left as f32))
    }
}
