//! Messages between an inner and a worker: one line of JSON each, over the worker's standard input
//! and output.
//!
//! ```text
//! worker → inner   {"serves":["forward","stop"]}                                    once, first
//! inner  → worker  {"id":7,"command":"forward","args":["0.5"],"run":"…","from":"…"} a request
//! worker → inner   {"id":7,"exit":0,"output":"…","error":"…"}                       its answer
//! ```
//!
//! Answers come in any order. Where `exit` is left out it is 0, and missing texts are empty. A
//! request has `"input":"…"` if its caller sent some. Unknown fields are ignored, so that both
//! sides can be extended.

use bytes::{BufMut, BytesMut};
use p2p_shared::names::RunId;
use p2p_shared::protocol::{Refusal, RunRequest};
use serde::{Deserialize, Serialize};

/// Most bytes of a line that a worker may write: its output may be as large as an input (1 MiB), or
/// less if there is much to escape.
pub(super) const MAX_LINE: usize = 1024 * 1024 + 4096;

/// First line of a worker.
#[derive(Debug, Deserialize)]
pub(super) struct Announcement {
    /// Commands that the worker serves.
    pub serves: Vec<String>,
}

/// Answer to a request.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct WorkerAnswer {
    /// Number of the request.
    pub id: u64,
    /// Exit code: 0 is success.
    #[serde(default)]
    pub exit: i32,
    /// Standard output.
    #[serde(default)]
    pub output: String,
    /// Standard error.
    #[serde(default)]
    pub error: String,
}

/// Number of the request of an answer that can't be parsed.
pub(super) fn id_of(line: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Numbered {
        id: u64,
    }
    let numbered: Numbered = serde_json::from_slice(line).ok()?;
    Some(numbered.id)
}

#[derive(Serialize)]
struct Request<'a> {
    id: u64,
    command: &'a str,
    args: Vec<&'a str>,
    run: RunId,
    from: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    input: &'a str,
}

/// Appends a request's line.
pub(super) fn write_request(
    to: &mut BytesMut,
    id: u64,
    request: &RunRequest,
    input: &[u8],
) -> Result<(), (Refusal, String)> {
    let text = |bytes| {
        std::str::from_utf8(bytes).map_err(|_| {
            let sentence =
                "a worker serves this command, and takes arguments and input as UTF-8 text only";
            (Refusal::NotExecutable, sentence.to_owned())
        })
    };
    let arguments = request.arguments.iter();
    let request = Request {
        id,
        command: request.command.as_str(),
        args: arguments
            .map(|argument| text(argument.as_bytes()))
            .collect::<Result<_, _>>()?,
        run: request.run,
        from: request.remote_addr.raw(),
        input: text(input)?,
    };
    serde_json::to_writer(to.writer(), &request)
        .map_err(|error| (Refusal::NotExecutable, error.to_string()))?;
    to.put_u8(b'\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use p2p_shared::names::{Argument, RunId};
    use proptest::prelude::*;

    use super::*;

    fn request(argument: &'static [u8]) -> RunRequest {
        RunRequest {
            run: RunId::from_number(7),
            command: "lights/on".parse().unwrap(),
            arguments: vec![Argument::try_from(Bytes::from_static(argument)).unwrap()]
                .try_into()
                .unwrap(),
            deadline_ms: u64::MAX,
            remote_addr: "192.0.2.1".into(),
            by: None,
            stdin_bytes: 0,
            for_ms: None,
        }
    }

    #[test]
    fn a_request_is_one_line_whatever_is_in_it() {
        let mut lines = BytesMut::new();
        write_request(&mut lines, 1, &request(b"a\n\"b"), b"").unwrap();
        write_request(&mut lines, 2, &request(b""), b"x\ny").unwrap();
        let text = String::from_utf8(lines.to_vec()).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let first = serde_json::json!({
            "id": 1, "command": "lights/on", "args": ["a\n\"b"],
            "run": RunId::from_number(7).to_string(), "from": "192.0.2.1",
        });
        assert_eq!(lines[0], first);
        assert_eq!(lines[1]["input"], "x\ny");
    }

    #[test]
    fn a_request_begins_with_its_id_and_command_for_those_who_read_it_without_json() {
        let mut line = BytesMut::new();
        write_request(
            &mut line,
            12,
            &request(br#"","command":"lights/off","#),
            b"",
        )
        .unwrap();
        let text = String::from_utf8(line.to_vec()).unwrap();
        assert!(
            text.starts_with(r#"{"id":12,"command":"lights/on","#),
            "{text}"
        );
        // An argument can't imitate the command's field.
        assert_eq!(text.matches(r#""command":""#).count(), 1, "{text}");
    }

    proptest! {
        #[test]
        fn any_text_comes_whole_and_in_one_line(argument in "\\PC*[\\n\\t\u{2028}]?", input in any::<String>()) {
            let mut request = request(b"");
            let bytes = Bytes::from(argument.clone());
            // The router refuses text that can't be an argument.
            prop_assume!(Argument::try_from(bytes.clone()).is_ok());
            request.arguments = vec![Argument::try_from(bytes).unwrap()].try_into().unwrap();
            let mut line = BytesMut::new();
            write_request(&mut line, u64::MAX, &request, input.as_bytes()).unwrap();
            prop_assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
            let read: serde_json::Value = serde_json::from_slice(&line).unwrap();
            prop_assert_eq!(&read["args"][0], &argument);
            prop_assert_eq!(read["input"].as_str().unwrap_or_default(), input);
            prop_assert_eq!(read["id"].as_u64(), Some(u64::MAX));
        }

        #[test]
        fn any_answer_is_read_and_any_bytes_are_none_or_one(id in any::<u64>(), exit in any::<i32>(), output in any::<String>(), bytes in any::<Vec<u8>>()) {
            let line = serde_json::json!({ "output": output, "exit": exit, "id": id }).to_string();
            let answer: WorkerAnswer = serde_json::from_str(&line).unwrap();
            prop_assert_eq!((answer.id, answer.exit, answer.output), (id, exit, output));
            prop_assert_eq!(id_of(line.as_bytes()), Some(id));
            if serde_json::from_slice::<WorkerAnswer>(&bytes).is_ok() {
                prop_assert!(id_of(&bytes).is_some());
            }
        }
    }

    #[test]
    fn an_answer_that_cannot_be_read_may_say_whose_it_is() {
        assert_eq!(id_of(br#"{"id":7,"output":42}"#), Some(7));
        for none in [&br#"{"output":""}"#[..], b"", b"\xff", br#"{"id":-1}"#] {
            assert_eq!(id_of(none), None);
        }
    }

    #[test]
    fn what_is_no_text_is_refused_and_writes_nothing() {
        let mut lines = BytesMut::new();
        assert!(write_request(&mut lines, 1, &request(b"\xff"), b"").is_err());
        assert!(write_request(&mut lines, 1, &request(b""), b"\xff").is_err());
        assert!(lines.is_empty());
    }

    #[test]
    fn an_answer_needs_its_id_and_no_more() {
        let answer: WorkerAnswer = serde_json::from_str(r#"{"id":7,"later":[1]}"#).unwrap();
        assert_eq!((answer.id, answer.exit, &*answer.output), (7, 0, ""));
        for none in ["{}", "7", "", r#"{"id":"7"}"#, r#"{"id":7,"exit":"x"}"#] {
            assert!(
                serde_json::from_str::<WorkerAnswer>(none).is_err(),
                "{none}"
            );
        }
    }
}
