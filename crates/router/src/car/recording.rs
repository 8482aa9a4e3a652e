//! Owns what people see of a car's recording and what they ask for. The recorder (`crate::record`) does it.

use std::path::Path;
use std::time::{Duration, Instant};

use p2p_shared::bounded::Text;
use p2p_shared::protocol::{ControlInfo, FeedEvent, RecordingInfo, RefusedReason};
use p2p_shared::timing;

use super::{Car, DriverSession, Refused, State};

/// Longest recording that somebody asks for: who forgets it fills no disk with a car that stands.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// A car's recording.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Recording {
    file: Option<Text>,
    /// Who has asked for it, and until when.
    asked: Option<(Text, Instant)>,
    failure: Option<Text>,
}

impl Recording {
    /// Returns true while the car is recorded, or is to be.
    pub(super) fn is_on(&self) -> bool {
        self.file.is_some() || self.asked.is_some()
    }

    fn info(&self, now: Instant) -> RecordingInfo {
        let asked = self.asked.as_ref().filter(|(_, until)| *until > now);
        let left = |until: &Instant| timing::millis(until.saturating_duration_since(now));
        RecordingInfo {
            file: self.file.clone(),
            asked: asked.map(|(by, until)| (by.clone(), left(until))),
            failure: self.failure.clone(),
        }
    }
}

impl Car {
    /// Has the car recorded from now on for [`LONGEST`], or no longer. A drive is recorded anyway.
    pub(crate) fn ask_to_record(&self, who: &DriverSession, on: bool) -> Result<(), Refused> {
        let mut state = self.state.lock();
        if on && state.link.is_none() {
            return Err(Refused::offline(&state.name));
        }
        let Some(recording) = &mut state.recording else {
            let message = "this router records nothing: start it with --record DIR".to_owned();
            return Err(Refused::new(RefusedReason::Denied, message));
        };
        let by = &who.driver.name;
        recording.failure = None;
        recording.asked = on.then(|| (by.clone(), timing::now() + LONGEST));
        tracing::info!(link = %state.name, %by, from = %who.from, on, "recording asked for");
        self.tell_recording(&state);
        Ok(())
    }

    /// Notes that the time of a recording is over that somebody has asked for.
    pub(crate) fn end_asked_recording(&self) {
        let now = timing::now();
        self.on_recording(|recording| {
            // Somebody may have asked anew.
            recording.asked.take_if(|(_, until)| *until <= now);
        });
    }

    /// Notes that this file is being written, or none any more, perhaps because of a failure.
    pub(crate) fn recorded(&self, file: Option<&Path>, failure: Option<&str>) {
        self.on_recording(|recording| {
            recording.file = file.map(|file| Text::new(file.display().to_string()));
            recording.failure = failure.map(Text::new);
        });
    }

    /// Notes that this file has ended, perhaps because of a failure. Another may be written by now.
    pub(crate) fn recording_ended(&self, file: &Path, failure: Option<&str>) {
        let file = Text::new(file.display().to_string());
        self.on_recording(|recording| {
            recording.file.take_if(|written| *written == file);
            recording.failure = failure.map(Text::new).or(recording.failure.take());
        });
    }

    fn on_recording(&self, change: impl FnOnce(&mut Recording)) {
        let mut state = self.state.lock();
        if let Some(recording) = &mut state.recording {
            let was = recording.clone();
            change(recording);
            if *recording != was {
                self.tell_recording(&state);
            }
        }
    }

    fn tell_recording(&self, state: &State) {
        // Another car may have the port of one that is gone.
        if self.closed.is_cancelled() {
            return;
        }
        state.send_interest();
        self.publish(state, || FeedEvent::Control {
            service_port: self.port,
            control: state.control_info(timing::now()),
        });
    }
}

impl State {
    /// The control and the recording as people see them now.
    pub(super) fn control_info(&self, now: Instant) -> ControlInfo {
        ControlInfo {
            recording: self.recording.as_ref().map(|it| it.info(now)),
            ..self.control.info(now)
        }
    }
}
