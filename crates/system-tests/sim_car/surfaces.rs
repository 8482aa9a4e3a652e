//! Owns how the things of the simulated world look: walls with boards, trees, cones, tyres, the pit
//! building, the gantry and a balloon, each painted once.

use std::f32::consts::TAU;

use crate::hud::is_ink;
use crate::paint::{Colour, hash, lit, mix, noise, step};
use crate::texture::{Paint, Texture};

const WHITE: Colour = [240.0, 240.0, 236.0];
const BLUE: Colour = [28.0, 72.0, 140.0];
const RED: Colour = [198.0, 40.0, 36.0];
const DARK: Colour = [34.0, 36.0, 42.0];

/// Whether a text that fills the middle of a surface has ink here. `wide` is the surface's width
/// by its height, `high` the letters' height by the surface's.
fn is_text(text: &str, x: f32, y: f32, wide: f32, high: f32) -> bool {
    let letter = high / 8.0;
    let from = wide / 2.0 - text.len() as f32 * 4.0 * letter;
    let (column, row) = ((x * wide - from) / letter, (y - 0.5 + high / 2.0) / letter);
    is_ink(text, column, row)
}

/// Whether the whole part of a number is odd.
fn is_odd(number: f32) -> bool {
    number.rem_euclid(2.0) >= 1.0
}

/// A piece of wall, 4 m long, with a board on it; the third kind has arrows.
pub(crate) fn wall(kind: u8) -> Texture {
    Texture::paint(384, 96, |x, y| {
        let concrete = lit([168.0, 166.0, 160.0], 0.9 + 0.2 * noise(x * 90.0, y * 22.0));
        let colour = if y < 0.06 {
            lit([120.0, 122.0, 126.0], 1.2 - y * 4.0)
        } else if y > 0.84 || !(0.012..0.988).contains(&x) {
            lit(concrete, 1.0 - (y - 0.84).max(0.0) * 1.5)
        } else {
            match kind {
                0 if is_text("P2PROUTER", x, y + 0.05, 4.0, 0.40) => WHITE,
                0 => BLUE,
                1 if is_text("STOP WINS", x, y + 0.05, 4.0, 0.40) => BLUE,
                1 => WHITE,
                _ => {
                    let arrow = x * 8.0 + (y - 0.45).abs() * 1.2;
                    if arrow.rem_euclid(1.0) < 0.5 {
                        RED
                    } else {
                        WHITE
                    }
                }
            }
        };
        (colour, 1.0)
    })
}

/// A tree with a round crown.
pub(crate) fn oak() -> Texture {
    // Clumps of leaves, those in front last.
    let clumps: Vec<[f32; 3]> = (0..46)
        .map(|i| {
            let (angle, far) = (hash(i, 1) * TAU, hash(i, 2).sqrt());
            let size = 0.09 + 0.07 * hash(i, 3);
            [
                0.5 + angle.cos() * far * 0.32,
                0.36 + angle.sin() * far * 0.25,
                size,
            ]
        })
        .collect();
    Texture::paint(160, 192, |x, y| {
        let mut found: Option<Colour> = None;
        let ragged = 0.03 * (noise(x * 40.0, y * 44.0) - 0.5);
        for [to_x, to_y, size] in &clumps {
            let (dx, dy) = ((x - to_x) / size, (y - to_y) * 1.15 / size);
            let far = (dx * dx + dy * dy).sqrt() + ragged / size;
            if far < 1.0 {
                let light = 0.62 - dy * 0.26 - dx * 0.14
                    + 0.5 * (0.6 - to_y)
                    + 0.28 * (noise(x * 70.0, y * 76.0) - 0.5);
                found = Some(lit([82.0, 132.0, 52.0], light + 0.12));
            }
        }
        let trunk = (x - 0.5).abs() < 0.035 + 0.03 * (y - 0.9).max(0.0) * 4.0 && y > 0.5;
        let bark = lit(
            [96.0, 74.0, 54.0],
            0.8 + (0.5 - x) * 5.0 + 0.2 * noise(x * 90.0, y * 12.0),
        );
        match found {
            Some(colour) => (colour, 1.0),
            None if trunk => (bark, 1.0),
            None => ([60.0, 96.0, 40.0], 0.0),
        }
    })
}

/// A tree with a pointed crown.
pub(crate) fn fir() -> Texture {
    Texture::paint(112, 192, |x, y| {
        let layer = (y * 6.5).fract();
        let side = (x - 0.5).abs();
        let wide = 0.03
            + 0.40 * (y / 0.92) * (0.62 + 0.38 * layer)
            + 0.035 * (noise(x * 50.0, y * 60.0) - 0.5);
        let light = 0.55
            + 0.40 * (1.0 - layer) * 0.6
            + (0.5 - x) * 0.5
            + 0.3 * (noise(x * 60.0, y * 90.0) - 0.5);
        let needles = lit([52.0, 104.0, 62.0], light + 0.12);
        if y < 0.92 && side < wide {
            (needles, 1.0)
        } else if y >= 0.9 && side < 0.045 {
            ([84.0, 64.0, 48.0], 1.0)
        } else {
            (needles, 0.0)
        }
    })
}

