//! Owns how the simulated world becomes a picture from where the car is: sky, ground row by row, and
//! all that stands upright column by column, the far before the near.

use std::array::from_fn;
use std::f32::consts::{FRAC_PI_2, TAU};

use crate::car::Car;
use crate::ground::Ground;
use crate::paint::{Colour, Paint, Picture, clouds, lit, mix, noise, opaque, step};
use crate::scene::{Panel, panels};

/// Metres above the ground, as high as the roof of a small car.
const EYE: f32 = 0.55;
/// Half of what is seen from left to right, as a tangent: 75 degrees in all.
const WIDE: f32 = 0.767;
/// Nearer things are not seen.
const NEAR: f32 = 0.08;
/// The colour of the air at the horizon.
const AIR: Colour = [206.0, 222.0, 234.0];

/// A camera for pictures of one size, with all that never changes painted already.
pub(crate) struct Renderer {
    picture: Picture,
    horizon: usize,
    /// Pixels.
    focal: f32,
    ground: Ground,
    /// The whole round of the horizon.
    sky: Picture,
    panels: Vec<Panel>,
    bonnet: Vec<Paint>,
}

/// A column of a panel.
struct Slice<'a> {
    panel: &'a Panel,
    column: usize,
    depth: f32,
    /// From 0 at the panel's left to 1.
    share: f32,
}

impl Renderer {
    pub(crate) fn new(width: usize, height: usize) -> Self {
        let (focal, horizon) = (width as f32 / 2.0 / WIDE, height * 45 / 100);
        let round = (TAU * focal) as usize;
        let first = height - height / 8;
        let share = |part: usize, whole: usize| (part as f32 + 0.5) / whole as f32;
        Self {
            picture: Picture::new(width, height, |_, _| AIR),
            horizon,
            focal,
            ground: Ground::new(),
            sky: Picture::new(round, horizon, |x, y| {
                let up = (horizon - y) as f32 / focal;
                sky(share(x, round) * TAU, up, 1.0 / focal)
            }),
            panels: panels(),
            bonnet: (first..height)
                .flat_map(|y| (0..width).map(move |x| bonnet(share(x, width), share(y, height))))
                .collect(),
        }
    }

    /// Paints what the car sees.
    pub(crate) fn paint(&mut self, car: &Car) -> &mut Picture {
        self.paint_sky(car);
        self.paint_ground(car);
        let mut slices = Vec::new();
        for panel in &self.panels {
            self.slice(panel, car, &mut slices);
        }
        slices.sort_unstable_by(|one, other| other.depth.total_cmp(&one.depth));
        for slice in &slices {
            paint_slice(&mut self.picture, self.horizon, self.focal, slice);
        }
        let Picture { width, height, .. } = self.picture;
        let first = height - height / 8;
        for (i, paint) in self.bonnet.iter().enumerate() {
            self.picture.blend(i % width, first + i / width, *paint);
        }
        &mut self.picture
    }

    /// How far to the right a column looks for each metre ahead.
    fn slope(&self, column: usize) -> f32 {
        (column as f32 + 0.5 - self.picture.width as f32 / 2.0) / self.focal
    }

    fn paint_sky(&mut self, car: &Car) {
        let (width, round) = (self.picture.width, self.sky.width);
        let columns: Vec<usize> = (0..width)
            .map(|column| (car.heading - self.slope(column).atan()).rem_euclid(TAU) / TAU)
            .map(|share| (share * round as f32) as usize % round)
            .collect();
        let rows = self.picture.pixels.chunks_exact_mut(width);
        for (row, sky) in rows.zip(self.sky.pixels.chunks_exact(round)) {
            for (pixel, column) in row.iter_mut().zip(&columns) {
                *pixel = sky[*column];
            }
        }
    }

    fn paint_ground(&mut self, car: &Car) {
        let ((sin, cos), left) = (car.heading.sin_cos(), self.slope(0));
        let rows = self.picture.pixels.chunks_exact_mut(self.picture.width);
        for (row, pixels) in rows.enumerate().skip(self.horizon) {
            let below = (row - self.horizon) as f32 + 0.5;
            let depth = EYE * self.focal / below;
            // How much of the ground a pixel sees: far away more in depth than in width.
            let across = depth / self.focal;
            let size = across * 0.7 + depth / below * 0.3;
            let haze = haze(depth);
            let air = lit(AIR, haze);
            let mut x = car.x + (cos + sin * left) * depth;
            let mut y = car.y + (sin - cos * left) * depth;
            for pixel in pixels {
                let colour = self.ground.colour(x, y, size);
                *pixel = from_fn(|i| (colour[i] * (1.0 - haze) + air[i]) as u8);
                (x, y) = (x + sin * across, y - cos * across);
            }
        }
    }

