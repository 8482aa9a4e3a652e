//! Owns the place where the simulated car drives: the track, the walls round it and what stands
//! there. Metres from the middle, x to the east, y to the north.

use std::sync::LazyLock;

/// Distance of the walls from the middle.
pub(crate) const HALF: [f32; 2] = [18.0, 12.0];
/// Half the track's width, without its kerbs.
pub(crate) const TRACK: f32 = 2.0;
/// Nothing comes nearer to the car's middle, where its camera is.
const CAR: f32 = 0.9;
/// The pit building's middle, and half its length and width.
pub(crate) const HOUSE_AT: [f32; 2] = [-3.25, -3.7];
pub(crate) const HOUSE: [f32; 2] = [2.25, 1.3];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Oak,
    Fir,
    Cone,
    Tyres,
    Post,
    House,
}

/// A thing that stands within the walls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Thing {
    pub kind: Kind,
    pub at: [f32; 2],
}

pub(crate) static THINGS: LazyLock<Vec<Thing>> = LazyLock::new(|| {
    #[rustfmt::skip]
    let places: [(Kind, &[[f32; 2]]); 6] = [
        (Kind::House, &[HOUSE_AT]),
        (Kind::Post, &[[1.5, -10.8], [1.5, -5.2]]),
        (Kind::Cone, &[[8.5, -5.3], [9.6, -5.2], [10.5, -4.7], [11.1, -4.0], [-2.0, -1.9], [0.0, -1.9]]),
        (Kind::Tyres, &[[16.9, -10.0], [17.3, -9.0], [16.0, -11.0], [16.9, 10.0], [16.0, 11.0],
            [-16.9, 10.0], [-16.9, -10.0]]),
        (Kind::Oak, &[[9.5, 1.0], [6.4, 3.6], [-10.5, 0.5], [-0.8, 6.6], [7.0, -1.5]]),
        (Kind::Fir, &[[10.3, 4.6], [-9.0, 4.0], [-7.0, 1.0], [-10.6, -3.6]]),
    ];
    let things = places.into_iter();
    let things =
        things.flat_map(|(kind, places)| places.iter().map(move |at| Thing { kind, at: *at }));
    things.collect()
});

impl Thing {
    /// The radius of what the car bumps into.
    pub(crate) fn foot(&self) -> f32 {
        match self.kind {
            Kind::Oak | Kind::Fir => 0.3,
            Kind::Cone => 0.12,
            Kind::Tyres => 0.4,
            Kind::Post => 0.15,
            Kind::House => 0.0,
        }
    }

    /// Distance from the thing's middle, or from the house's walls.
    pub(crate) fn distance(&self, x: f32, y: f32) -> f32 {
        let [mut dx, mut dy] = [(x - self.at[0]).abs(), (y - self.at[1]).abs()];
        if self.kind == Kind::House {
            [dx, dy] = [(dx - HOUSE[0]).max(0.0), (dy - HOUSE[1]).max(0.0)];
        }
        (dx * dx + dy * dy).sqrt()
    }
}

/// Whether the car can be here.
pub(crate) fn is_free(x: f32, y: f32) -> bool {
    let is_within = x.abs() <= HALF[0] - CAR && y.abs() <= HALF[1] - CAR;
    is_within
        && THINGS
            .iter()
            .all(|thing| thing.distance(x, y) >= CAR + thing.foot())
}

/// A place as the track sees it.
pub(crate) struct OnTrack {
    /// Metres from the track's middle line to its inside.
    pub inside: f32,
    /// In a bend, metres from its centre; on a straight, metres along it.
    from: [f32; 2],
    /// Of the bend; 0 for a straight.
    radius: f32,
}

impl OnTrack {
    /// The track is a rectangle of 28 m by 16 m with corners of 5 m radius, less a bay from the
    /// north with a radius of 3 m and corners of 4 m.
    pub(crate) fn new(x: f32, y: f32) -> Self {
        let bend = |x: f32, y: f32, radius: f32, side: f32| Self {
            inside: (radius - (x * x + y * y).sqrt()) * side,
            from: [x, y],
            radius,
        };
        let straight = |inside: f32, along: f32| Self {
            inside,
            from: [along, 0.0],
            radius: 0.0,
        };
        let (corner_x, corner_y) = (x.abs() - 9.0, y.abs() - 3.0);
        let (bay_x, bay_y) = ((x + 1.0).abs(), y - 4.0);
        if bay_y > 0.0 && bay_x < 7.0 {
            bend(bay_x - 7.0, bay_y, 4.0, 1.0)
        } else if bay_x * bay_x + bay_y * bay_y < 36.0 {
            bend(bay_x, bay_y, 3.0, -1.0)
        } else if corner_x > 0.0 && corner_y > 0.0 {
            bend(corner_x, corner_y, 5.0, 1.0)
        } else if corner_x > corner_y {
            straight(5.0 - corner_x, y)
        } else {
            straight(5.0 - corner_y, x)
        }
    }

    /// Metres along this piece of the track.
    pub(crate) fn along(&self) -> f32 {
        let [x, y] = self.from;
        if self.radius == 0.0 {
            x
        } else {
            y.atan2(x) * self.radius
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_track_closes_and_the_car_can_drive_all_of_it() {
        let inside = |x, y| OnTrack::new(x, y).inside;
        let (mut x, mut y, mut way) = (-6.0, -8.0, 0.0);
        while way < 20.0 || (x + 6.0f32).hypot(y + 8.0) > 0.02 {
            assert!(inside(x, y).abs() < 0.01 && way < 120.0, "{x},{y}");
            // To the left, as far as the line's slope says.
            let left = [
                (inside(x + 0.01, y) - inside(x - 0.01, y)) / 0.02,
                (inside(x, y + 0.01) - inside(x, y - 0.01)) / 0.02,
            ];
            for off in [-1.6, 0.0, 1.6] {
                let (x, y) = (x + off * left[0], y + off * left[1]);
                assert!(is_free(x, y), "{x},{y}");
                assert!((inside(x, y) - off).abs() < 0.01, "{x},{y}");
            }
            let back = inside(x, y);
            x += left[1] * 0.01 - left[0] * back;
            y += -left[0] * 0.01 - left[1] * back;
            way += 0.01;
        }
        assert!((85.0..95.0).contains(&way), "{way}");
    }

    #[test]
    fn walls_house_and_things_are_in_the_way() {
        assert!(is_free(-6.0, -8.0));
        assert!(!is_free(17.9, 0.0) && !is_free(0.0, -11.9));
        assert!(!is_free(-3.0, -3.0));
        assert!(
            THINGS
                .iter()
                .all(|thing| !is_free(thing.at[0], thing.at[1]))
        );
    }
}
