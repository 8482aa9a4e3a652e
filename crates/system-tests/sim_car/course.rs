//! Owns the place where the simulated car drives: the track's line, the walls round it and what
//! stands there. Where things are, not how they look. Metres from the middle, x to the east, y to
//! the north.

use std::f64::consts::{FRAC_PI_2, PI, TAU};

/// The walls are so far from the middle.
pub(crate) const HALF: (f64, f64) = (18.0, 12.0);
/// Half the track's width, without its kerbs.
pub(crate) const TRACK: f64 = 2.0;
/// Where the car begins.
pub(crate) const START: (f64, f64) = (-6.0, -8.0);
/// Where the start line and the gantry over it are on the first straight: metres along the track.
pub(crate) const LINE: f64 = 10.5;
/// Nothing comes nearer to the car's middle, where its camera is: so near that a wall is seen with
/// what is above it.
pub(crate) const CAR: f64 = 0.9;

/// What stands somewhere, on how large a foot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Oak,
    Fir,
    Cone,
    Tyres,
    Post,
}

impl Kind {
    /// The radius that the car bumps into.
    pub(crate) fn foot(self) -> f64 {
        match self {
            Self::Oak | Self::Fir => 0.3,
            Self::Cone => 0.12,
            Self::Tyres => 0.4,
            Self::Post => 0.15,
        }
    }
}

/// What stands within the walls.
pub(crate) const THINGS: &[(Kind, f64, f64)] = &[
    (Kind::Post, 1.5, -10.8),
    (Kind::Post, 1.5, -5.2),
    (Kind::Cone, 8.5, -5.3),
    (Kind::Cone, 9.6, -5.2),
    (Kind::Cone, 10.5, -4.7),
    (Kind::Cone, 11.1, -4.0),
    (Kind::Tyres, 16.9, -10.0),
    (Kind::Tyres, 17.3, -9.0),
    (Kind::Tyres, 16.0, -11.0),
    (Kind::Tyres, 16.9, 10.0),
    (Kind::Tyres, 16.0, 11.0),
    (Kind::Tyres, -16.9, 10.0),
    (Kind::Tyres, -16.9, -10.0),
    (Kind::Oak, 9.5, 1.0),
    (Kind::Oak, 6.4, 3.6),
    (Kind::Fir, 10.3, 4.6),
    (Kind::Fir, -9.0, 4.0),
    (Kind::Oak, -10.5, 0.5),
    (Kind::Fir, -7.0, 1.0),
    (Kind::Fir, -10.6, -3.6),
    (Kind::Oak, -0.8, 6.6),
    (Kind::Oak, 7.0, -1.5),
    (Kind::Cone, -2.0, -1.9),
    (Kind::Cone, 0.0, -1.9),
];

/// The pit building: from this corner to that.
pub(crate) const HOUSE: [(f64, f64); 2] = [(-5.5, -5.0), (-1.0, -2.4)];

/// Whether the car can be here.
pub(crate) fn is_free(x: f64, y: f64) -> bool {
    let [(west, south), (east, north)] = HOUSE;
    let (dx, dy) = (x - x.clamp(west, east), y - y.clamp(south, north));
    x.abs() <= HALF.0 - CAR
        && y.abs() <= HALF.1 - CAR
        && dx.hypot(dy) >= CAR
        && (THINGS.iter()).all(|(kind, at_x, at_y)| (x - at_x).hypot(y - at_y) >= CAR + kind.foot())
}

/// A piece of the track's middle line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    /// Where it begins.
    pub from: (f64, f64),
    /// In which direction.
    pub heading: f64,
    /// Metres along the track at its beginning.
    pub begins: f64,
    pub length: f64,
    /// How much to the left a metre turns; 0 for a straight.
    pub bend: f64,
}

