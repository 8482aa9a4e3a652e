//! Owns a painted surface and its smaller and smaller copies, so that it is neither jagged nor
//! flickers far away.

#![expect(
    clippy::cast_possible_truncation,
    reason = "pixels and colours are what floats are rounded to"
)]

use crate::paint::Colour;

/// A colour, and how much of it there is.
pub(crate) type Paint = (Colour, f32);

struct Level {
    width: usize,
    height: usize,
    /// Red, green, blue, and how much covers what is behind.
    pixels: Vec<[f32; 4]>,
}

impl Level {
    fn halved(&self) -> Self {
        let (width, height) = (self.width.div_ceil(2), self.height.div_ceil(2));
        let mut pixels = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                let at = |dx: usize, dy: usize| {
                    let (x, y) = (
                        (2 * x + dx).min(self.width - 1),
                        (2 * y + dy).min(self.height - 1),
                    );
                    self.pixels[y * self.width + x]
                };
                let four = [at(0, 0), at(1, 0), at(0, 1), at(1, 1)];
                let cover: f32 = four.iter().map(|pixel| pixel[3]).sum();
                let mut mean = [0.0; 4];
                for pixel in four {
                    // What isn't there has no say in the colour.
                    let weight = if cover > 0.0 { pixel[3] / cover } else { 0.25 };
                    for part in 0..3 {
                        mean[part] += pixel[part] * weight;
                    }
                }
                mean[3] = cover / 4.0;
                pixels.push(mean);
            }
        }
        Self {
            width,
            height,
            pixels,
        }
    }
}

/// A surface.
pub(crate) struct Texture {
    levels: Vec<Level>,
}

impl Texture {
    /// One of so many dots, each painted as told: x from 0 to 1, y from 0 at the top to 1.
    pub(crate) fn paint(
        width: usize,
        height: usize,
        mut paint: impl FnMut(f32, f32) -> Paint,
    ) -> Self {
        let mut pixels = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                let (x, y) = (
                    (x as f32 + 0.5) / width as f32,
                    (y as f32 + 0.5) / height as f32,
                );
                let ([red, green, blue], cover) = paint(x, y);
                pixels.push([red, green, blue, cover]);
            }
        }
        let mut levels = vec![Level {
            width,
            height,
            pixels,
        }];
        while let Some(last) = levels.last()
            && last.width.min(last.height) > 2
        {
            let halved = last.halved();
            levels.push(halved);
        }
        Self { levels }
    }

    /// The dots from top to bottom at x (from 0 to 1), for a strip of so many pixels.
    pub(crate) fn strip(&self, x: f32, pixels: f32) -> Strip<'_> {
        let dots = self.levels[0].height as f32 / pixels.max(1.0);
        let number = (dots.max(1.0).log2() + 0.3) as usize;
        let level = &self.levels[number.min(self.levels.len() - 1)];
        let at = (x * level.width as f32 - 0.5).max(0.0);
        let left = (at as usize).min(level.width - 1);
        Strip {
            level,
            left,
            right: (left + 1).min(level.width - 1),
            share: at - left as f32,
        }
    }
}

/// A vertical line of a surface.
pub(crate) struct Strip<'a> {
    level: &'a Level,
    left: usize,
    right: usize,
    share: f32,
}

impl Strip<'_> {
    /// What is at y, from 0 at the top to 1.
    pub(crate) fn at(&self, y: f32) -> Paint {
        let level = self.level;
        let at = (y * level.height as f32 - 0.5).max(0.0);
        let upper = (at as usize).min(level.height - 1);
        let lower = (upper + 1).min(level.height - 1);
        let low = at - upper as f32;
        let (upper, lower) = (upper * level.width, lower * level.width);
        let four = [
            (upper + self.left, (1.0 - low) * (1.0 - self.share)),
            (upper + self.right, (1.0 - low) * self.share),
            (lower + self.left, low * (1.0 - self.share)),
            (lower + self.right, low * self.share),
        ];
        let mut sum = [0.0; 4];
        for (index, weight) in four {
            let pixel = &level.pixels[index];
            for part in 0..4 {
                sum[part] += pixel[part] * weight;
            }
        }
        ([sum[0], sum[1], sum[2]], sum[3])
    }
}
