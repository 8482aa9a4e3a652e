//! Owns what stands upright in the simulated world: each thing is a flat panel with a painted surface.

use std::f32::consts::{FRAC_PI_2, TAU};
use std::rc::Rc;

use glam::{Vec2, Vec3, vec2, vec3};

use crate::course::{HALF, KINDS};
use crate::paint::{Colour, Copies, Paint, hash, is_ink, noise, step};

const WHITE: Colour = vec3(240.0, 240.0, 236.0);
const BLUE: Colour = vec3(28.0, 72.0, 140.0);
const RED: Colour = vec3(198.0, 40.0, 36.0);
const DARK: Colour = vec3(34.0, 36.0, 42.0);
const WOOD: Colour = vec3(96.0, 74.0, 54.0);

/// A flat thing that stands on the ground or hangs above it.
pub(crate) struct Panel {
    pub surface: Rc<Copies>,
    /// The middle of its foot.
    pub at: Vec2,
    /// Where its right end points; none for what turns its face to whoever looks.
    pub facing: Option<Vec2>,
    /// Width, height, and metres above the ground.
    pub size: [f32; 3],
}

/// All that stands within the walls, the walls, and a wood and balloons outside.
pub(crate) fn panels() -> Vec<Panel> {
    let mut panels = Vec::new();
    let mut add = |surface: &Rc<Copies>, at, facing, size| {
        let surface = Rc::clone(surface);
        panels.push(Panel {
            surface,
            at,
            facing,
            size,
        });
    };
    let [oak, fir, balloon] = [oak(), fir(), balloon()];
    let [house, trees_and_small_things @ ..] = &KINDS;
    for (kind, (surface, [width, height])) in trees_and_small_things.iter().zip([
        (oak.clone(), [3.0, 3.6]),
        (fir.clone(), [2.4, 4.4]),
        (cone(), [0.34, 0.42]),
        (tyres(), [0.85, 0.95]),
        (post(), [0.2, 3.0]),
    ]) {
        for at in kind.places {
            add(&surface, Vec2::from(*at), None, [width, height, 0.0]);
        }
    }
    // The walls seen from inside, in pieces of 4 m, and the house from outside.
    let boards = [
        board("P2PROUTER", WHITE, BLUE),
        board("STOP WINS", BLUE, WHITE),
    ];
    let (arrows, gates, windows) = (arrows(), gates(), windows());
    for (side, pieces) in [9, 6, 9, 6].into_iter().enumerate() {
        let right = Vec2::from_angle(side as f32 * -FRAC_PI_2);
        for piece in 0..pieces {
            let is_corner = piece == 0 || piece == pieces - 1;
            let wall = if is_corner {
                &arrows
            } else {
                &boards[(piece + side) % 2]
            };
            let along = (2 * piece + 1) as f32 / pieces as f32 - 1.0;
            let at = (right * along + right.perp()) * HALF;
            add(wall, at, Some(right), [4.0, 0.9, 0.0]);
        }
        let wall = if side == 2 { &gates } else { &windows };
        let at = Vec2::from(house.places[0]) + right.perp() * house.half;
        add(
            wall,
            at,
            Some(-right),
            [2.0 * house.half[side % 2], 2.2, 0.0],
        );
    }
    add(
        &banner(),
        vec2(1.5, -8.0),
        Some(Vec2::NEG_Y),
        [5.6, 0.85, 2.1],
    );
    add(&balloon, vec2(46.0, -30.0), None, [5.7, 8.0, 9.5]);
    add(&balloon, vec2(-60.0, 40.0), None, [6.4, 9.0, 16.0]);
    for number in 0..64 {
        let [turn, far, tall, kind] = [7, 8, 9, 11].map(|salt| hash(number, salt));
        let direction = Vec2::from_angle((number as f32 + 0.8 * turn) / 64.0 * TAU);
        let at = direction * vec2(22.5, 16.2) * (1.22 + 0.75 * far);
        let height = 3.2 + 2.6 * tall;
        let (tree, wide) = if kind < 0.5 {
            (&oak, 0.85)
        } else {
            (&fir, 0.55)
        };
        add(tree, at, None, [height * wide, height, -0.1]);
    }
    panels
}

