//! Owns what stands upright in the simulated world: each thing is a flat panel with a painted texture.

use std::f32::consts::{FRAC_PI_2, PI, TAU};
use std::rc::Rc;

use crate::camera::is_ink;
use crate::course::{HALF, HOUSE, HOUSE_AT, Kind, THINGS, Thing};
use crate::paint::{Colour, Texture, hash, lit, mix, noise, opaque, step};

const WHITE: Colour = [240.0, 240.0, 236.0];
const BLUE: Colour = [28.0, 72.0, 140.0];
const RED: Colour = [198.0, 40.0, 36.0];
const DARK: Colour = [34.0, 36.0, 42.0];

/// A flat thing that stands on the ground or hangs above it.
pub(crate) struct Panel {
    pub texture: Rc<Texture>,
    /// The middle of its foot.
    pub at: [f32; 2],
    /// Where its right end points, in radians; none for what turns its face to whoever looks.
    pub facing: Option<f32>,
    pub width: f32,
    pub height: f32,
    /// Metres above the ground.
    pub bottom: f32,
    pub light: f32,
}

/// All that stands within the walls, the walls, and a wood and balloons outside.
pub(crate) fn panels() -> Vec<Panel> {
    let walls = [0, 1, 2].map(|kind| Rc::new(wall(kind)));
    let houses = [true, false].map(|is_front| Rc::new(house(is_front)));
    let kinds = [oak(), fir(), cone(), tyres(), post(), balloon(), banner()].map(Rc::new);
    let [oak, fir, cone, tyres, post, balloon, banner] = &kinds;
    let mut panels = Vec::new();
    let mut add = |texture: &Rc<Texture>, at, facing, [width, height, bottom, light]: [f32; 4]| {
        panels.push(Panel {
            texture: Rc::clone(texture),
            at,
            facing,
            width,
            height,
            bottom,
            light,
        });
    };
    // The walls seen from inside, in pieces of 4 m, and the house from outside.
    for side in 0..4 {
        let right = side as f32 * -FRAC_PI_2;
        let (sin, cos) = right.sin_cos();
        let place = |along: f32, half: [f32; 2], middle: [f32; 2]| {
            let [x, y] = [cos * along - sin, sin * along + cos];
            [middle[0] + x * half[0], middle[1] + y * half[1]]
        };
        let pieces = [9, 6][side % 2];
        for piece in 0..pieces {
            let is_corner = piece == 0 || piece == pieces - 1;
            let wall = &walls[if is_corner { 2 } else { (piece + side) % 2 }];
            let at = place((2 * piece + 1) as f32 / pieces as f32 - 1.0, HALF, [0.0; 2]);
            let light = [0.82, 1.0, 1.04, 0.9][side];
            add(wall, at, Some(right), [4.0, 0.9, 0.0, light]);
        }
        let (house, light) = (
            &houses[usize::from(side != 2)],
            [0.8, 0.85, 1.05, 1.0][side],
        );
        let at = place(0.0, HOUSE, HOUSE_AT);
        add(
            house,
            at,
            Some(right + PI),
            [2.0 * HOUSE[side % 2], 2.2, 0.0, light],
        );
    }
    for Thing { kind, at } in THINGS.iter() {
        let (texture, width, height) = match kind {
            Kind::Oak => (oak, 3.0, 3.6),
            Kind::Fir => (fir, 2.4, 4.4),
            Kind::Cone => (cone, 0.34, 0.42),
            Kind::Tyres => (tyres, 0.85, 0.95),
            Kind::Post => (post, 0.2, 3.0),
            Kind::House => continue,
        };
        add(texture, *at, None, [width, height, 0.0, 1.0]);
    }
    add(banner, [1.5, -8.0], Some(-FRAC_PI_2), [5.6, 0.85, 2.1, 1.0]);
    add(balloon, [46.0, -30.0], None, [5.7, 8.0, 9.5, 1.0]);
    add(balloon, [-60.0, 40.0], None, [6.4, 9.0, 16.0, 1.0]);
    for number in 0..64 {
        let [turn, far, tall, kind] = [7, 8, 9, 11].map(|salt| hash(number, salt));
        let (sin, cos) = ((number as f32 + 0.8 * turn) / 64.0 * TAU).sin_cos();
        let (away, height) = (1.22 + 0.75 * far, 3.2 + 2.6 * tall);
        let (texture, wide) = if kind < 0.5 { (oak, 0.85) } else { (fir, 0.55) };
        let at = [cos * 22.5 * away, sin * 16.2 * away];
        add(texture, at, None, [height * wide, height, -0.1, 1.0]);
    }
    panels
}

