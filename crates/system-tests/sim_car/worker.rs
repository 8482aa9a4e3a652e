//! Owns the simulated car as a worker of `p2p-inner`: requests and answers, a line of JSON each, with
//! a sentence about the car, and a map with the car in it.

use std::f32::consts::{FRAC_PI_4, FRAC_PI_8};
use std::io::{self, BufRead, Write};

use glam::{Vec2, ivec2, vec2};
use serde::Deserialize;
use serde_json::json;

use crate::car::{Car, CarFile};
use crate::course::{HALF, OnTrack, TRACK, Thing, things};

const SERVES: [&str; 7] = [
    "forward", "back", "left", "right", "stop", "status", "where",
];
/// How the map and a sentence show which way a car faces.
#[rustfmt::skip]
const FACES: [(char, &str); 8] = [
    ('>', "east"), ('/', "north-east"), ('^', "north"), ('\\', "north-west"),
    ('<', "west"), ('/', "south-west"), ('v', "south"), ('\\', "south-east"),
];

#[derive(Deserialize)]
struct Request {
    id: u64,
    command: String,
    #[serde(default)]
    args: Vec<String>,
}

/// Answers until its input ends.
///
/// # Errors
/// If the inner is gone.
pub(crate) fn serve(input: impl BufRead, mut output: impl Write, file: &CarFile) -> io::Result<()> {
    writeln!(output, "{}", json!({ "serves": SERVES }))?;
    output.flush()?;
    for line in input.split(b'\n') {
        let Request { id, command, args } = match serde_json::from_slice(&line?) {
            Ok(request) => request,
            Err(error) => {
                // There is no id to answer to.
                eprintln!("what the inner sent is no request: {error}");
                continue;
            }
        };
        let answer = match carry_out(&command, &args, file) {
            Ok(output) => json!({ "id": id, "exit": 0, "output": output }),
            Err((exit, error)) => json!({ "id": id, "exit": exit, "error": error + "\n" }),
        };
        writeln!(output, "{answer}")?;
        output.flush()?;
    }
    Ok(())
}

/// Returns what the command prints, or its exit code and why it fails.
fn carry_out(command: &str, args: &[String], file: &CarFile) -> Result<String, (i32, String)> {
    let is_share = |share: &f32| (0.0..=1.0).contains(share);
    let share = match args {
        // Whatever its arguments are: a stop always stops.
        _ if command == "stop" => Some(0.0),
        [] => Some(1.0),
        [share] => share.parse().ok().filter(is_share),
        _ => None,
    };
    let car = match (command, serde_json::from_value(command.into()), share) {
        ("where" | "status", ..) => file.car(),
        (_, Ok(motion), Some(share)) => file.tell(motion, share),
        (_, Ok(_), None) => {
            let sentence = "the speed is one number from 0 to 1, as in `forward 0.5`";
            return Err((2, sentence.to_owned()));
        }
        (_, Err(_), _) => {
            let sentence = format!("this car has no such command; it has {}", SERVES.join(", "));
            return Err((127, sentence));
        }
    };
    let car = car.map_err(|error| (1, format!("the car's file can't be used: {error}")))?;
    let sentence = sentence(&car);
    Ok(match command {
        "status" => map(&car) + &sentence,
        _ => sentence,
    })
}

/// Where the car is and what it does, in one line, after another one if it bumped.
pub(crate) fn sentence(car: &Car) -> String {
    let bump = if car.bumped {
        "bump: something is in the way\n"
    } else {
        ""
    };
    let (does, faces) = (car.says().1, faces(car).1);
    format!(
        "{bump}the car {does} at {:.1},{:.1} and faces {faces}\n",
        car.x, car.y
    )
}

fn faces(car: &Car) -> (char, &'static str) {
    FACES[((car.heading + FRAC_PI_8) / FRAC_PI_4) as usize % 8]
}

