//! Owns how the ground looks at each place: asphalt, lines, kerbs and grass, computed and not drawn
//! from a picture, so that it is sharp at any distance.

use crate::course::{HALF, Kind, OnTrack, THINGS, TRACK, Thing};
use crate::paint::{Colour, floor, hash, lit, mix, step, stripes};

/// Cells a metre; each cell knows whose shadow falls on it.
const CELLS: f32 = 4.0;
const COLUMNS: f32 = 2.0 * HALF[0] * CELLS;
const ROWS: f32 = 2.0 * HALF[1] * CELLS;
const KERB: f32 = 0.35;
const WHITE: Colour = [226.0, 226.0, 220.0];

pub(crate) struct Ground {
    shadows: Vec<Option<&'static Thing>>,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let cells = (0..ROWS as usize).flat_map(|row| (0..COLUMNS as usize).map(move |x| (x, row)));
        let shadow = |(column, row)| {
            let at = |cell: usize, half| (cell as f32 + 0.5) / CELLS - half;
            let beyond = |thing: &Thing| {
                thing.distance(at(column, HALF[0]), at(row, HALF[1])) - shadow_length(thing)
            };
            let nearest = THINGS
                .iter()
                .min_by(|one, other| beyond(one).total_cmp(&beyond(other)));
            nearest.filter(|thing| beyond(thing) < 0.5)
        };
        let shadows = cells.map(shadow).collect();
        Self { shadows }
    }

    /// The colour at a place, where a pixel covers so many metres.
    pub(crate) fn colour(&self, x: f32, y: f32, pixel: f32) -> Colour {
        let (column, row) = ((x + HALF[0]) * CELLS, (y + HALF[1]) * CELLS);
        if !(0.0..COLUMNS).contains(&column) || !(0.0..ROWS).contains(&row) {
            return grass(x, y, pixel);
        }
        let colour = track(x, y, pixel);
        match self.shadows[(row as u32 * COLUMNS as u32 + column as u32) as usize] {
            Some(thing) => lit(colour, 1.0 - shadow(thing, x, y)),
            None => colour,
        }
    }
}

fn shadow_length(thing: &Thing) -> f32 {
    match thing.kind {
        Kind::Oak | Kind::Fir => 1.3,
        Kind::House => 0.7,
        _ => thing.foot() * 2.0,
    }
}

/// How much darker it is by a thing. The sun stands in the south-west.
fn shadow(thing: &Thing, x: f32, y: f32) -> f32 {
    let length = shadow_length(thing);
    let distance = thing.distance(x - length * 0.25, y - length * 0.15);
    0.5 * (1.0 - distance / length).max(0.0).sqrt()
}

/// Grain from -1 to 1, so many spots a metre, which fades where a pixel sees many.
fn grain(x: f32, y: f32, spots: f32, pixel: f32) -> f32 {
    (hash(floor(x * spots), floor(y * spots)) * 2.0 - 1.0) / (1.0 + pixel * spots)
}

fn grass(x: f32, y: f32, pixel: f32) -> Colour {
    let band = stripes(x, 4.0, pixel);
    let colour = mix([74.0, 128.0, 52.0], [88.0, 145.0, 60.0], band);
    let grain = grain(x, y, 55.0, pixel) * 0.10 + grain(x, y, 9.0, pixel) * 0.05;
    lit(colour, 1.0 + grain)
}

fn track(x: f32, y: f32, pixel: f32) -> Colour {
    let track = OnTrack::new(x, y);
    let side = track.inside.abs();
    if side > TRACK + KERB + pixel {
        return grass(x, y, pixel);
    }
    let grain = grain(x, y, 70.0, pixel) * 0.09 + grain(x, y, 6.0, pixel) * 0.02;
    // Darker where the wheels roll.
    let rubber = 0.08 * (1.0 - (side - 0.7).abs() / 0.5).max(0.0);
    let mut colour = lit([92.0, 94.0, 100.0], 1.0 + grain - rubber);
    if side < 0.06 + pixel {
        let dash = stripes(track.along(), 2.0, pixel) * step(0.05, side, pixel);
        colour = mix(colour, WHITE, dash * 0.8);
    }
    let behind_start = x - 1.5;
    if y < -5.0 && side < TRACK - 0.22 && (-pixel..0.8 + pixel).contains(&behind_start) {
        let [one, other] = [behind_start, track.inside + 0.2].map(|at| stripes(at, 0.8, pixel));
        let square = mix([30.0; 3], WHITE, one * other + (1.0 - one) * (1.0 - other));
        let on_line = step(behind_start, 0.0, pixel) * step(0.8, behind_start, pixel);
        colour = mix(colour, square, on_line);
    }
    if side > TRACK - 0.22 - pixel {
        let edge = step(side, TRACK - 0.22, pixel) * step(TRACK - 0.10, side, pixel);
        colour = mix(colour, WHITE, edge);
    }
    if side > TRACK - pixel {
        let red = stripes(track.along(), 1.0, pixel);
        let kerb = mix([232.0, 230.0, 226.0], [200.0, 38.0, 34.0], red);
        colour = mix(colour, lit(kerb, 1.0 + grain), step(side, TRACK, pixel));
        colour = mix(colour, grass(x, y, pixel), step(side, TRACK + KERB, pixel));
    }
    colour
}
