//! Answers `GET /run/ID` with the result of a run, as its car remembers it.

use hyper::{Response, StatusCode};
use p2p_shared::names::RunId;
use p2p_shared::protocol::{Outcome, RunReport};
use p2p_shared::timing::millis_f64;
use serde_json::{Value, json};
use std::time::Duration;

use crate::http::response::{AnswerBody, Problem, whole};
use crate::link::work::NoAnswer;
use crate::routes::request::RequestContext;

/// Path before the id.
pub(crate) const PATH: &str = "/run/";

impl RequestContext<'_> {
    /// Answers `GET /run/ID`.
    pub(crate) async fn run_result(&self, id: &str) -> Result<Response<AnswerBody>, Problem> {
        let run: RunId = id.parse().map_err(|_| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "this is no run id: it is what the header P2P-Run of an answer says, 16 hexadecimal digits",
            )
        })?;
        let answer = match self.car.link() {
            Some(link) => link.ask_run(run).await,
            None => Err(NoAnswer::Away),
        };
        let Some(report) = answer.map_err(|why| self.no_answer(why))? else {
            return Err(Problem::new(
                StatusCode::NOT_FOUND,
                format!(
                    "{} doesn't know run {run}: it did not begin, or p2p-inner was started again since, or a thousand runs have begun after it",
                    self.car.name()
                ),
            ));
        };
        let body = whole(as_json(run, &report).to_string().into());
        Ok(self.ok("application/json", body))
    }
}

/// Returns the report as JSON, in the words of `P2P-Executed` and `P2P-Exit`.
fn as_json(run: RunId, report: &RunReport) -> Value {
    let (state, executed) = match &report.outcome {
        Outcome::Waiting => ("waiting", "unknown"),
        Outcome::Running => ("running", "yes"),
        Outcome::Ended { .. } => ("ended", "yes"),
        Outcome::Refused(_) => ("refused", "no"),
        Outcome::Unknown(_) => ("unknown", "unknown"),
    };
    let mut told = json!({
        "run": run.to_string(),
        "command": report.command,
        "state": state,
        "executed": executed,
        "age_ms": report.age_ms,
    });
    let mut more = |name: &str, value: Value| told[name] = value;
    match &report.outcome {
        Outcome::Refused(why) | Outcome::Unknown(why) => more("why", json!(why)),
        Outcome::Ended { end, exec_us } => {
            more("exit", json!(end.to_string()));
            more(
                "exec_ms",
                json!(millis_f64(Duration::from_micros(*exec_us))),
            );
            more("stderr", json!(String::from_utf8_lossy(&report.stderr)));
        }
        Outcome::Waiting | Outcome::Running => {}
    }
    if matches!(told["executed"].as_str(), Some("yes")) {
        told["bytes"] = json!(report.bytes);
        told["output"] = json!(String::from_utf8_lossy(&report.output));
    }
    told
}

#[cfg(test)]
mod tests {
    use p2p_shared::protocol::End;

    use super::*;

    #[test]
    fn a_story_is_told_in_the_words_of_the_headers() {
        let report = |outcome| RunReport {
            command: "hello".parse().unwrap(),
            age_ms: 1500,
            outcome,
            bytes: 6,
            output: p2p_shared::bounded::Piece::first_of(b"hell\xff"),
            stderr: p2p_shared::bounded::Piece::first_of(b"no"),
        };
        let run = RunId::from_number(7);
        let (end, exec_us) = (End::TimedOut, 2500);
        let ended = as_json(run, &report(Outcome::Ended { end, exec_us }));
        assert_eq!(
            ended,
            json!({
                "run": "0000000000000007", "command": "hello", "state": "ended", "executed": "yes",
                "age_ms": 1500, "exit": "timeout", "exec_ms": 2.5, "stderr": "no", "bytes": 6,
                "output": "hell\u{fffd}",
            })
        );
        let refused = as_json(run, &report(Outcome::Refused("why".into())));
        assert_eq!(
            (&refused["executed"], &refused["why"]),
            (&json!("no"), &json!("why"))
        );
        assert_eq!(refused.get("output"), None);
        let unknown = as_json(run, &report(Outcome::Unknown("why".into())));
        assert_eq!(unknown["executed"], "unknown");
        assert_eq!(
            as_json(run, &report(Outcome::Waiting))["executed"],
            "unknown"
        );
        assert_eq!(as_json(run, &report(Outcome::Running))["state"], "running");
    }
}