/// A cone of plastic.
pub(crate) fn cone() -> Texture {
    Texture::paint(64, 80, |x, y| {
        let side = (x - 0.5).abs();
        let is_foot = y > 0.92;
        let wide = if is_foot { 0.48 } else { 0.05 + 0.30 * y };
        let white = (0.30..0.46).contains(&y) || (0.62..0.76).contains(&y);
        let colour = if white && !is_foot {
            WHITE
        } else {
            [232.0, 104.0, 26.0]
        };
        let light = 1.08 - (x - 0.35).abs() * 0.9;
        (lit(colour, light), 1.0 - step(side, wide, 0.02))
    })
}

/// Tyres on each other.
pub(crate) fn tyres() -> Texture {
    Texture::paint(80, 96, |x, y| {
        let in_tyre = (y * 4.0).fract();
        let round = 1.0 - (in_tyre - 0.5).abs() * 2.0;
        let wide = 0.42 + 0.06 * round.max(0.0).sqrt();
        let colour = if is_odd(y * 4.0) { WHITE } else { DARK };
        let light = (0.45 + 0.6 * round.max(0.0).sqrt()) * (1.1 - (x - 0.4).abs());
        (lit(colour, light), 1.0 - step((x - 0.5).abs(), wide, 0.02))
    })
}

/// A post of the gantry.
pub(crate) fn post() -> Texture {
    Texture::paint(16, 128, |x, y| {
        let colour = if is_odd(y * 7.0) { WHITE } else { RED };
        (lit(colour, 1.1 - (x - 0.35).abs() * 1.1), 1.0)
    })
}

/// What hangs over the start line.
pub(crate) fn banner() -> Texture {
    Texture::paint(640, 96, |x, y| {
        let squares = !(0.16..0.84).contains(&x);
        let is_dark = is_odd(x * 26.67) != is_odd(y * 4.0);
        let colour = if !(0.05..0.95).contains(&y) {
            [90.0; 3]
        } else if squares {
            if is_dark { DARK } else { WHITE }
        } else if is_text("P2PROUTER", x, y, 6.67, 0.5) {
            WHITE
        } else {
            mix(RED, DARK, y * 0.4)
        };
        (colour, 1.0)
    })
}

/// A wall of the pit building; the front has doors.
pub(crate) fn house(is_front: bool) -> Texture {
    Texture::paint(320, 160, |x, y| {
        let plaster = lit(
            [222.0, 212.0, 190.0],
            0.94 + 0.1 * noise(x * 60.0, y * 30.0),
        );
        let colour = if y < 0.16 {
            lit([64.0, 68.0, 78.0], 1.0 + (y * 40.0).sin() * 0.15)
        } else if y < 0.19 {
            lit(plaster, 0.6)
        } else if is_front && (0.22..0.42).contains(&y) && is_text("PIT", x, y + 0.18, 2.0, 0.16) {
            RED
        } else {
            let gate = (x * 3.0).fract();
            let window = (x * 4.0).fract();
            if is_front && (0.46..1.0).contains(&y) && (0.14..0.86).contains(&gate) {
                lit(
                    [104.0, 112.0, 124.0],
                    0.9 + 0.12 * ((y * 70.0).sin().signum()),
                )
            } else if !is_front && (0.36..0.66).contains(&y) && (0.25..0.75).contains(&window) {
                let frame = !(0.30..0.70).contains(&window) || !(0.39..0.63).contains(&y);
                if frame {
                    WHITE
                } else {
                    mix([120.0, 156.0, 186.0], [60.0, 84.0, 110.0], (y - 0.36) * 3.0)
                }
            } else {
                lit(plaster, 1.04 - y * 0.16)
            }
        };
        (colour, 1.0)
    })
}

/// A balloon in the sky.
pub(crate) fn balloon() -> Texture {
    Texture::paint(160, 224, |x, y| -> Paint {
        let (dx, dy) = ((x - 0.5) / 0.47, (y - 0.36) / 0.35);
        let narrow = if dy > 0.0 { 1.0 - 0.28 * dy * dy } else { 1.0 };
        let (dx, far) = (dx / narrow, ((dx / narrow).powi(2) + dy * dy).sqrt());
        if far < 1.0 {
            let gore = (dx / (1.0 - dy * dy).max(0.01).sqrt())
                .clamp(-1.0, 1.0)
                .asin();
            let number = (gore * 2.9 + 8.0).floor() % 3.0;
            let colour = if number == 0.0 {
                [236.0, 176.0, 40.0]
            } else if number == 1.0 {
                RED
            } else {
                WHITE
            };
            let light = 1.05 - 0.3 * (dx + 0.3).abs() - 0.15 * dy.max(0.0);
            return (lit(colour, light), 1.0 - step(far, 0.985, 0.03));
        }
        let basket = (x - 0.5).abs() < 0.07 && (0.86..0.98).contains(&y);
        let ropes = ((x - 0.5).abs() - 0.07).abs() < 0.012 && (0.66..0.88).contains(&y);
        if basket {
            ([112.0, 78.0, 44.0], 1.0)
        } else {
            ([90.0, 70.0, 50.0], if ropes { 0.8 } else { 0.0 })
        }
    })
}