/// Whether a text in the middle of a surface has ink here: `wide` is the surface's width by its
/// height, `high` the letters' height by the surface's.
fn is_text(text: &str, x: f32, y: f32, wide: f32, high: f32) -> bool {
    let from = wide / 2.0 - text.len() as f32 * high / 2.0;
    is_ink(
        text,
        (x * wide - from) * 8.0 / high,
        ((y - 0.5) / high + 0.5) * 8.0,
    )
}

/// A piece of wall with a board on it; the third kind has arrows.
fn wall(kind: usize) -> Texture {
    Texture::new(512, 128, |x, y| {
        let concrete = lit([168.0, 166.0, 160.0], 0.9 + 0.2 * noise(x * 90.0, y * 22.0));
        let colour = match kind {
            _ if y < 0.06 => [140.0, 142.0, 146.0],
            _ if y > 0.84 || !(0.012..0.988).contains(&x) => concrete,
            0 if is_text("P2PROUTER", x, y + 0.05, 4.0, 0.40) => WHITE,
            0 => BLUE,
            1 if is_text("STOP WINS", x, y + 0.05, 4.0, 0.40) => BLUE,
            2 if (x * 8.0 + (y - 0.45).abs() * 1.2).fract() < 0.5 => RED,
            _ => WHITE,
        };
        opaque(colour, 1.0)
    })
}

/// What hangs over the start line.
fn banner() -> Texture {
    Texture::new(1024, 128, |x, y| {
        let is_dark = is_odd(x * 26.67) != is_odd(y * 4.0);
        let colour = match x {
            _ if !(0.05..0.95).contains(&y) => [90.0; 3],
            0.16..0.84 if is_text("P2PROUTER", x, y, 6.67, 0.5) => WHITE,
            0.16..0.84 => mix(RED, DARK, y * 0.4),
            _ if is_dark => DARK,
            _ => WHITE,
        };
        opaque(colour, 1.0)
    })
}

fn is_odd(number: f32) -> bool {
    number as u8 % 2 == 1
}

/// A wall of the pit building: the front has three gates, the others four windows.
fn house(is_front: bool) -> Texture {
    Texture::new(512, 256, |x, y| {
        let plaster = lit([222.0, 212.0, 190.0], 0.9 + 0.1 * noise(x * 60.0, y * 30.0));
        let gate = (x * 3.0).fract();
        let (across, down) = (((x * 4.0).fract() - 0.5).abs(), (y - 0.51).abs());
        let colour = match y {
            ..0.16 => lit([64.0, 68.0, 78.0], 1.0 + (y * 40.0).sin() * 0.15),
            ..0.19 => lit(plaster, 0.6),
            _ if is_front && is_text("PIT", x, y + 0.18, 2.0, 0.16) => RED,
            0.46.. if is_front && (0.14..0.86).contains(&gate) => lit(
                [104.0, 112.0, 124.0],
                if is_odd(y * 22.0) { 0.78 } else { 1.02 },
            ),
            _ if !is_front && across < 0.20 && down < 0.12 => {
                mix([120.0, 156.0, 186.0], [60.0, 84.0, 110.0], (y - 0.36) * 3.0)
            }
            _ if !is_front && across < 0.25 && down < 0.15 => WHITE,
            _ => plaster,
        };
        opaque(colour, 1.0)
    })
}