/// The world from above, north at the top.
fn map(car: &Car) -> String {
    // A letter is as wide as 0.75 m, and twice as high.
    let size = vec2(0.75, 1.5);
    let cell = |at: Vec2| (vec2(at.x + HALF.x, HALF.y - at.y) / size).as_ivec2();
    let letter = |column, row| {
        let here = ivec2(column, row);
        let middle = (here.as_vec2() + 0.5) * size;
        let (x, y) = (middle.x - HALF.x, HALF.y - middle.y);
        let is_here = |thing: &Thing| cell(thing.1) == here || thing.distance(vec2(x, y)) == 0.0;
        match things().find(is_here) {
            _ if cell(vec2(car.x, car.y)) == here => faces(car).0,
            Some(Thing(kind, _)) => kind.letter,
            None if OnTrack::new(x, y).inside.abs() <= TRACK => '.',
            None => ' ',
        }
    };
    let edge = format!("+{}+\n", "-".repeat(48));
    let line = |row| String::from_iter((0..48).map(|column| letter(column, row)));
    let lines = (0..16).map(|row| format!("|{}|\n", line(row)));
    format!("{edge}{}{edge}", String::from_iter(lines))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::car::Motion;

    /// What a worker with a new car answers to these lines, and how the car is then.
    fn said(lines: &[u8]) -> (Vec<serde_json::Value>, Car) {
        let folder = tempfile::tempdir().unwrap();
        let file = CarFile(folder.path().join("car"));
        file.start().unwrap();
        let mut output = Vec::new();
        serve(lines, &mut output, &file).unwrap();
        let text = String::from_utf8(output).unwrap();
        let mut lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        assert_eq!(lines.next(), Some(json!({ "serves": SERVES })));
        (lines.collect(), file.car().unwrap())
    }

    #[test]
    fn it_moves_when_it_is_told_to_and_says_so() {
        for (command, motion) in [
            ("forward", Motion::Forward),
            ("back", Motion::Back),
            ("left", Motion::Left),
            ("right", Motion::Right),
            ("stop", Motion::Stop),
        ] {
            let line =
                format!(r#"{{"id":7,"command":"{command}","args":[],"run":"x","from":"y"}}"#);
            let (said, car) = said(line.as_bytes());
            assert_eq!((&said[0]["id"], &said[0]["exit"]), (&7.into(), &0.into()));
            assert!(said[0]["output"].as_str().unwrap().starts_with("the car "));
            assert_eq!(car.motion, motion);
        }
    }

    #[test]
    fn where_and_status_say_where_it_is_and_move_nothing() {
        let (said, car) = said(
            b"{\"id\":1,\"command\":\"where\"}\n{\"id\":2,\"command\":\"status\",\"args\":[]}\n",
        );
        let sentence = "the car stands at -6.0,-8.0 and faces east\n";
        assert_eq!(said[0]["output"], sentence);
        let status = said[1]["output"].as_str().unwrap();
        assert!(status.starts_with("+--") && status.ends_with(sentence));
        assert_eq!(car.motion, Motion::Stop);
    }

    #[test]
    fn what_is_no_request_is_passed_over() {
        let noise = b"\nnoise\n{}\n\xff\xfe\n{\"id\":\"7\",\"command\":\"forward\"}\n[1]\n{\"id\":8,\"command\":\"where\"}";
        let (said, car) = said(noise);
        assert_eq!((said.len(), &said[0]["id"]), (1, &8.into()));
        assert_eq!(car.motion, Motion::Stop);
    }

    #[test]
    fn an_unknown_command_and_a_speed_that_is_none_fail_and_move_nothing() {
        for (command, args, exit) in [
            ("fly", "[]", 127),
            ("", "[]", 127),
            ("fly", r#"["fast"]"#, 127),
            ("forward", r#"["fast"]"#, 2),
            ("forward", r#"["NaN"]"#, 2),
            ("forward", r#"["2"]"#, 2),
            ("left", r#"["1","1"]"#, 2),
        ] {
            let line = format!(r#"{{"id":1,"command":"{command}","args":{args}}}"#);
            let (said, car) = said(line.as_bytes());
            assert_eq!(said[0]["exit"], exit, "{command} {args}");
            assert!(said[0]["error"].as_str().unwrap().ends_with('\n'));
            assert_eq!(car.motion, Motion::Stop);
        }
        let forward = r#"{"id":1,"command":"forward","args":["0.5"]}"#;
        assert_eq!(said(forward.as_bytes()).1.motion, Motion::Forward);
        let stop = r#"{"id":1,"command":"stop","args":["whatever"]}"#;
        let (_, car) = said(format!("{forward}\n{stop}").as_bytes());
        assert_eq!(car.motion, Motion::Stop);
    }

    #[test]
    fn it_says_where_it_is_and_what_it_does() {
        let mut car = Car::new(Duration::ZERO);
        assert_eq!(
            sentence(&car),
            "the car stands at -6.0,-8.0 and faces east\n"
        );
        (car.x, car.heading, car.motion) = (-0.001, 2.3, Motion::Forward);
        assert_eq!(
            sentence(&car),
            "the car goes forward, now at -0.0,-8.0 and faces north-west\n"
        );
        (car.motion, car.speed) = (Motion::Stop, 1.0);
        assert!(sentence(&car).starts_with("the car comes to a stand, now at"));
        (car.speed, car.bumped) = (0.0, true);
        assert!(sentence(&car).starts_with("bump: something is in the way\nthe car stands at"));
    }

    #[test]
    fn the_map_keeps_its_shape_and_shows_the_car_once() {
        for (x, y, heading, arrow) in [
            (-6.0, -8.0, 0.0, '>'),
            (17.7, 11.7, 1.6, '^'),
            (-17.7, -11.7, 3.1, '<'),
            (0.01, -11.7, 4.7, 'v'),
        ] {
            let mut car = Car::new(Duration::ZERO);
            (car.x, car.y, car.heading) = (x, y, heading);
            let map = map(&car);
            let lines: Vec<&str> = map.lines().collect();
            assert_eq!(lines.len(), 18, "{map}");
            assert!(lines.iter().all(|line| line.len() == 50), "{map}");
            assert_eq!(map.matches(arrow).count(), 1, "{map}");
        }
    }
}
