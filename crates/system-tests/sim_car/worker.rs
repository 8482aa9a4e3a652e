//! Owns the simulated car as a worker of `p2p-inner`: requests and answers, a line of JSON each. See
//! "Workers" in docs/commands-and-workers.md.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::garage::Garage;
use crate::words;
use crate::world::Motion;

const SERVES: [&str; 7] = [
    "forward", "back", "left", "right", "stop", "status", "where",
];

#[derive(Deserialize)]
struct Request {
    id: u64,
    command: String,
    #[serde(default)]
    args: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Answer {
    id: u64,
    exit: i32,
    output: String,
    error: String,
}

/// Answers until its input ends.
///
/// # Errors
/// If the inner is gone.
pub(crate) fn talk(input: impl BufRead, mut output: impl Write, garage: &Garage) -> io::Result<()> {
    writeln!(output, "{}", serde_json::json!({ "serves": SERVES }))?;
    output.flush()?;
    for line in input.split(b'\n') {
        match serde_json::from_slice(&line?) {
            Ok(request) => {
                let mut answer = serde_json::to_vec(&answer(&request, garage))?;
                answer.push(b'\n');
                output.write_all(&answer)?;
                output.flush()?;
            }
            // Whose answer it would be is not known.
            Err(error) => eprintln!("what the inner sent is no request: {error}"),
        }
    }
    Ok(())
}

fn answer(request: &Request, garage: &Garage) -> Answer {
    let (exit, output, error) = match carry_out(request, garage) {
        Ok(output) => (0, output, String::new()),
        Err((exit, error)) => (exit, String::new(), error + "\n"),
    };
    Answer {
        id: request.id,
        exit,
        output,
        error,
    }
}

/// What it says, or with which exit code it fails and why.
fn carry_out(request: &Request, garage: &Garage) -> Result<String, (i32, String)> {
    let motion = match request.command.as_str() {
        "forward" => Motion::Forward,
        "back" => Motion::Back,
        "left" => Motion::Left,
        "right" => Motion::Right,
        // Whatever its arguments are: a stop always stops.
        "stop" => return Ok(words::tell(&garage.tell(Motion::Stop, 1.0))),
        "where" => return Ok(words::tell(&garage.pose())),
        "status" => {
            let pose = garage.pose();
            return Ok(words::map(&pose) + &words::tell(&pose));
        }
        _ => {
            let sentence = format!("this car has no such command; it has {}", SERVES.join(", "));
            return Err((127, sentence));
        }
    };
    let share = match request.args.as_slice() {
        [] => Some(1.0),
        [share] => share
            .parse()
            .ok()
            .filter(|share| (0.0..=1.0).contains(share)),
        _ => None,
    };
    let share = share.ok_or_else(|| {
        let sentence = "the speed is one number from 0 to 1, as in `forward 0.5`";
        (2, sentence.to_owned())
    })?;
    Ok(words::tell(&garage.tell(motion, share)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it says to these lines, after what it says first.
    fn said(lines: &[u8], garage: &Garage) -> Vec<serde_json::Value> {
        let mut output = Vec::new();
        talk(lines, &mut output, garage).unwrap();
        let text = String::from_utf8(output).unwrap();
        let mut lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let first: serde_json::Value = lines.next().unwrap();
        assert_eq!(first, serde_json::json!({ "serves": SERVES }));
        lines.collect()
    }

    #[test]
    fn it_moves_when_it_is_told_to_and_says_so() {
        let garage = Garage::new();
        for (command, motion) in [
            ("forward", Motion::Forward),
            ("back", Motion::Back),
            ("left", Motion::Left),
            ("right", Motion::Right),
            ("stop", Motion::Stop),
        ] {
            let line =
                format!(r#"{{"id":7,"command":"{command}","args":[],"run":"x","from":"y"}}"#);
            let said = said(line.as_bytes(), &garage);
            assert_eq!((&said[0]["id"], &said[0]["exit"]), (&7.into(), &0.into()));
            assert!(said[0]["output"].as_str().unwrap().starts_with("the car "));
            assert_eq!(garage.pose().motion, motion);
        }
    }

    #[test]
    fn where_and_status_say_where_it_is_and_move_nothing() {
        let garage = Garage::new();
        let said = said(
            b"{\"id\":1,\"command\":\"where\"}\n{\"id\":2,\"command\":\"status\",\"args\":[]}\n",
            &garage,
        );
        let sentence = "the car stands at -6.0,-8.0 and faces east\n";
        assert_eq!(said[0]["output"], sentence);
        let status = said[1]["output"].as_str().unwrap();
        assert!(status.starts_with("+--") && status.ends_with(sentence));
        assert_eq!(garage.pose().motion, Motion::Stop);
    }

    #[test]
    fn what_is_no_request_is_passed_over() {
        let noise = b"\nnoise\n{}\n\xff\xfe\n{\"id\":\"7\",\"command\":\"forward\"}\n[1]\n{\"id\":8,\"command\":\"where\"}";
        let garage = Garage::new();
        let said = said(noise, &garage);
        assert_eq!(said.len(), 1);
        assert_eq!(said[0]["id"], 8);
        assert_eq!(garage.pose().motion, Motion::Stop);
    }

    #[test]
    fn an_unknown_command_and_a_speed_that_is_none_fail_and_move_nothing() {
        let garage = Garage::new();
        for (command, args, exit) in [
            ("fly", r"[]", 127),
            ("", r"[]", 127),
            ("forward", r#"["fast"]"#, 2),
            ("forward", r#"["NaN"]"#, 2),
            ("forward", r#"["2"]"#, 2),
            ("left", r#"["1","1"]"#, 2),
        ] {
            let line = format!(r#"{{"id":1,"command":"{command}","args":{args}}}"#);
            let said = said(line.as_bytes(), &garage);
            assert_eq!(said[0]["exit"], exit, "{command} {args}");
            assert_ne!(said[0]["error"], "");
            assert_eq!(garage.pose().motion, Motion::Stop);
        }
        said(br#"{"id":1,"command":"forward","args":["0.5"]}"#, &garage);
        assert_eq!(garage.pose().motion, Motion::Forward);
        said(br#"{"id":1,"command":"stop","args":["whatever"]}"#, &garage);
        assert_eq!(garage.pose().motion, Motion::Stop);
    }
}
