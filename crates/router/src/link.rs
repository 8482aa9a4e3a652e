//! Link of an inner: the task that owns its socket, the handle that others use, and the queues
//! between the two.

use std::time::Duration;

use p2p_shared::protocol::{CameraState, MotionEvent, PressId};

pub(crate) mod command_lists;
pub(crate) mod end;
pub(crate) mod handle;
mod inner_clock;
mod past_queries;
pub(crate) mod priority_queue;
mod run_queries;
mod runs;
mod silence;
pub(crate) mod task;
pub(crate) mod work;

use handle::LinkId;

use crate::run::RunKind;

/// Receiver of an inner's reports, for its car.
pub(crate) trait LinkObserver {
    fn on_tick(&self, clock_ms: u64);
    fn on_round_trip(&self, rtt: Duration);
    /// Reports that the inner has not answered for this time. The next round trip ends that.
    fn on_silence(&self, link: LinkId, silence: Duration);
    /// Reports that an inner is heard again whose silence was reported.
    fn on_answer(&self, link: LinkId);
    /// Takes a report about motion, with its time on the car's clock, if that is known.
    fn on_motion(&self, link: LinkId, event: MotionEvent, clock_ms: Option<u64>, is_shown: bool);
    fn on_camera(&self, link: LinkId, state: CameraState);

    /// Reports that a press is too old to be sent: old motion is dropped.
    fn on_late_press(&self, press: PressId);

    /// Returns true if a stop came after this run was asked for, so that the run may not begin.
    fn is_overtaken(&self, kind: RunKind) -> bool;
}
