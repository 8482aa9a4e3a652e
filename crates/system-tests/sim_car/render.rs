//! Owns how the simulated world becomes a picture from where the car is: sky, ground row by row, and
//! all that stands upright column by column, the far before the near.

#![expect(
    clippy::cast_possible_truncation,
    reason = "pixels and colours are what floats are rounded to"
)]

use crate::ground::{Ground, haze};
use crate::hud::{self, Bonnet, Facts};
use crate::paint::{Picture, lit, mix, put};
use crate::scene::{Panel, Scene};
use crate::sky::{AIR, Sky};

/// Metres above the ground, as high as the roof of a small car.
const EYE: f32 = 0.55;
/// Half of what it sees from left to right, as a tangent: 75 degrees in all.
const WIDE: f32 = 0.767;
/// Nearer things are not seen.
const NEAR: f32 = 0.08;

/// A camera for pictures of one size, with all that never changes painted already.
pub(crate) struct Renderer {
    width: usize,
    height: usize,
    horizon: usize,
    focal: f32,
    ground: Ground,
    sky: Sky,
    scene: Scene,
    bonnet: Bonnet,
}

/// A column of a thing that is to be painted.
struct Slice<'a> {
    depth: f32,
    panel: &'a Panel,
    /// From 0 at its left to 1.
    x: f32,
}

/// The place and direction that is seen from.
struct Eye {
    x: f32,
    y: f32,
    cos: f32,
    sin: f32,
}

impl Eye {
    /// To the right and ahead.
    fn sees(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let (dx, dy) = (x - self.x, y - self.y);
        [dx * self.sin - dy * self.cos, dx * self.cos + dy * self.sin]
    }
}

impl Renderer {
    pub(crate) fn new(width: usize, height: usize) -> Self {
        let focal = width as f32 / 2.0 / WIDE;
        let horizon = height * 45 / 100;
        Self {
            width,
            height,
            horizon,
            focal,
            ground: Ground::new(),
            sky: Sky::new(horizon, focal),
            scene: Scene::new(),
            bonnet: Bonnet::new(width, height),
        }
    }

    /// Paints what there is to see, and writes into it what is to be known.
    pub(crate) fn paint(&self, picture: &mut Picture, facts: &Facts) {
        let pose = &facts.pose;
        let (sin, cos) = (pose.heading as f32).sin_cos();
        let eye = Eye {
            x: pose.x as f32,
            y: pose.y as f32,
            cos,
            sin,
        };
        let heading = pose.heading as f32;
        let rounds = (0..self.width).map(|column| heading - self.slope(column).atan());
        self.sky.paint(picture, rounds);
        self.paint_ground(picture, &eye);
        self.paint_upright(picture, &eye);
        self.bonnet.paint(picture);
        hud::write(picture, facts);
    }

    /// How far to the right a column looks for each metre ahead.
    fn slope(&self, column: usize) -> f32 {
        (column as f32 + 0.5 - self.width as f32 / 2.0) / self.focal
    }

    fn paint_ground(&self, picture: &mut Picture, eye: &Eye) {
        for row in self.horizon..self.height {
            let below = (row - self.horizon) as f32 + 0.5;
            let depth = EYE * self.focal / below;
            // How much of the ground a pixel sees: far away more in depth than in width.
            let across = depth / self.focal;
            let pixel = across * 0.7 + depth / below * 0.3;
            let fog = haze(depth);
            let left = self.slope(0) * depth;
            let mut x = eye.x + eye.cos * depth + eye.sin * left;
            let mut y = eye.y + eye.sin * depth - eye.cos * left;
            let (step_x, step_y) = (eye.sin * across, -eye.cos * across);
            for dot in picture.row(row).chunks_exact_mut(3) {
                put(dot, mix(self.ground.colour(x, y, pixel), AIR, fog));
                x += step_x;
                y += step_y;
            }
        }
    }

    fn paint_upright(&self, picture: &mut Picture, eye: &Eye) {
        let turned: Vec<Panel> = (self.scene.sprites.iter())
            .map(|sprite| {
                let half = sprite.width / 2.0;
                let (dx, dy) = (eye.sin * half, -eye.cos * half);
                let [x, y] = sprite.at;
                Panel {
                    from: [x - dx, y - dy],
                    to: [x + dx, y + dy],
                    bottom: sprite.bottom,
                    top: sprite.bottom + sprite.height,
                    surface: sprite.surface,
                    light: 1.0,
                }
            })
            .collect();
        let mut columns: Vec<Vec<Slice<'_>>> = (0..self.width).map(|_| Vec::new()).collect();
        for panel in self.scene.panels.iter().chain(&turned) {
            self.slice(panel, eye, &mut columns);
        }
        for (column, mut slices) in columns.into_iter().enumerate() {
            slices.sort_by(|one, other| other.depth.total_cmp(&one.depth));
            for slice in slices {
                self.paint_slice(picture, column, &slice);
            }
        }
    }

    /// Finds the columns in which a panel is seen, and how far away it is in each.
    fn slice<'a>(&self, panel: &'a Panel, eye: &Eye, columns: &mut [Vec<Slice<'a>>]) {
        let ([from_x, from_z], [to_x, to_z]) = (eye.sees(panel.from), eye.sees(panel.to));
        if from_z < NEAR && to_z < NEAR {
            return;
        }
        let middle = self.width as f32 / 2.0;
        let at = |x: f32, z: f32| x / z * self.focal + middle;
        // An end behind us may be seen at either side.
        let (mut first, mut last) = (0.0, self.width as f32);
        if from_z >= NEAR && to_z >= NEAR {
            let (one, other) = (at(from_x, from_z), at(to_x, to_z));
            (first, last) = (one.min(other).max(0.0), one.max(other).min(last));
        }
        let is_behind = at(from_x, from_z.max(NEAR)) > at(to_x, to_z.max(NEAR));
        let last = last.ceil().max(0.0) as usize;
        for (column, slices) in columns
            .iter_mut()
            .enumerate()
            .take(last)
            .skip(first as usize)
        {
            let slope = self.slope(column);
            let (dx, dz) = (to_x - from_x, to_z - from_z);
            let share = (slope * from_z - from_x) / (dx - slope * dz);
            let depth = from_z + share * dz;
            if !(0.0..=1.0).contains(&share) || depth < NEAR {
                continue;
            }
            slices.push(Slice {
                depth,
                panel,
                x: if is_behind { 1.0 - share } else { share },
            });
        }
    }

    fn paint_slice(&self, picture: &mut Picture, column: usize, slice: &Slice<'_>) {
        let panel = slice.panel;
        let Some(texture) = self.scene.texture(panel.surface) else {
            return;
        };
        let row = |height: f32| self.horizon as f32 + (EYE - height) * self.focal / slice.depth;
        let (top, bottom) = (row(panel.top), row(panel.bottom));
        let strip = texture.strip(slice.x, bottom - top);
        let fog = haze(slice.depth);
        let first = top.max(0.0) as usize;
        let last = (bottom.max(0.0) as usize).min(self.height - 1);
        for y in first..=last {
            // The share of this pixel that lies between top and bottom: no jagged edges.
            let edge = (bottom.min(y as f32 + 1.0) - top.max(y as f32)).clamp(0.0, 1.0);
            let (colour, cover) =
                strip.at(((y as f32 + 0.5 - top) / (bottom - top)).clamp(0.0, 1.0));
            let cover = cover * edge;
            if cover > 0.01 {
                let colour = lit(colour, panel.light).map(|part| part.clamp(0.0, 255.0));
                picture.blend(column, y, mix(colour, AIR, fog), cover);
            }
        }
    }
}