/// The track's pieces, in order; it closes. (length or angle, radius to the left or 0)
pub(crate) fn pieces() -> Vec<Piece> {
    const TURTLE: [(f64, f64); 12] = [
        (18.0, 0.0),
        (FRAC_PI_2, 5.0),
        (6.0, 0.0),
        (FRAC_PI_2, 5.0),
        (3.0, 0.0),
        (FRAC_PI_2, 4.0),
        (PI, -3.0),
        (FRAC_PI_2, 4.0),
        (1.0, 0.0),
        (FRAC_PI_2, 5.0),
        (6.0, 0.0),
        (FRAC_PI_2, 5.0),
    ];
    let (mut from, mut heading, mut begins) = ((-9.0, -8.0), 0.0, 0.0);
    let mut pieces = Vec::new();
    for (much, radius) in TURTLE {
        let piece = Piece {
            from,
            heading,
            begins,
            length: if radius == 0.0 {
                much
            } else {
                much * f64::abs(radius)
            },
            bend: if radius == 0.0 { 0.0 } else { 1.0 / radius },
        };
        (from, heading) = piece.end();
        begins += piece.length;
        pieces.push(piece);
    }
    pieces
}

impl Piece {
    /// The middle of its circle.
    pub(crate) fn centre(&self) -> (f64, f64) {
        let (sin, cos) = self.heading.sin_cos();
        (self.from.0 - sin / self.bend, self.from.1 + cos / self.bend)
    }

    fn end(&self) -> ((f64, f64), f64) {
        let heading = self.heading + self.length * self.bend;
        let ((sin, cos), (end_sin, end_cos)) = (self.heading.sin_cos(), heading.sin_cos());
        let to = if self.bend == 0.0 {
            (
                self.from.0 + self.length * cos,
                self.from.1 + self.length * sin,
            )
        } else {
            let centre = self.centre();
            (
                centre.0 + end_sin / self.bend,
                centre.1 - end_cos / self.bend,
            )
        };
        (to, heading.rem_euclid(TAU))
    }

    /// How far from the line this is, to the left; and how far along the piece, which may be before
    /// its beginning or behind its end.
    pub(crate) fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let (sin, cos) = self.heading.sin_cos();
        if self.bend == 0.0 {
            let (dx, dy) = (x - self.from.0, y - self.from.1);
            return (dy * cos - dx * sin, dx * cos + dy * sin);
        }
        let (centre, radius) = (self.centre(), 1.0 / self.bend.abs());
        let (dx, dy) = (x - centre.0, y - centre.1);
        let first = (self.from.1 - centre.1).atan2(self.from.0 - centre.0);
        let turned = (dy.atan2(dx) - first) * self.bend.signum();
        // From half a turn before its middle to half a turn behind it.
        let middle = self.length / radius / 2.0;
        let turned = (turned - middle + PI).rem_euclid(TAU) - PI + middle;
        let off = (radius - dx.hypot(dy)) * self.bend.signum();
        (off, turned * radius)
    }

    /// How far this is from the piece itself.
    pub(crate) fn distance(&self, x: f64, y: f64) -> f64 {
        let (off, along) = self.at(x, y);
        let beyond = along - along.clamp(0.0, self.length);
        off.hypot(beyond)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_track_closes_and_the_car_can_drive_all_of_it() {
        let pieces = pieces();
        let ((x, y), heading) = pieces[pieces.len() - 1].end();
        assert!((x + 9.0).abs() < 1e-9 && (y + 8.0).abs() < 1e-9, "{x},{y}");
        assert!(heading.sin().abs() < 1e-9);
        for piece in &pieces {
            for tenth in 0..=10 {
                let part = Piece {
                    length: piece.length * f64::from(tenth) / 10.0,
                    ..*piece
                };
                let ((x, y), heading) = part.end();
                for off in [-1.6, 0.0, 1.6] {
                    let (x, y) = (x - off * heading.sin(), y + off * heading.cos());
                    assert!(is_free(x, y), "{x},{y}");
                    let (sideways, along) = piece.at(x, y);
                    assert!((sideways - off).abs() < 1e-9, "{sideways} for {off}");
                    assert!((along - part.length).abs() < 1e-9);
                }
            }
        }
    }

    #[test]
    fn walls_house_and_things_are_in_the_way() {
        assert!(is_free(START.0, START.1));
        assert!(!is_free(17.9, 0.0) && !is_free(0.0, -11.9));
        assert!(!is_free(-3.0, -3.0));
        assert!(THINGS.iter().all(|(_, x, y)| !is_free(*x, *y)));
    }
}
