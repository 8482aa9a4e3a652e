//! Defines what the guardian knows of the car, and the lines in which the inner tells it.

use std::sync::Arc;

use p2p_shared::names::RunId;
use p2p_shared::protocol::PressId;
use p2p_shared::text::Escaped;

/// Most characters of the driver's name in a line.
const MAX_WHO: usize = 200;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum GuardState {
    /// The car stands.
    #[default]
    Stand,
    /// The car moves, or may move.
    Until {
        /// When the car must have been stopped, in ms of the car's clock; 0: at no time.
        deadline_ms: u64,
        /// Process group of the motion; 0: none.
        group: i32,
        owner: MotionOwner,
    },
}

/// Run and driver that move the car, or moved it last: for the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MotionOwner {
    /// The motion's run; `None`: unknown.
    pub run: Option<RunId>,
    pub press: Option<PressId>,
    /// The driver, or the address that asked for the motion.
    pub who: Arc<str>,
}

impl GuardState {
    /// The line for the guardian, with its newline.
    pub(crate) fn line(&self) -> String {
        let Self::Until {
            deadline_ms,
            group,
            owner,
        } = self
        else {
            return "stand\n".to_owned();
        };
        let none = || "-".to_owned();
        let run = owner.run.map_or_else(none, |run| run.to_string());
        let press = |press: PressId| format!("{}.{}", press.epoch, press.number);
        let press = owner.press.map_or_else(none, press);
        let who = Escaped(&owner.who).cut(MAX_WHO);
        format!("guard {deadline_ms} {group} {run} {press} {who}\n")
    }

    /// Reads a line without its newline.
    pub(crate) fn read(line: &str) -> Option<Self> {
        if line == "stand" {
            return Some(Self::Stand);
        }
        let mut words = line.strip_prefix("guard ")?.splitn(5, ' ');
        Some(Self::Until {
            deadline_ms: words.next()?.parse().ok()?,
            group: words.next()?.parse().ok()?,
            // Only the log needs these: the car is guarded whatever they are.
            owner: MotionOwner {
                run: words.next()?.parse().ok(),
                press: read_press(words.next()?),
                who: words.next()?.into(),
            },
        })
    }
}

fn read_press(text: &str) -> Option<PressId> {
    let (epoch, number) = text.split_once('.')?;
    Some(PressId {
        epoch: epoch.parse().ok()?,
        number: number.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read() {
        for guard in [
            GuardState::Stand,
            GuardState::Until {
                deadline_ms: 12_345,
                group: 678,
                owner: MotionOwner {
                    run: Some(RunId::from_number(9)),
                    press: Some(PressId {
                        epoch: 5,
                        number: 6,
                    }),
                    who: "the desk, 10.0.0.1".into(),
                },
            },
            GuardState::Until {
                deadline_ms: 0,
                group: 0,
                owner: MotionOwner::default(),
            },
        ] {
            assert_eq!(
                GuardState::read(guard.line().trim_end_matches('\n')),
                Some(guard)
            );
        }
        for strange in [
            "",
            "guard",
            "guard x 1 - - x",
            "guard 1",
            "guard 1 2",
            "run",
        ] {
            assert_eq!(GuardState::read(strange), None);
        }
    }
}