fn surface(width: usize, height: usize, paint: impl Fn(f32, f32) -> Paint) -> Rc<Copies> {
    Rc::new(Copies::new(width, height, paint))
}

fn solid(width: usize, height: usize, colour: impl Fn(f32, f32) -> Colour) -> Rc<Copies> {
    surface(width, height, |x, y| colour(x, y).extend(1.0))
}

/// Whether a text in the middle of a surface has ink here: `wide` is the surface's width by its
/// height, `high` the letters' height by the surface's.
fn is_text(text: &str, x: f32, y: f32, wide: f32, high: f32) -> bool {
    let (dots, letters) = (8.0 / high, text.len() as f32);
    is_ink(
        text,
        (x - 0.5) * wide * dots + 4.0 * letters,
        (y - 0.5) * dots + 4.0,
    )
}

fn is_odd(number: f32) -> bool {
    number as u8 % 2 == 1
}

fn striped(at: f32, odd: Colour, even: Colour) -> Colour {
    if is_odd(at) { odd } else { even }
}

/// A piece of the walls with something on it.
fn wall(on_it: impl Fn(f32, f32) -> Colour) -> Rc<Copies> {
    solid(512, 128, |x, y| match y {
        ..0.06 => vec3(140.0, 142.0, 146.0),
        ..0.84 if (0.012..0.988).contains(&x) => on_it(x, y),
        _ => vec3(168.0, 166.0, 160.0) * (0.9 + 0.2 * noise(x * 90.0, y * 22.0)),
    })
}

fn board(text: &str, ink: Colour, ground: Colour) -> Rc<Copies> {
    wall(|x, y| match is_text(text, x, y + 0.05, 4.0, 0.40) {
        true => ink,
        false => ground,
    })
}

fn arrows() -> Rc<Copies> {
    wall(|x, y| striped(x * 16.0 + (y - 0.45).abs() * 2.4, WHITE, RED))
}

/// What hangs over the start line.
fn banner() -> Rc<Copies> {
    solid(1024, 128, |x, y| match x {
        _ if !(0.05..0.95).contains(&y) => Vec3::splat(90.0),
        0.16..0.84 if is_text("P2PROUTER", x, y, 6.67, 0.5) => WHITE,
        0.16..0.84 => RED.lerp(DARK, y * 0.4),
        _ if is_odd(x * 26.67) != is_odd(y * 4.0) => DARK,
        _ => WHITE,
    })
}

/// A wall of the pit building with something in it.
fn pit(in_it: impl Fn(f32, f32) -> Option<Colour>) -> Rc<Copies> {
    solid(512, 256, |x, y| {
        let plaster = vec3(222.0, 212.0, 190.0) * (0.9 + 0.1 * noise(x * 60.0, y * 30.0));
        match y {
            ..0.16 => vec3(64.0, 68.0, 78.0) * (1.0 + (y * 40.0).sin() * 0.15),
            ..0.19 => plaster * 0.6,
            _ => in_it(x, y).unwrap_or(plaster),
        }
    })
}

fn gates() -> Rc<Copies> {
    let (dark, light) = (vec3(81.0, 87.0, 97.0), vec3(106.0, 114.0, 126.0));
    pit(|x, y| match (x * 3.0).fract() {
        _ if is_text("PIT", x, y + 0.18, 2.0, 0.16) => Some(RED),
        0.14..0.86 if y > 0.46 => Some(striped(y * 22.0, dark, light)),
        _ => None,
    })
}

fn windows() -> Rc<Copies> {
    let (above, below) = (vec3(120.0, 156.0, 186.0), vec3(60.0, 84.0, 110.0));
    pit(
        |x, y| match [((x * 4.0).fract() - 0.5).abs(), (y - 0.51).abs()] {
            [..0.20, ..0.12] => Some(above.lerp(below, ((y - 0.36) * 3.0).min(1.0))),
            [..0.25, ..0.15] => Some(WHITE),
            _ => None,
        },
    )
}

