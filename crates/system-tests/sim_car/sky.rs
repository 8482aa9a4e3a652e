//! Owns what is behind everything in the simulated world: sky, clouds and hills all round, painted
//! once.

#![expect(
    clippy::cast_possible_truncation,
    reason = "pixels and colours are what floats are rounded to"
)]

use std::f32::consts::TAU;

use crate::paint::{Colour, Picture, clouds, lit, mix, noise, put, step};

/// The colour of the air at the horizon.
pub(crate) const AIR: Colour = [206.0, 222.0, 234.0];

/// A strip with the whole round of the horizon on it.
pub(crate) struct Sky {
    strip: Picture,
}

impl Sky {
    /// One of so many rows above the horizon, for a camera of this focal length in pixels.
    pub(crate) fn new(rows: usize, focal: f32) -> Self {
        let mut strip = Picture::new((TAU * focal) as usize, rows);
        let columns = strip.width;
        for y in 0..rows {
            let up = (rows - y) as f32 / focal;
            let row = strip.row(y);
            for x in 0..columns {
                let round = x as f32 / columns as f32 * TAU;
                put(&mut row[x * 3..][..3], colour(round, up, 1.0 / focal));
            }
        }
        Self { strip }
    }

    /// Paints the part of it that each column of a picture looks at: `rounds` says in which
    /// direction that is, in radians.
    pub(crate) fn paint(&self, picture: &mut Picture, rounds: impl Iterator<Item = f32>) {
        let columns = self.strip.width;
        let sources: Vec<usize> = rounds
            .map(|round| {
                let share = round.rem_euclid(TAU) / TAU;
                ((share * columns as f32) as usize).min(columns - 1) * 3
            })
            .collect();
        for y in 0..self.strip.height {
            let from = &self.strip.bytes[y * columns * 3..][..columns * 3];
            for (pixel, source) in picture.row(y).chunks_exact_mut(3).zip(&sources) {
                pixel.copy_from_slice(&from[*source..*source + 3]);
            }
        }
    }
}

/// What is in this direction, `up` above the horizon.
fn colour(round: f32, up: f32, pixel: f32) -> Colour {
    let mut colour = mix(AIR, [72.0, 132.0, 206.0], (up * 1.6).powf(0.7));
    // Clouds are in a plane above us.
    let far = 1.0 / (up + 0.06);
    let (sin, cos) = round.sin_cos();
    let cover = clouds(cos * far * 0.9 + 40.0, sin * far * 0.9 + 17.0);
    let is_cloud = step(cover, 0.60, 0.16) * step(up, 0.12, 0.16);
    colour = mix(
        colour,
        mix([255.0; 3], [222.0, 228.0, 236.0], (cover - 0.55) * 4.0),
        is_cloud * 0.9,
    );
    // Each range nearer, lower and less blue than the one behind it.
    for (height, waves, rough, tint) in [
        (0.105, [2.0, 5.0, 9.0], 0.020, [142.0, 164.0, 190.0]),
        (0.066, [3.0, 7.0, 13.0], 0.014, [112.0, 142.0, 142.0]),
        (0.034, [4.0, 11.0, 19.0], 0.010, [82.0, 116.0, 92.0]),
    ] {
        let [one, two, three] = waves.map(|wave| (round * wave + wave * wave).sin());
        let ridge = height * (0.75 + 0.28 * one + 0.17 * two + 0.08 * three)
            + rough
                * (noise(
                    (round * 30.0).sin() * 9.0 + 50.0,
                    (round * 30.0).cos() * 9.0 + 50.0,
                ) - 0.5);
        let light = 0.94 + 0.12 * noise(round * 120.0, up * 500.0) + 0.5 * (up - ridge);
        colour = mix(
            lit(mix(tint, AIR, (1.0 - up / height) * 0.25), light),
            colour,
            step(up, ridge, pixel * 1.5),
        );
    }
    colour.map(|part| part.clamp(0.0, 255.0))
}