    /// Finds the columns in which a panel is seen, and how far away it is in each.
    fn slice<'a>(&self, panel: &'a Panel, car: &Car, slices: &mut Vec<Slice<'a>>) {
        // The panel's middle and half its width, to the right and ahead.
        let ((sin, cos), half) = (car.heading.sin_cos(), panel.width / 2.0);
        let (dx, dy) = (panel.at[0] - car.x, panel.at[1] - car.y);
        let (x, z) = (dx * sin - dy * cos, dx * cos + dy * sin);
        let turned = car.heading - panel.facing.unwrap_or(car.heading - FRAC_PI_2);
        let (half_x, half_z) = (turned.sin() * half, turned.cos() * half);
        let ends = [(x - half_x, z - half_z), (x + half_x, z + half_z)];
        let width = self.picture.width as f32;
        let (first, last) = match ends.map(|(x, z)| (z >= NEAR, x / z * self.focal + width / 2.0)) {
            [(false, _), (false, _)] => return,
            [(true, one), (true, other)] => (one.min(other).max(0.0), one.max(other).min(width)),
            // An end behind us may be seen at either side.
            _ => (0.0, width),
        };
        let is_behind = half_x * z < half_z * x;
        for column in first as usize..last.ceil().max(0.0) as usize {
            let slope = self.slope(column);
            let share = (slope * z - x) / (half_x - slope * half_z);
            let depth = z + share * half_z;
            if share.abs() <= 1.0 && depth >= NEAR {
                let share = if is_behind {
                    0.5 - share / 2.0
                } else {
                    0.5 + share / 2.0
                };
                slices.push(Slice {
                    panel,
                    column,
                    depth,
                    share,
                });
            }
        }
    }
}

fn paint_slice(picture: &mut Picture, horizon: usize, focal: f32, slice: &Slice<'_>) {
    let Slice { panel, depth, .. } = *slice;
    let row = |height: f32| horizon as f32 + (EYE - height) * focal / depth;
    let (top, bottom) = (row(panel.bottom + panel.height), row(panel.bottom));
    let haze = haze(depth);
    let (light, air) = (panel.light * (1.0 - haze), lit(AIR, haze));
    let hazy = |[red, green, blue, opacity]: Paint| {
        let [red, green, blue] = from_fn(|i| [red, green, blue][i] * light + air[i] * opacity);
        [red, green, blue, opacity]
    };
    let dots: Vec<Paint> = (panel.texture.level(bottom - top).column(slice.share))
        .map(hazy)
        .collect();
    let last = dots.len() - 1;
    for y in top.max(0.0) as usize..(bottom.max(0.0) as usize + 1).min(picture.height) {
        // The share of this pixel that lies between top and bottom: no jagged edges.
        let edge = (bottom.min(y as f32 + 1.0) - top.max(y as f32)).clamp(0.0, 1.0);
        let at = (y as f32 + 0.5 - top) / (bottom - top) * dots.len() as f32 - 0.5;
        let at = at.clamp(0.0, last as f32);
        let upper = at as usize;
        let paint = mix(dots[upper], dots[(upper + 1).min(last)], at - upper as f32);
        if paint[3] > 0.01 {
            picture.blend(slice.column, y, paint.map(|part| part * edge));
        }
    }
}

/// How much of the air's colour what is so far away has.
fn haze(depth: f32) -> f32 {
    1.0 - (-depth / 110.0).exp()
}

/// The sky in a direction, `up` above the horizon, with clouds and three ranges of hills.
fn sky(round: f32, up: f32, pixel: f32) -> Colour {
    let mut colour = mix(AIR, [72.0, 132.0, 206.0], (up * 1.6).powf(0.7));
    // Clouds are in a plane above us.
    let (sin, cos) = round.sin_cos();
    let far = 0.9 / (up + 0.06);
    let cover = clouds(cos * far + 40.0, sin * far + 17.0);
    let cloud = mix([255.0; 3], [222.0, 228.0, 236.0], (cover - 0.55) * 4.0);
    colour = mix(
        colour,
        cloud,
        step(cover, 0.60, 0.16) * step(up, 0.12, 0.16) * 0.9,
    );
    // Each range is nearer, lower and less blue than the one behind it.
    for (height, waves, tint) in [
        (0.105, 3.0, [142.0, 164.0, 190.0]),
        (0.066, 4.0, [112.0, 142.0, 142.0]),
        (0.034, 6.0, [82.0, 116.0, 92.0]),
    ] {
        if up > 1.4 * height {
            continue;
        }
        let ridge = height * (0.3 + clouds(cos * waves + 50.0, sin * waves + 50.0));
        let light = 0.94 + 0.12 * noise(round * 120.0, up * 500.0) + 0.5 * (up - ridge);
        let hill = lit(mix(tint, AIR, (1.0 - up / height) * 0.25), light);
        colour = mix(hill, colour, step(up, ridge, pixel * 1.5));
    }
    colour
}

/// The front of the car, as its own camera sees it: a red bonnet with two white stripes.
fn bonnet(x: f32, y: f32) -> Paint {
    let (side, depth) = ((x - 0.5).abs(), (y - 0.88) / 0.12);
    // Rounded at the front, wider towards the windscreen.
    let top = 0.885 + 1.1 * side * side + 14.0 * (side - 0.16).max(0.0).powi(2);
    let wide = 0.25 + 0.04 * depth;
    let stripe = step(side, 0.022 + 0.008 * depth, 0.003) * step(0.05 + 0.02 * depth, side, 0.003);
    let colour = mix([186.0, 30.0, 32.0], [236.0, 236.0, 232.0], stripe);
    let rim = 0.45 * step(top + 0.008, y, 0.008) - 0.25 * step(side, wide - 0.02, 0.02);
    let light = 0.72 + 0.30 * depth - 0.5 * side + rim;
    let colour = lit(colour, light).map(|part| part.min(255.0));
    opaque(colour, step(y, top, 0.002) * step(wide, side, 0.002))
}