/// A tree with a round crown of clumps of leaves, those in front last.
fn oak() -> Texture {
    let clumps: Vec<[f32; 3]> = (0..46)
        .map(|i| {
            let ((sin, cos), far) = ((hash(i, 1) * TAU).sin_cos(), hash(i, 2).sqrt());
            [
                0.5 + cos * far * 0.32,
                0.36 + sin * far * 0.25,
                0.09 + 0.07 * hash(i, 3),
            ]
        })
        .collect();
    Texture::new(256, 256, |x, y| {
        let (leaves, ragged) = (
            noise(x * 70.0, y * 76.0) - 0.5,
            noise(x * 40.0, y * 44.0) - 0.5,
        );
        let light = clumps.iter().rev().find_map(|[to_x, to_y, size]| {
            let (dx, dy) = ((x - to_x) / size, (y - to_y) * 1.15 / size);
            let is_in = (dx * dx + dy * dy).sqrt() + 0.03 * ragged / size < 1.0;
            is_in.then(|| 1.04 - dy * 0.26 - dx * 0.14 - 0.5 * to_y + 0.28 * leaves)
        });
        let trunk = 0.8 + (0.5 - x) * 5.0 + 0.2 * noise(x * 90.0, y * 12.0);
        match light {
            Some(light) => opaque(lit([82.0, 132.0, 52.0], light), 1.0),
            None if y > 0.5 && (x - 0.5).abs() < 0.04 => {
                opaque(lit([96.0, 74.0, 54.0], trunk), 1.0)
            }
            None => [0.0; 4],
        }
    })
}

/// A round body that is as wide and of such a colour at each height as `shape` says, and the more
/// ragged, the more of its width is rough.
fn body(rough: f32, shape: impl Fn(f32) -> (f32, Colour)) -> Texture {
    Texture::new(128, 256, |x, y| {
        let (wide, colour) = shape(y);
        let side = (x - 0.5).abs() + rough * (noise(x * 50.0, y * 60.0) - 0.5);
        let light = 1.08 - (x - 0.37).abs() + 8.0 * rough * (noise(x * 60.0, y * 90.0) - 0.5);
        opaque(lit(colour, light), 1.0 - step(side, wide, 0.02))
    })
}

/// A tree with a pointed crown in layers.
fn fir() -> Texture {
    body(0.035, |y| {
        let layer = (y * 6.5).fract();
        if y < 0.92 {
            let wide = 0.03 + 0.43 * y * (0.62 + 0.38 * layer);
            (wide, lit([52.0, 104.0, 62.0], 1.0 - 0.25 * layer))
        } else {
            (0.045, [84.0, 64.0, 48.0])
        }
    })
}

fn cone() -> Texture {
    body(0.0, |y| {
        let wide = if y > 0.92 { 0.48 } else { 0.05 + 0.30 * y };
        (wide, striped(y * 5.0, [232.0, 104.0, 26.0], WHITE))
    })
}

fn tyres() -> Texture {
    body(0.0, |y| {
        let round = (1.0 - ((y * 4.0).fract() - 0.5).abs() * 2.0).sqrt();
        let colour = striped(y * 4.0, DARK, WHITE);
        (0.42 + 0.06 * round, lit(colour, 0.45 + 0.55 * round))
    })
}

fn post() -> Texture {
    body(0.0, |y| (0.6, striped(y * 7.0, RED, WHITE)))
}

fn balloon() -> Texture {
    body(0.0, |y| match y {
        0.86..0.97 => (0.07, [112.0, 78.0, 44.0]),
        0.80..0.86 => (0.02, [112.0, 78.0, 44.0]),
        _ => {
            let up = (y - 0.37) / 0.36;
            let wide = 0.47 * (1.0 - up * up).max(0.0).sqrt() * (1.0 - 0.25 * up.max(0.0));
            (wide, striped(y * 11.0, [236.0, 176.0, 40.0], RED))
        }
    })
}

fn striped(at: f32, one: Colour, other: Colour) -> Colour {
    if is_odd(at) { other } else { one }
}