/// A tree with a round crown of clumps of leaves, those in front last.
fn oak() -> Rc<Copies> {
    let clump = |number| {
        let [turn, far, size] = [1, 2, 3].map(|salt| hash(number, salt));
        let from = Vec2::from_angle(turn * TAU) * far.sqrt();
        (
            vec2(0.5, 0.36) + from * vec2(0.32, 0.25),
            0.09 + 0.07 * size,
        )
    };
    let clumps: Vec<(Vec2, f32)> = (0..46).map(clump).collect();
    surface(256, 256, |x, y| {
        let [leaves, ragged] = [70.0, 40.0].map(|spots| noise(x * spots, y * spots * 1.1) - 0.5);
        let light = clumps.iter().rev().find_map(|(middle, size)| {
            let from = (vec2(x, y) - middle) * vec2(1.0, 1.15) / size;
            let is_in = from.length() + 0.03 * ragged / size < 1.0;
            is_in.then(|| 1.04 - from.dot(vec2(0.14, 0.26)) - 0.5 * middle.y + 0.28 * leaves)
        });
        let trunk = 0.8 + (0.5 - x) * 5.0 + 0.2 * noise(x * 90.0, y * 12.0);
        match light {
            Some(light) => (vec3(82.0, 132.0, 52.0) * light).extend(1.0),
            None if y > 0.5 && (x - 0.5).abs() < 0.04 => (WOOD * trunk).extend(1.0),
            None => Paint::ZERO,
        }
    })
}

/// A round body that is as wide and of such a colour at each height as `shape` says, and the more
/// ragged, the more of its width is rough.
fn body(rough: f32, shape: impl Fn(f32) -> (f32, Colour)) -> Rc<Copies> {
    surface(128, 256, |x, y| {
        let (wide, colour) = shape(y);
        let side = (x - 0.5).abs() + rough * (noise(x * 50.0, y * 60.0) - 0.5);
        let light = 1.08 - (x - 0.37).abs() + 8.0 * rough * (noise(x * 60.0, y * 90.0) - 0.5);
        (colour * light).extend(1.0) * (1.0 - step(side, wide, 0.02))
    })
}

/// A tree with a pointed crown in layers.
fn fir() -> Rc<Copies> {
    body(0.035, |y| {
        let layer = (y * 6.5).fract();
        let crown = vec3(52.0, 104.0, 62.0) * (1.0 - 0.25 * layer);
        let wide = 0.03 + y * (0.27 + 0.16 * layer);
        if y < 0.92 {
            (wide, crown)
        } else {
            (0.045, WOOD * 0.9)
        }
    })
}

fn cone() -> Rc<Copies> {
    body(0.0, |y| {
        let wide = if y > 0.92 { 0.48 } else { 0.05 + 0.30 * y };
        (wide, striped(y * 5.0, WHITE, vec3(232.0, 104.0, 26.0)))
    })
}

fn tyres() -> Rc<Copies> {
    body(0.0, |y| {
        let round = (1.0 - ((y * 4.0).fract() - 0.5).abs() * 2.0).sqrt();
        let colour = striped(y * 4.0, WHITE, DARK);
        (0.42 + 0.06 * round, colour * (0.45 + 0.55 * round))
    })
}

fn post() -> Rc<Copies> {
    body(0.0, |y| (0.6, striped(y * 7.0, WHITE, RED)))
}

fn balloon() -> Rc<Copies> {
    body(0.0, |y| match y {
        0.86..0.97 => (0.07, WOOD),
        0.80..0.86 => (0.02, WOOD),
        _ => {
            let up = (y - 0.37) / 0.36;
            let wide = 0.47 * (1.0 - up * up).max(0.0).sqrt() * (1.0 - 0.25 * up.max(0.0));
            (wide, striped(y * 11.0, RED, vec3(236.0, 176.0, 40.0)))
        }
    })
}
