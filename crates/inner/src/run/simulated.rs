//! Owns a run whose process is simulated: what `run` does with a real one, in the same order.

use std::path::PathBuf;

use p2p_shared::protocol::{End, InnerToRouter, Refusal, cost};
use p2p_shared::timing;
use p2p_shared::timing::KILL_GRACE;

use super::{Failure, MotionRole, ProcessEvent, Run, RunEnd, Tail, output_reporter::START_WAITS};
use crate::simulation::World;

impl Run {
    pub(crate) async fn simulated(self, found: Result<PathBuf, Failure>, world: &dyn World) {
        if let Err((refusal, message)) = self.may_begin().and_then(|()| found.map(drop)) {
            return self.give_up(refusal, message);
        }
        let Some(mut process) = world.start(self.id(), &self.request.command) else {
            let message = "no more processes".to_owned();
            return self.give_up(Refusal::NotExecutable, message);
        };
        let began = timing::now();
        let output = self.output();
        self.reporter
            .remember(&InnerToRouter::Started { run: self.id() });
        if let Some(role) = &self.role {
            role.events.send(ProcessEvent::Started {
                token: role.token,
                group: process.group,
                is_workers: false,
            });
            output.started();
        }
        let role = self.role.as_ref();
        let mut is_abandoned = false;
        let mut limit = std::pin::pin!(tokio::time::sleep(self.limit.unwrap_or_default()));
        let mut start_waits = std::pin::pin!(tokio::time::sleep(START_WAITS));
        let end = loop {
            tokio::select! {
                biased;
                end = process.ended() => break end,
                () = &mut start_waits, if !output.has_started() => output.started(),
                () = &mut limit, if self.limit.is_some() => break End::TimedOut,
                () = self.cancel().cancelled() => {
                    break role.map_or(End::Cancelled, MotionRole::end_if_cancelled);
                }
                () = self.caller.cancelled(), if role.is_some() && !is_abandoned => {
                    is_abandoned = true;
                    self.abandon();
                }
            }
        };
        if matches!(end, End::TimedOut | End::Cancelled | End::Ended) {
            self.window.close();
            process.terminate(role.map_or(KILL_GRACE, MotionRole::grace));
            process.ended().await;
        }
        if let Some(role) = role {
            let exec = timing::now() - began;
            let token = role.token;
            role.events.send(ProcessEvent::Ended { token, end, exec });
            role.events.send(ProcessEvent::Reaped { token });
        }
        let bytes = process.said();
        let end = RunEnd {
            end,
            bytes: bytes.len() as u64,
            stderr: Tail::default(),
        };
        if !bytes.is_empty() && self.window.take(cost(&bytes)).await {
            output.started();
            let run = self.id();
            self.reporter
                .output([InnerToRouter::Output { run, bytes }])
                .await;
        }
        self.finish(began, end, &output, None).await;
    }
}
