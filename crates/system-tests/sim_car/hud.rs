//! Owns what is written into the picture of the simulated camera: time, number and speed, that there
//! is no car, and the car's own bonnet.

#![expect(
    clippy::cast_possible_truncation,
    reason = "pixels and colours are what floats are rounded to"
)]

use std::time::{SystemTime, UNIX_EPOCH};

use font8x8::legacy::BASIC_LEGACY;

use crate::paint::{Colour, Picture, lit, step};
use crate::world::{Motion, Pose};

const INK: Colour = [244.0, 246.0, 240.0];
const ALARM: Colour = [255.0, 196.0, 60.0];

/// What a picture is of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    pub pose: Pose,
    /// Whether the car can be heard; else the pose is what was heard last.
    pub is_there: bool,
    /// When it is taken.
    pub time: SystemTime,
    /// The how manieth it is.
    pub number: u32,
}

/// Whether a letter of this text has ink here, in dots of letters of 8 by 8.
pub(crate) fn is_ink(text: &str, column: f32, row: f32) -> bool {
    if !(0.0..8.0).contains(&row) || column < 0.0 {
        return false;
    }
    let (column, row) = (column as usize, row as usize);
    let letter = text.as_bytes().get(column / 8);
    let dots = letter.and_then(|letter| BASIC_LEGACY.get(usize::from(*letter)));
    dots.is_some_and(|dots| dots[row] >> (column % 8) & 1 == 1)
}

/// Writes all of it.
pub(crate) fn write(picture: &mut Picture, facts: &Facts) {
    let dot = (picture.height / 240).max(1);
    let (margin, line) = (4 * dot, 12 * dot);
    let now = facts.time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, tenths) = (now.as_secs(), now.subsec_millis() / 100);
    let clock = format!(
        "{:02}:{:02}:{:02}.{tenths} UTC  #{:06}",
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
        facts.number
    );
    text(picture, margin, margin, dot, &clock, INK);
    if !facts.is_there {
        let dot = dot * 3;
        let (x, y) = (
            (picture.width / 2).saturating_sub(6 * 4 * dot),
            (picture.height / 3).saturating_sub(4 * dot),
        );
        text(picture, x, y, dot, "NO CAR", ALARM);
        return;
    }
    let (what, colour) = match facts.pose.motion {
        Motion::Forward => ("FORWARD", INK),
        Motion::Back => ("BACK", INK),
        Motion::Left => ("LEFT", INK),
        Motion::Right => ("RIGHT", INK),
        Motion::Stop if facts.pose.bumped => ("BUMP", ALARM),
        Motion::Stop if facts.pose.speed != 0.0 => ("BRAKES", INK),
        Motion::Stop => ("STANDS", INK),
    };
    let speed = format!("{:.1} m/s {what}", facts.pose.speed.abs());
    let low = picture.height.saturating_sub(line + margin / 2);
    text(picture, margin, low, dot, &speed, colour);
}

fn text(picture: &mut Picture, x: usize, y: usize, dot: usize, text: &str, colour: Colour) {
    let (columns, rows) = (text.len() * 8 + 2, 10);
    for row in 0..rows * dot {
        for column in 0..columns * dot {
            let (to_x, to_y) = (x + column, y + row);
            if to_x >= picture.width || to_y >= picture.height {
                continue;
            }
            let at = |pixels: usize| pixels as f32 / dot as f32 - 1.0;
            if is_ink(text, at(column), at(row)) {
                picture.blend(to_x, to_y, colour, 1.0);
            } else {
                picture.blend(to_x, to_y, [16.0, 20.0, 28.0], 0.45);
            }
        }
    }
}

/// The front of the car, as its own camera sees it: a red bonnet with two white stripes.
pub(crate) struct Bonnet {
    pixels: Vec<(usize, usize, Colour, f32)>,
}

impl Bonnet {
    pub(crate) fn new(width: usize, height: usize) -> Self {
        let mut pixels = Vec::new();
        for y in height * 4 / 5..height {
            for x in 0..width {
                let down = (y as f32 + 0.5) / height as f32;
                let side = ((x as f32 + 0.5) / width as f32 - 0.5).abs();
                // Rounded at the front, wider towards the windscreen.
                let top = 0.885 + 1.1 * side * side + 14.0 * (side - 0.16).max(0.0).powi(2);
                let wide = 0.25 + 0.35 * (down - 0.88);
                let pixel = 1.0 / height as f32;
                let cover = step(down, top, pixel) * (1.0 - step(side, wide, pixel));
                if cover <= 0.0 {
                    continue;
                }
                let (inside, depth) = (down - top, (down - 0.88) / 0.12);
                let stripe = step(side, 0.022 + 0.008 * depth, 0.003)
                    * (1.0 - step(side, 0.05 + 0.02 * depth, 0.003));
                let base = crate::paint::mix([186.0, 30.0, 32.0], [236.0, 236.0, 232.0], stripe);
                let rim = 1.0 - step(inside, 0.008, 0.008);
                let light = 0.72 + 0.30 * depth - 0.5 * side + 0.45 * rim
                    - 0.25 * step(side, wide - 0.02, 0.02);
                pixels.push((x, y, lit(base, light).map(|part| part.min(255.0)), cover));
            }
        }
        Self { pixels }
    }

    pub(crate) fn paint(&self, picture: &mut Picture) {
        for (x, y, colour, cover) in &self.pixels {
            picture.blend(*x, *y, *colour, *cover);
        }
    }
}
