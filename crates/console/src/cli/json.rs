//! The JSON for scripts: one value a line, with stable names.

use std::time::Duration;

use p2p_shared::protocol::{ControlInfo, FeedEvent, LinkInfo, MotionEvent, RecordingInfo};
use p2p_shared::timing::millis_f64;
use serde_json::{Value, json};

use crate::app::round_trips::RoundTrips;
use crate::app::saved_log;

pub(super) fn link(info: &LinkInfo) -> Value {
    let rtts = RoundTrips::of(&info.rtts_us);
    let quantile = |share| rtts.quantile(share).map(millis_f64);
    let mut link = json!({
        "name": info.name,
        "key": info.key,
        "service_port": info.service_port,
        "up": info.is_up,
        "silent_ms": info.silent_ms,
        "since_s": info.since_ms / 1000,
        "driver": info.control.driver.as_ref().map(|driver| &driver.name),
        "recording": recording(&info.control),
        "moving": info.moving.as_ref().map(|moving| &moving.command),
        "stop_failed": info.stop_failed,
        "rtt_p50_ms": quantile(0.5),
        "rtt_p95_ms": quantile(0.95),
        "runs": info.runs,
        "failures": info.failures,
        "motion": info.motion,
        "stop": info.stop,
        "lease_ms": info.lease_ms,
        "motion_limit_ms": info.motion_limit_ms,
    });
    if let Some(router) = &info.router {
        link["router"] = json!(router);
    }
    link
}

/// What is being recorded, or why it can't be; null: nothing is.
pub(super) fn recording(control: &ControlInfo) -> Value {
    let tells = |it: &&RecordingInfo| it.file.is_some() || it.failure.is_some();
    let Some(recording) = control.recording.as_ref().filter(tells) else {
        return Value::Null;
    };
    let asked = recording.asked.as_ref();
    json!({
        "file": recording.file,
        "failure": recording.failure,
        "by": asked.map(|(by, _)| by),
        "left_s": asked.map(|(_, left_ms)| left_ms / 1000),
    })
}

pub(super) fn event(event: &FeedEvent) -> Value {
    match event {
        FeedEvent::Link(info) => json!({ "event": "link", "link": link(info) }),
        FeedEvent::LinkDown { service_port, why } => {
            json!({ "event": "link_down", "service_port": service_port, "why": why })
        }
        FeedEvent::LinkGone { service_port } => {
            json!({ "event": "link_gone", "service_port": service_port })
        }
        FeedEvent::Rtt {
            service_port,
            rtt_us,
            hop_us,
            ..
        } => {
            let rtt_ms = f64::from(*rtt_us) / 1e3;
            let mut rtt = json!({ "event": "rtt", "service_port": service_port, "rtt_ms": rtt_ms });
            if let Some(hop_us) = hop_us {
                rtt["hop_ms"] = json!(f64::from(*hop_us) / 1e3);
            }
            rtt
        }
        FeedEvent::Run(run) => {
            let name = if run.result.is_some() {
                "run_over"
            } else {
                "run"
            };
            json!({ "event": name, "run": saved_log::line(run) })
        }
        FeedEvent::Control {
            service_port,
            control,
        } => json!({
            "event": "control",
            "service_port": service_port,
            "driver": control.driver.as_ref().map(|driver| &driver.name),
            "recording": recording(control),
            "asked_by": control.request.as_ref().map(|(driver, _)| &driver.name),
        }),
        FeedEvent::Motion {
            service_port,
            event,
            ..
        } => json!({
            "event": "motion",
            "service_port": service_port,
            "motion": motion(event),
        }),
    }
}

fn motion(event: &MotionEvent) -> Value {
    let ms = |us: &u64| millis_f64(Duration::from_micros(*us));
    match event {
        MotionEvent::Started(moving) => json!({
            "what": "started", "run": moving.run.to_string(),
            "command": moving.command, "press": moving.press.map(|press| press.number),
        }),
        MotionEvent::Refused { press, why } => {
            json!({ "what": "refused", "press": press.number, "why": why })
        }
        MotionEvent::Over {
            press, cause, by, ..
        } => json!({
            "what": "over", "press": press.map(|press| press.number), "cause": cause, "by": by,
        }),
        MotionEvent::Ended { run, end, exec_us } => json!({
            "what": "ended", "run": run.to_string(), "exit": end.to_string(), "exec_ms": ms(exec_us),
        }),
        MotionEvent::Stopped {
            cause,
            end,
            exec_us,
            failure,
        } => json!({
            "what": "stopped", "cause": cause, "exit": end.to_string(), "exec_ms": ms(exec_us),
            "failure": failure,
        }),
        MotionEvent::Stands => json!({ "what": "stands" }),
        MotionEvent::StopFailed => json!({ "what": "stop_failed" }),
    }
}
