//! Owns how the simulated world becomes a picture from where the car is: sky, ground row by row, and
//! all that stands upright column by column, the far before the near.

use std::f32::consts::TAU;
use std::ops::Range;

use glam::{Vec2, Vec3, vec2, vec3};

use crate::car::Car;
use crate::ground::Ground;
use crate::paint::{Colour, Paint, Picture, bytes, clouds, noise, step};
use crate::scene::{Panel, panels};

/// Metres above the ground, as high as the roof of a small car.
const EYE: f32 = 0.55;
/// Half of what is seen from left to right, as a tangent: 75 degrees in all.
const WIDE: f32 = 0.767;
/// Nearer things are not seen.
const NEAR: f32 = 0.08;
/// The colour of the air at the horizon.
const AIR: Colour = vec3(206.0, 222.0, 234.0);

/// A camera for pictures of one size, with all that never changes painted already.
pub(crate) struct Renderer {
    picture: Picture,
    horizon: usize,
    /// Pixels.
    focal: f32,
    /// How far to the right each column looks for each metre ahead.
    slopes: Vec<f32>,
    ground: Ground,
    /// The whole round of the horizon, row by row.
    sky: Vec<[u8; 3]>,
    panels: Vec<Panel>,
    bonnet: Vec<(usize, usize, Paint)>,
}

impl Renderer {
    pub(crate) fn new(width: usize, height: usize) -> Self {
        let (focal, horizon) = (width as f32 / 2.0 / WIDE, height * 45 / 100);
        let round = (TAU * focal) as usize;
        let share = |part: usize, whole: usize| (part as f32 + 0.5) / whole as f32;
        let places =
            |rows: Range<usize>, width| rows.flat_map(move |y| (0..width).map(move |x| (x, y)));
        let sky = places(0..horizon, round).map(|(x, y)| {
            let up = (horizon - y) as f32 / focal;
            bytes(sky(share(x, round) * TAU, up, 1.0 / focal))
        });
        let bonnet = places(height - height / 8..height, width)
            .map(|(x, y)| (x, y, bonnet(share(x, width), share(y, height))));
        let slopes = (0..width).map(|x| (share(x, width) * 2.0 - 1.0) * WIDE);
        let pixels = vec![[0; 3]; width * height];
        Self {
            picture: Picture {
                width,
                height,
                pixels,
            },
            horizon,
            focal,
            slopes: slopes.collect(),
            ground: Ground::new(),
            sky: sky.collect(),
            panels: panels(),
            bonnet: bonnet.collect(),
        }
    }

    /// Paints what the car sees.
    pub(crate) fn paint(&mut self, car: &Car) -> &mut Picture {
        let (at, ahead) = (vec2(car.x, car.y), Vec2::from_angle(car.heading));
        self.paint_sky(car.heading);
        self.paint_ground(at, ahead);
        self.paint_panels(at, ahead);
        for (x, y, paint) in &self.bonnet {
            self.picture.blend(*x, *y, *paint);
        }
        &mut self.picture
    }

    fn paint_sky(&mut self, heading: f32) {
        let round = self.sky.len() / self.horizon;
        let column = |slope: &f32| {
            let share = (heading - slope.atan()).rem_euclid(TAU) / TAU;
            (share * round as f32) as usize % round
        };
        let columns: Vec<usize> = self.slopes.iter().map(column).collect();
        let rows = self.picture.pixels.chunks_exact_mut(self.picture.width);
        for (row, sky) in rows.zip(self.sky.chunks_exact(round)) {
            for (pixel, column) in row.iter_mut().zip(&columns) {
                *pixel = sky[*column];
            }
        }
    }

    fn paint_ground(&mut self, at: Vec2, ahead: Vec2) {
        let rows = self.picture.pixels.chunks_exact_mut(self.picture.width);
        for (row, pixels) in rows.enumerate().skip(self.horizon) {
            let below = (row - self.horizon) as f32 + 0.5;
            let depth = EYE * self.focal / below;
            // How much of the ground a pixel sees: far away more in depth than in width.
            let size = depth / self.focal * 0.7 + depth / below * 0.3;
            let (air, clear) = air(depth);
            for (pixel, slope) in pixels.iter_mut().zip(&self.slopes) {
                let place = at + (ahead - ahead.perp() * slope) * depth;
                *pixel = bytes(self.ground.colour(place, size) * clear + air);
            }
        }
    }

