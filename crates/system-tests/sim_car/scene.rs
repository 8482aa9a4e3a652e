//! Owns what stands upright in the simulated world, and where: each thing is a flat panel between
//! two points of the ground, with a surface on it.

#![expect(clippy::cast_possible_truncation, reason = "metres need no 64 bits")]

use crate::course::{HALF, HOUSE, Kind, THINGS};
use crate::paint::hash;
use crate::surfaces;
use crate::texture::Texture;

/// Which surface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Surface {
    Oak,
    Fir,
    Cone,
    Tyres,
    Post,
    Banner,
    HouseFront,
    HouseSide,
    Balloon,
    Wall(u8),
}

/// A flat thing that stands on the ground or hangs above it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panel {
    /// From its left to its right, for whom its front is turned to.
    pub from: [f32; 2],
    pub to: [f32; 2],
    /// Metres above the ground.
    pub bottom: f32,
    pub top: f32,
    pub surface: Surface,
    /// How much light falls on it.
    pub light: f32,
}

/// A thing that turns its face to whoever looks, as high and wide as this.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sprite {
    pub at: [f32; 2],
    pub bottom: f32,
    pub height: f32,
    pub width: f32,
    pub surface: Surface,
}

/// All of them.
pub(crate) struct Scene {
    pub panels: Vec<Panel>,
    pub sprites: Vec<Sprite>,
    textures: Vec<(Surface, Texture)>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        use Surface::{Balloon, Banner, Cone, Fir, HouseFront, HouseSide, Oak, Post, Tyres, Wall};
        let textures = vec![
            (Oak, surfaces::oak()),
            (Fir, surfaces::fir()),
            (Cone, surfaces::cone()),
            (Tyres, surfaces::tyres()),
            (Post, surfaces::post()),
            (Banner, surfaces::banner()),
            (HouseFront, surfaces::house(true)),
            (HouseSide, surfaces::house(false)),
            (Balloon, surfaces::balloon()),
            (Wall(0), surfaces::wall(0)),
            (Wall(1), surfaces::wall(1)),
            (Wall(2), surfaces::wall(2)),
        ];
        let mut panels = walls();
        panels.extend(house());
        panels.push(Panel {
            from: [1.5, -5.2],
            to: [1.5, -10.8],
            bottom: 2.1,
            top: 2.95,
            surface: Banner,
            light: 1.0,
        });
        Self {
            panels,
            sprites: things().chain(wood()).collect(),
            textures,
        }
    }

    pub(crate) fn texture(&self, surface: Surface) -> Option<&Texture> {
        let found = self.textures.iter().find(|(known, _)| *known == surface);
        found.map(|(_, texture)| texture)
    }
}

/// The walls all round, in pieces of some 4 m, a board on each.
fn walls() -> Vec<Panel> {
    let (x, y) = (HALF.0 as f32, HALF.1 as f32);
    let mut panels = Vec::new();
    let corners = [[-x, y], [x, y], [x, -y], [-x, -y], [-x, y]];
    for (side, (pair, light)) in corners.windows(2).zip([0.82, 1.0, 1.04, 0.9]).enumerate() {
        let ([from_x, from_y], [to_x, to_y]) = (pair[0], pair[1]);
        let length = (to_x - from_x).abs() + (to_y - from_y).abs();
        let pieces = (length / 4.0) as u8;
        for piece in 0..pieces {
            let point = |number: u8| {
                let share = f32::from(number) / f32::from(pieces);
                [
                    from_x + (to_x - from_x) * share,
                    from_y + (to_y - from_y) * share,
                ]
            };
            let is_corner = piece == 0 || piece == pieces - 1;
            panels.push(Panel {
                from: point(piece),
                to: point(piece + 1),
                bottom: 0.0,
                top: 0.9,
                surface: Surface::Wall(if is_corner {
                    2
                } else {
                    (piece + side as u8) % 2
                }),
                light,
            });
        }
    }
    panels
}

fn house() -> [Panel; 4] {
    let [[west, south], [east, north]] = HOUSE.map(|(x, y)| [x as f32, y as f32]);
    let side = |from, to, surface, light| Panel {
        from,
        to,
        bottom: 0.0,
        top: 2.2,
        surface,
        light,
    };
    [
        side([west, south], [east, south], Surface::HouseFront, 1.05),
        side([east, south], [east, north], Surface::HouseSide, 0.85),
        side([east, north], [west, north], Surface::HouseSide, 0.8),
        side([west, north], [west, south], Surface::HouseSide, 1.0),
    ]
}

fn things() -> impl Iterator<Item = Sprite> {
    THINGS.iter().map(|(kind, x, y)| {
        let (surface, height, width) = match kind {
            Kind::Oak => (Surface::Oak, 3.6, 3.0),
            Kind::Fir => (Surface::Fir, 4.4, 2.4),
            Kind::Cone => (Surface::Cone, 0.42, 0.34),
            Kind::Tyres => (Surface::Tyres, 0.95, 0.85),
            Kind::Post => (Surface::Post, 3.0, 0.2),
        };
        Sprite {
            at: [*x as f32, *y as f32],
            bottom: 0.0,
            height,
            width,
            surface,
        }
    })
}

/// Trees outside the walls, and a balloon above them.
fn wood() -> impl Iterator<Item = Sprite> {
    let (x, y) = (HALF.0 as f32, HALF.1 as f32);
    let trees = (0..64).map(move |number| {
        let [where_to, far, tall] = [7, 8, 9].map(|salt| hash(number, salt));
        let round = (number as f32 + 0.8 * where_to) / 64.0 * std::f32::consts::TAU;
        let away = 1.22 + 0.75 * far;
        let is_oak = hash(number, 11) < 0.5;
        let height = 3.2 + 2.6 * tall;
        Sprite {
            at: [round.cos() * x * away * 1.25, round.sin() * y * away * 1.35],
            bottom: -0.1,
            height,
            width: height * if is_oak { 0.85 } else { 0.55 },
            surface: if is_oak { Surface::Oak } else { Surface::Fir },
        }
    });
    let balloons = [([46.0, -30.0], 9.5, 8.0), ([-60.0, 40.0], 16.0, 9.0)];
    trees.chain(balloons.into_iter().map(|(at, bottom, height)| Sprite {
        at,
        bottom,
        height,
        width: height * 0.71,
        surface: Surface::Balloon,
    }))
}
