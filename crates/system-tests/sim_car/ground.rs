//! Owns how the ground looks at each place: asphalt, lines, kerbs and grass, computed and not drawn
//! from a picture, so that it is sharp at any distance.

use glam::{Vec2, Vec3, vec2, vec3};

use crate::course::{HALF, OnTrack, TRACK, Thing, things};
use crate::paint::{Colour, floor, hash, step, stripes};

const KERB: f32 = 0.35;
const WHITE: Colour = vec3(226.0, 226.0, 220.0);
/// Cells a metre.
const CELLS: f32 = 4.0;
const COLUMNS: usize = (2.0 * HALF.x * CELLS) as usize;
const ROWS: usize = (2.0 * HALF.y * CELLS) as usize;

/// What casts its shadow on each cell.
pub(crate) struct Ground(Vec<Option<Thing>>);

impl Ground {
    pub(crate) fn new() -> Self {
        let darkest = |cell: usize| {
            let cell = vec2((cell % COLUMNS) as f32, (cell / COLUMNS) as f32);
            let middle = (cell + 0.5) / CELLS - HALF;
            let thing = things().max_by(|a, b| a.shadow(middle).total_cmp(&b.shadow(middle)));
            thing.filter(|thing| thing.shadow(middle) * thing.0.shadow > -0.2)
        };
        Self((0..COLUMNS * ROWS).map(darkest).collect())
    }

    /// The colour at a place, where a pixel covers so many metres.
    pub(crate) fn colour(&self, at: Vec2, pixel: f32) -> Colour {
        let cell = (at + HALF) * CELLS;
        if cell.x < 0.0 || cell.y < 0.0 || cell.x >= COLUMNS as f32 || cell.y >= ROWS as f32 {
            // A wall hides it, but for its own edge: the colour of grass from afar.
            return vec3(81.0, 136.0, 56.0);
        }
        let colour = unshaded(at.x, at.y, pixel);
        match self.0[(cell.y as u32 * COLUMNS as u32 + cell.x as u32) as usize] {
            Some(thing) => colour * (1.0 - 0.5 * thing.shadow(at).max(0.0).sqrt()),
            None => colour,
        }
    }
}

/// Grain from -1 to 1, so many spots a metre, which fades where a pixel sees many.
fn grain(x: f32, y: f32, spots: f32, pixel: f32) -> f32 {
    (hash(floor(x * spots), floor(y * spots)) * 2.0 - 1.0) / (1.0 + pixel * spots)
}

fn grass(x: f32, y: f32, pixel: f32) -> Colour {
    let band = stripes(x, 4.0, pixel);
    let colour = vec3(74.0, 128.0, 52.0).lerp(vec3(88.0, 145.0, 60.0), band);
    let grain = grain(x, y, 55.0, pixel) * 0.10 + grain(x, y, 9.0, pixel) * 0.05;
    colour * (1.0 + grain)
}

fn unshaded(x: f32, y: f32, pixel: f32) -> Colour {
    let track = OnTrack::new(x, y);
    let side = track.inside.abs();
    if side > TRACK + KERB + pixel {
        return grass(x, y, pixel);
    }
    let grain = grain(x, y, 70.0, pixel) * 0.09 + grain(x, y, 6.0, pixel) * 0.02;
    // Darker where the wheels roll.
    let rubber = 0.08 * (1.0 - (side - 0.7).abs() / 0.5).max(0.0);
    let mut colour = vec3(92.0, 94.0, 100.0) * (1.0 + grain - rubber);
    if side < 0.06 + pixel {
        let dash = stripes(track.along(), 2.0, pixel) * step(0.05, side, pixel);
        colour = colour.lerp(WHITE, dash * 0.8);
    }
    let behind_start = x - 1.5;
    if y < -5.0 && side < TRACK - 0.22 && (-pixel..0.8 + pixel).contains(&behind_start) {
        let [one, other] = [behind_start, track.inside + 0.2].map(|at| stripes(at, 0.8, pixel));
        let square = Vec3::splat(30.0).lerp(WHITE, one * other + (1.0 - one) * (1.0 - other));
        let on_line = step(behind_start, 0.0, pixel) * step(0.8, behind_start, pixel);
        colour = colour.lerp(square, on_line);
    }
    if side > TRACK - 0.22 - pixel {
        let edge = step(side, TRACK - 0.22, pixel) * step(TRACK - 0.10, side, pixel);
        colour = colour.lerp(WHITE, edge);
    }
    if side > TRACK - pixel {
        let red = stripes(track.along(), 1.0, pixel);
        let kerb = vec3(232.0, 230.0, 226.0).lerp(vec3(200.0, 38.0, 34.0), red);
        colour = colour.lerp(kerb * (1.0 + grain), step(side, TRACK, pixel));
        colour = colour.lerp(grass(x, y, pixel), step(side, TRACK + KERB, pixel));
    }
    colour
}