    fn paint_panels(&mut self, at: Vec2, ahead: Vec2) {
        // Each panel's middle, and from there to its right end: to the right, and ahead.
        let seen = |place: Vec2| vec2(-ahead.perp_dot(place), ahead.dot(place));
        let seen = self.panels.iter().map(|panel| {
            let middle = seen(panel.at - at);
            let half = panel.facing.map_or(Vec2::X, seen) * panel.size[0] / 2.0;
            // From behind, its right end is the other one.
            let half = if half.perp_dot(middle) < 0.0 {
                -half
            } else {
                half
            };
            (panel, middle, half)
        });
        let seen = seen.filter(|(_, middle, half)| middle.y + half.y.abs() > NEAR);
        let seen: Vec<(&Panel, Vec2, Vec2)> = seen.collect();
        let mut slices = Vec::new();
        for (column, slope) in self.slopes.iter().enumerate() {
            slices.extend(seen.iter().filter_map(|(panel, middle, half)| {
                let share = (slope * middle.y - middle.x) / (half.x - slope * half.y);
                let depth = middle.y + share * half.y;
                (share.abs() <= 1.0 && depth >= NEAR).then_some((depth, 0.5 + share / 2.0, *panel))
            }));
            slices.sort_unstable_by(|(one, ..), (other, ..)| other.total_cmp(one));
            for (depth, share, panel) in slices.drain(..) {
                let [_, height, above] = panel.size;
                let row = |height: f32| self.horizon as f32 + (EYE - height) * self.focal / depth;
                let (top, bottom) = (row(above + height), row(above));
                let surface = panel.surface.of_height(bottom - top);
                // The sun stands in the south-west.
                let sun = |right: Vec2| 0.94 + 0.11 * right.dot(vec2(0.83, -0.56));
                let (air, clear) = air(depth);
                let light = panel.facing.map_or(1.0, sun) * clear;
                let end = (bottom.max(0.0) as usize + 1).min(self.picture.height);
                for y in top.max(0.0) as usize..end {
                    let paint = surface.at(share, (y as f32 + 0.5 - top) / (bottom - top));
                    if paint.w > 0.01 {
                        let colour = paint.truncate() * light + air * paint.w;
                        // The share of this pixel that lies between top and bottom: no jagged edges.
                        let edge = bottom.min(y as f32 + 1.0) - top.max(y as f32);
                        let paint = colour.extend(paint.w) * edge.clamp(0.0, 1.0);
                        self.picture.blend(column, y, paint);
                    }
                }
            }
        }
    }
}

/// What the air adds to the colour of what is so far away, and how much it leaves of that colour.
fn air(depth: f32) -> (Colour, f32) {
    let clear = (-depth / 110.0).exp();
    (AIR * (1.0 - clear), clear)
}

/// The sky in a direction, `up` above the horizon, with clouds and three ranges of hills.
fn sky(round: f32, up: f32, pixel: f32) -> Colour {
    let blue = AIR.lerp(vec3(72.0, 132.0, 206.0), (up * 1.6).powf(0.7).min(1.0));
    // Clouds are in a plane above us.
    let direction = Vec2::from_angle(round);
    let place = direction * 0.9 / (up + 0.06) + vec2(40.0, 17.0);
    let cover = clouds(place.x, place.y);
    let grey = ((cover - 0.55) * 4.0).clamp(0.0, 1.0);
    let cloud = Vec3::splat(255.0).lerp(vec3(222.0, 228.0, 236.0), grey);
    let mut colour = blue.lerp(cloud, step(cover, 0.60, 0.16) * step(up, 0.12, 0.16) * 0.9);
    // Each range is nearer, lower and less blue than the one behind it.
    for (height, waves, tint) in [
        (0.105, 3.0, vec3(142.0, 164.0, 190.0)),
        (0.066, 4.0, vec3(112.0, 142.0, 142.0)),
        (0.034, 6.0, vec3(82.0, 116.0, 92.0)),
    ] {
        if up > 1.4 * height {
            continue;
        }
        let place = direction * waves + 50.0;
        let ridge = height * (0.3 + clouds(place.x, place.y));
        let light = 0.94 + 0.12 * noise(round * 120.0, up * 500.0) + 0.5 * (up - ridge);
        let hill = tint.lerp(AIR, (1.0 - up / height).max(0.0) * 0.25) * light;
        colour = hill.lerp(colour, step(up, ridge, pixel * 1.5));
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
    let colour = vec3(186.0, 30.0, 32.0).lerp(vec3(236.0, 236.0, 232.0), stripe);
    let rim = 0.45 * step(top + 0.008, y, 0.008) - 0.25 * step(side, wide - 0.02, 0.02);
    let light = 0.72 + 0.30 * depth - 0.5 * side + rim;
    let colour = (colour * light).min(Vec3::splat(255.0));
    colour.extend(1.0) * step(y, top, 0.002) * step(wide, side, 0.002)
}
