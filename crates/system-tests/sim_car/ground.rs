//! Owns how the ground of the simulated world looks at each place: asphalt, lines, kerbs and grass,
//! computed and not drawn from a picture, so that it is sharp at any distance.

#![expect(
    clippy::cast_possible_truncation,
    reason = "pixels and colours are what floats are rounded to"
)]

use crate::course::{self, HALF, HOUSE, LINE, Piece, THINGS, TRACK};
use crate::paint::{Colour, floor, hash, lit, mix, step};

/// Cells of a metre, each of which knows what is there.
const CELLS: f32 = 4.0;
const KERB: f32 = 0.35;
/// What a cell has none of.
const NONE: u8 = u8::MAX;
const GRAIN: usize = 256;

#[derive(Clone, Copy)]
struct Cell {
    /// Which piece of the track is near.
    piece: u8,
    /// Which thing throws its shadow here.
    thing: u8,
    by_house: bool,
}

/// A piece of the track, ready to be asked for each pixel.
struct Line {
    from: [f32; 2],
    along: [f32; 2],
    begins: f32,
    /// The middle of its circle, its radius, and 1 to the left or -1 to the right.
    circle: Option<([f32; 2], f32, f32)>,
    first: f32,
}

impl Line {
    fn new(piece: &Piece) -> Self {
        let (sin, cos) = piece.heading.sin_cos();
        let circle = (piece.bend != 0.0).then(|| {
            let (x, y) = piece.centre();
            let side = piece.bend.signum() as f32;
            ([x as f32, y as f32], (1.0 / piece.bend).abs() as f32, side)
        });
        let [x, y] = circle.map_or([0.0; 2], |(centre, ..)| centre);
        Self {
            from: [piece.from.0 as f32, piece.from.1 as f32],
            along: [cos as f32, sin as f32],
            begins: piece.begins as f32,
            circle,
            first: (piece.from.1 as f32 - y).atan2(piece.from.0 as f32 - x),
        }
    }

    /// Metres to the left of the line.
    fn off(&self, x: f32, y: f32) -> f32 {
        match self.circle {
            Some(([cx, cy], radius, side)) => {
                let (dx, dy) = (x - cx, y - cy);
                (radius - (dx * dx + dy * dy).sqrt()) * side
            }
            None => (y - self.from[1]) * self.along[0] - (x - self.from[0]) * self.along[1],
        }
    }

    /// Metres along the track.
    fn along(&self, x: f32, y: f32) -> f32 {
        let along = match self.circle {
            Some(([cx, cy], radius, side)) => {
                let turned = ((y - cy).atan2(x - cx) - self.first) * side;
                turned.rem_euclid(std::f32::consts::TAU) * radius
            }
            None => (x - self.from[0]) * self.along[0] + (y - self.from[1]) * self.along[1],
        };
        self.begins + along
    }
}

