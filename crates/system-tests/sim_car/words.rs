//! Owns what the simulated car says of itself: a sentence, and the map with the car in it.

use std::f64::consts::{FRAC_PI_4, TAU};

use crate::course;
use crate::world::{Motion, Pose};

/// The map's size in letters, which are twice as high as wide.
const COLUMNS: u8 = 48;
const ROWS: u8 = 16;

/// Where it is and what it does, in one line.
pub(crate) fn tell(pose: &Pose) -> String {
    let what = match pose.motion {
        Motion::Forward => "goes forward, now",
        Motion::Back => "goes back, now",
        Motion::Left => "turns left, now",
        Motion::Right => "turns right, now",
        Motion::Stop if pose.speed != 0.0 => "comes to a stand, now",
        Motion::Stop => "stands",
    };
    let bump = if pose.bumped {
        "bump: something is in the way\n"
    } else {
        ""
    };
    format!(
        "{bump}the car {what} at {:.1},{:.1} and faces {}\n",
        // No -0.0
        pose.x + 0.0,
        pose.y + 0.0,
        faces(pose.heading),
    )
}

/// Which of eight directions it is, from the east over the north.
fn eighth(heading: f64) -> usize {
    let eighths = heading.rem_euclid(TAU) / FRAC_PI_4;
    (0..8)
        .find(|eighth| (eighths - *eighth as f64).abs() <= 0.5)
        .unwrap_or(0)
}

fn faces(heading: f64) -> &'static str {
    const NAMES: [&str; 8] = [
        "east",
        "north-east",
        "north",
        "north-west",
        "west",
        "south-west",
        "south",
        "south-east",
    ];
    NAMES[eighth(heading)]
}

/// The world from above, north at the top.
pub(crate) fn map(pose: &Pose) -> String {
    let column_m = 2.0 * course::HALF.0 / f64::from(COLUMNS);
    let row_m = 2.0 * course::HALF.1 / f64::from(ROWS);
    let pieces = course::pieces();
    let edge = format!("+{}+\n", "-".repeat(COLUMNS.into()));
    let mut map = edge.clone();
    for row in (0..ROWS).map(f64::from) {
        map.push('|');
        let y = course::HALF.1 - (row + 0.5) * row_m;
        for column in (0..COLUMNS).map(f64::from) {
            let x = (column + 0.5) * column_m - course::HALF.0;
            // The cell that it is in, and no other.
            let is_here = |at: (f64, f64)| {
                ((at.0 + course::HALF.0) / column_m).floor() == column
                    && ((course::HALF.1 - at.1) / row_m).floor() == row
            };
            let [(west, south), (east, north)] = course::HOUSE;
            map.push(if is_here((pose.x, pose.y)) {
                ['>', '/', '^', '\\', '<', '/', 'v', '\\'][eighth(pose.heading)]
            } else if (west..=east).contains(&x) && (south..=north).contains(&y) {
                '#'
            } else if let Some((kind, ..)) =
                course::THINGS.iter().find(|(_, x, y)| is_here((*x, *y)))
            {
                match kind {
                    course::Kind::Oak | course::Kind::Fir => '*',
                    course::Kind::Cone | course::Kind::Tyres => 'o',
                    course::Kind::Post => 'I',
                }
            } else if pieces
                .iter()
                .any(|piece| piece.distance(x, y) <= course::TRACK)
            {
                '.'
            } else {
                ' '
            });
        }
        map.push_str("|\n");
    }
    map + &edge
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_where_it_is_and_what_it_does() {
        assert_eq!(
            tell(&Pose::START),
            "the car stands at -6.0,-8.0 and faces east\n"
        );
        let mut pose = Pose {
            x: -0.001,
            heading: 2.3,
            motion: Motion::Forward,
            ..Pose::START
        };
        assert_eq!(
            tell(&pose),
            "the car goes forward, now at -0.0,-8.0 and faces north-west\n"
        );
        (pose.motion, pose.speed) = (Motion::Stop, 1.0);
        assert!(tell(&pose).starts_with("the car comes to a stand, now at"));
        (pose.speed, pose.bumped) = (0.0, true);
        assert!(tell(&pose).starts_with("bump: something is in the way\nthe car stands at"));
    }

    #[test]
    fn the_map_keeps_its_shape_and_shows_the_car_once() {
        for (x, y, heading, arrow) in [
            (course::START.0, course::START.1, 0.0, '>'),
            (17.7, 11.7, 1.6, '^'),
            (-17.7, -11.7, 3.1, '<'),
            (0.01, -11.7, 4.7, 'v'),
        ] {
            let map = map(&Pose {
                x,
                y,
                heading,
                ..Pose::START
            });
            let lines: Vec<&str> = map.lines().collect();
            assert_eq!(lines.len(), 18, "{map}");
            assert!(lines.iter().all(|line| line.len() == 50), "{map}");
            assert_eq!(map.matches(arrow).count(), 1, "{map}");
        }
    }
}
