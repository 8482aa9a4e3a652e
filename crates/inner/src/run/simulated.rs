//! Owns a run whose process is simulated: what `runner` does with a real one, in the same order.

use p2p_shared::protocol::{End, InnerToRouter, Refusal, cost};
use p2p_shared::timing;
use p2p_shared::timing::KILL_GRACE;

use super::{MotionRole, Run, RunEnd, Tail, output_reporter::START_WAITS};
use crate::commands::Commands;
use crate::drive::ProcessEvent;
use crate::simulation::World;

impl Run {
    pub(super) async fn simulated(self, commands: &Commands, world: &dyn World) {
        if let Err((refusal, message)) = self.may_begin() {
            return self.give_up(refusal, message);
        }
        if let Err((refusal, message)) = commands.file(&self.request.command) {
            return self.give_up(refusal, message);
        }
        let Some(mut process) = world.start(self.run_id(), &self.request.command) else {
            let message = "no more processes".to_owned();
            return self.give_up(Refusal::NotExecutable, message);
        };
        let begun = timing::now();
        let telling = self.telling();
        self.reports
            .remember(&InnerToRouter::Started { run: self.run_id() });
        if let Some(role) = &self.role {
            role.send(ProcessEvent::Started {
                token: role.token,
                group: process.group,
                is_workers: false,
            });
            telling.started();
        }
        let (caller, mut is_abandoned) = self
            .role
            .as_ref()
            .map(|role| (role.caller.clone(), false))
            .unwrap_or_default();
        let mut limit = std::pin::pin!(tokio::time::sleep(self.limit.unwrap_or_default()));
        let mut start_waits = std::pin::pin!(tokio::time::sleep(START_WAITS));
        let end = loop {
            tokio::select! {
                biased;
                end = process.ended() => break end,
                () = &mut start_waits, if !telling.has_started() => telling.started(),
                () = &mut limit, if self.limit.is_some() => break End::TimedOut,
                () = self.cancel.cancelled() => {
                    break self.role.as_ref().map_or(End::Cancelled, MotionRole::cut_off);
                }
                () = caller.cancelled(), if !is_abandoned => {
                    is_abandoned = true;
                    self.abandon();
                }
            }
        };
        if matches!(end, End::TimedOut | End::Cancelled | End::Ended) {
            self.window.close();
            process.terminate(self.role.as_ref().map_or(KILL_GRACE, MotionRole::grace));
            process.ended().await;
        }
        if let Some(role) = &self.role {
            let exec = timing::now() - begun;
            let token = role.token;
            role.send(ProcessEvent::Ended { token, end, exec });
            role.send(ProcessEvent::Reaped { token });
        }
        let bytes = process.said();
        let story = RunEnd {
            end,
            bytes: bytes.len() as u64,
            stderr: Tail::default(),
        };
        if !bytes.is_empty() && self.window.take(cost(&bytes)).await {
            telling.started();
            let run = self.run_id();
            self.reports
                .output([InnerToRouter::Output { run, bytes }])
                .await;
        }
        self.finish(begun, story, &telling, None).await;
    }
}