/// The ground.
pub(crate) struct Ground {
    lines: Vec<Line>,
    cells: Vec<Cell>,
    columns: usize,
    /// Noise from -1 to 1, without a seam.
    grain: Vec<f32>,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let pieces = course::pieces();
        let (columns, rows) = (
            (2.0 * HALF.0 as f32 * CELLS) as usize,
            (2.0 * HALF.1 as f32 * CELLS) as usize,
        );
        let mut cells = Vec::with_capacity(columns * rows);
        for row in 0..rows {
            for column in 0..columns {
                let x = (column as f64 + 0.5) / f64::from(CELLS) - HALF.0;
                let y = (row as f64 + 0.5) / f64::from(CELLS) - HALF.1;
                cells.push(Cell::at(&pieces, x, y));
            }
        }
        let grain = (0..GRAIN * GRAIN)
            .map(|i| hash((i % GRAIN) as i32, (i / GRAIN) as i32) * 2.0 - 1.0)
            .collect();
        Self {
            lines: pieces.iter().map(Line::new).collect(),
            cells,
            columns,
            grain,
        }
    }

    fn grain(&self, x: f32, y: f32) -> f32 {
        let wrap = |value: f32| floor(value) as usize % GRAIN;
        self.grain[wrap(y) * GRAIN + wrap(x)]
    }

    /// The colour at a place, where a pixel covers so many metres.
    pub(crate) fn colour(&self, x: f32, y: f32, pixel: f32) -> Colour {
        let (column, row) = ((x + HALF.0 as f32) * CELLS, (y + HALF.1 as f32) * CELLS);
        if column < 0.0 || row < 0.0 || column as usize >= self.columns {
            return self.grass(x, y, pixel);
        }
        let Some(cell) = self
            .cells
            .get(row as usize * self.columns + column as usize)
        else {
            return self.grass(x, y, pixel);
        };
        let colour = match self.lines.get(usize::from(cell.piece)) {
            Some(line) => self.track(line, x, y, pixel),
            None => self.grass(x, y, pixel),
        };
        lit(colour, 1.0 - cell.shade(x, y))
    }

    fn grass(&self, x: f32, y: f32, pixel: f32) -> Colour {
        // Mown in bands of two metres.
        let band = stripes(x, 4.0, pixel);
        let colour = mix([74.0, 128.0, 52.0], [88.0, 145.0, 60.0], band);
        let fine = self.grain(x * 55.0, y * 55.0) * 0.10 / (1.0 + pixel * 60.0);
        let middle = self.grain(x * 9.0, y * 9.0) * 0.05 / (1.0 + pixel * 12.0);
        lit(colour, 1.0 + fine + middle)
    }

    fn track(&self, line: &Line, x: f32, y: f32, pixel: f32) -> Colour {
        let track = TRACK as f32;
        let off = line.off(x, y);
        let side = off.abs();
        if side > track + KERB + pixel {
            return self.grass(x, y, pixel);
        }
        let grain = self.grain(x * 70.0, y * 70.0) * 0.09 / (1.0 + pixel * 70.0);
        let worn = self.grain(x * 6.0, y * 6.0) * 0.02 / (1.0 + pixel * 8.0);
        // Darker where the wheels roll.
        let rubber = 0.08 * (1.0 - (side - 0.7).abs() / 0.5).max(0.0);
        let mut colour = lit([92.0, 94.0, 100.0], 1.0 + grain + worn - rubber);
        let white = [226.0, 226.0, 220.0];
        let edge = step(side, track - 0.22, pixel) * (1.0 - step(side, track - 0.10, pixel));
        colour = mix(colour, white, edge);
        if side < 0.06 + pixel {
            let dash = stripes(line.along(x, y), 2.0, pixel);
            colour = mix(colour, white, dash * 0.8 * (1.0 - step(side, 0.05, pixel)));
        }
        if line.begins == 0.0 && line.circle.is_none() {
            let behind = line.along(x, y) - LINE as f32;
            let on_line = step(behind, 0.0, pixel) * (1.0 - step(behind, 0.8, pixel));
            if on_line > 0.0 && side < track - 0.22 {
                let (one, other) = (stripes(behind, 0.8, pixel), stripes(off + 0.2, 0.8, pixel));
                let square = one * other + (1.0 - one) * (1.0 - other);
                colour = mix(colour, mix([30.0; 3], white, square), on_line);
            }
        }
        if side > track - pixel {
            let red = stripes(line.along(x, y), 1.0, pixel);
            let kerb = lit(
                mix([232.0, 230.0, 226.0], [200.0, 38.0, 34.0], red),
                1.0 + grain,
            );
            colour = mix(colour, kerb, step(side, track, pixel));
            colour = mix(
                colour,
                self.grass(x, y, pixel),
                step(side, track + KERB, pixel),
            );
        }
        colour
    }
}

/// 1 for half of each period and 0 for the other; where a pixel sees many, between.
fn stripes(at: f32, period: f32, pixel: f32) -> f32 {
    let periods = at / period;
    let phase = periods - floor(periods) as f32;
    step((0.25 - (phase - 0.5).abs()) * period, 0.0, pixel.max(0.001))
}

impl Cell {
    fn at(pieces: &[Piece], x: f64, y: f64) -> Self {
        let near = |reach: f64, distances: &mut dyn Iterator<Item = f64>| {
            let nearest = distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
            match nearest {
                Some((number, distance)) if distance < reach => {
                    u8::try_from(number).unwrap_or(NONE)
                }
                _ => NONE,
            }
        };
        let reach = TRACK + f64::from(KERB) + 0.5;
        let [(west, south), (east, north)] = HOUSE;
        let to_house = (x - x.clamp(west, east)).hypot(y - y.clamp(south, north));
        Self {
            piece: near(reach, &mut pieces.iter().map(|piece| piece.distance(x, y))),
            thing: near(
                1.6,
                &mut THINGS
                    .iter()
                    .map(|(_, to_x, to_y)| (x - to_x).hypot(y - to_y)),
            ),
            by_house: to_house < 1.0,
        }
    }

    /// How much darker it is by what stands here.
    fn shade(self, x: f32, y: f32) -> f32 {
        let mut shade = 0.0f32;
        if let Some((kind, to_x, to_y)) = THINGS.get(usize::from(self.thing)) {
            let reach = match kind {
                course::Kind::Oak | course::Kind::Fir => 1.3,
                _ => kind.foot() as f32 * 2.0,
            };
            // The sun stands in the south-west.
            let (dx, dy) = (
                x - *to_x as f32 - reach * 0.25,
                y - *to_y as f32 - reach * 0.15,
            );
            shade = 0.5 * (1.0 - (dx * dx + dy * dy).sqrt() / reach).max(0.0).sqrt();
        }
        if self.by_house {
            let [(west, south), (east, north)] = HOUSE.map(|(x, y)| (x as f32, y as f32));
            let (dx, dy) = (x - x.clamp(west, east), y - y.clamp(south, north));
            shade = shade.max(0.45 * (1.0 - (dx * dx + dy * dy).sqrt() / 0.7).max(0.0));
        }
        shade
    }
}

/// What is far away is as light as the air before it.
pub(crate) fn haze(depth: f32) -> f32 {
    1.0 - (-depth / 110.0).exp()
}
