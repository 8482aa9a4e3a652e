//! Owns the place where the simulated car drives: the track, the walls round it and what stands
//! there. Metres from the middle, x to the east, y to the north.

use glam::{Vec2, vec2};

/// Distance of the walls from the middle.
pub(crate) const HALF: Vec2 = vec2(18.0, 12.0);
/// Half the track's width, without its kerbs.
pub(crate) const TRACK: f32 = 2.0;
/// Nothing comes nearer to the car's middle, where its camera is.
const CAR: f32 = 0.9;

/// What stands within the walls.
pub(crate) struct Kind {
    /// Its sign on the map.
    pub letter: char,
    /// Half its length and width, if it is not round.
    pub half: Vec2,
    /// The radius of what the car bumps into.
    foot: f32,
    /// The length of its shadow.
    pub shadow: f32,
    pub places: &'static [[f32; 2]],
}

/// The pit building, oaks, firs, cones, piles of tyres, and the posts at the start line.
#[rustfmt::skip]
pub(crate) static KINDS: [Kind; 6] = [
    Kind { letter: '#', half: vec2(2.25, 1.3), foot: 0.0, shadow: 0.7, places: &[[-3.25, -3.7]] },
    Kind { letter: '*', half: Vec2::ZERO, foot: 0.3, shadow: 1.3, places:
        &[[9.5, 1.0], [6.4, 3.6], [-10.5, 0.5], [-0.8, 6.6], [7.0, -1.5]] },
    Kind { letter: '*', half: Vec2::ZERO, foot: 0.3, shadow: 1.3, places:
        &[[10.3, 4.6], [-9.0, 4.0], [-7.0, 1.0], [-10.6, -3.6]] },
    Kind { letter: 'o', half: Vec2::ZERO, foot: 0.12, shadow: 0.24, places:
        &[[8.5, -5.3], [9.6, -5.2], [10.5, -4.7], [11.1, -4.0], [-2.0, -1.9], [0.0, -1.9]] },
    Kind { letter: 'o', half: Vec2::ZERO, foot: 0.4, shadow: 0.8, places:
        &[[16.9, -10.0], [17.3, -9.0], [16.0, -11.0], [16.9, 10.0], [16.0, 11.0], [-16.9, 10.0],
            [-16.9, -10.0]] },
    Kind { letter: 'I', half: Vec2::ZERO, foot: 0.15, shadow: 0.3, places:
        &[[1.5, -10.8], [1.5, -5.2]] },
];

/// A thing within the walls, and where its middle is.
#[derive(Clone, Copy)]
pub(crate) struct Thing(pub &'static Kind, pub Vec2);

pub(crate) fn things() -> impl Iterator<Item = Thing> {
    let places = |kind: &'static Kind| kind.places.iter().map(move |at| (kind, *at));
    let places = KINDS.iter().flat_map(places);
    places.map(|(kind, at)| Thing(kind, at.into()))
}

impl Thing {
    /// Distance from the thing's middle, or from its walls.
    pub(crate) fn distance(self, place: Vec2) -> f32 {
        let Self(kind, at) = self;
        ((place - at).abs() - kind.half).max(Vec2::ZERO).length()
    }

    /// How dark its shadow is: 1 at the thing, 0 where the shadow ends, less than 0 beyond.
    pub(crate) fn shadow(self, place: Vec2) -> f32 {
        let length = self.0.shadow;
        // The sun stands in the south-west.
        1.0 - self.distance(place - vec2(0.25, 0.15) * length) / length
    }
}

/// Whether the car can be here.
pub(crate) fn is_free(x: f32, y: f32) -> bool {
    let at = vec2(x, y);
    let is_within = at.abs().cmple(HALF - CAR).all();
    is_within && things().all(|thing| thing.distance(at) >= CAR + thing.0.foot)
}

/// A place as the track sees it.
pub(crate) struct OnTrack {
    /// Metres from the track's middle line to its inside.
    pub inside: f32,
    /// In a bend, metres from its centre; on a straight, metres along it.
    from: Vec2,
    /// Of the bend; 0 for a straight.
    radius: f32,
}

impl OnTrack {
    /// The track is a rectangle of 28 m by 16 m with corners of 5 m radius, less a bay from the
    /// north with a radius of 3 m and corners of 4 m.
    pub(crate) fn new(x: f32, y: f32) -> Self {
        let corner = vec2(x.abs() - 9.0, y.abs() - 3.0);
        let bay = vec2((x + 1.0).abs(), y - 4.0);
        let (inside, from, radius) = if bay.y > 0.0 && bay.x < 7.0 {
            let from = vec2(bay.x - 7.0, bay.y);
            (4.0 - from.length(), from, 4.0)
        } else if bay.length_squared() < 36.0 {
            (bay.length() - 3.0, bay, 3.0)
        } else if corner.x > 0.0 && corner.y > 0.0 {
            (5.0 - corner.length(), corner, 5.0)
        } else if corner.x > corner.y {
            (5.0 - corner.x, vec2(y, 0.0), 0.0)
        } else {
            (5.0 - corner.y, vec2(x, 0.0), 0.0)
        };
        Self {
            inside,
            from,
            radius,
        }
    }

    /// Metres along this piece of the track.
    pub(crate) fn along(&self) -> f32 {
        if self.radius == 0.0 {
            self.from.x
        } else {
            self.from.to_angle() * self.radius
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
        assert!(things().all(|Thing(_, at)| !is_free(at.x, at.y)));
    }
}
