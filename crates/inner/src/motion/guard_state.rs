//! Defines what the guardian knows of the car. The inner sends it as lines of JSON.

use p2p_shared::names::RunId;
use p2p_shared::protocol::PressId;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GuardState {
    /// The car stands.
    #[default]
    Stand,
    /// The car moves, or may move.
    Until {
        /// Time by which the car must have been stopped, in ms of the car's clock; 0: none.
        deadline_ms: u64,
        /// Process group of the motion; 0: none.
        group: i32,
        owner: MotionOwner,
    },
}

/// Run and driver that move the car, or moved it last: for the guardian's log, since the inner's own
/// lines about it may die with the inner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MotionOwner {
    /// The motion's run; `None`: unknown.
    pub run: Option<RunId>,
    pub press: Option<PressId>,
    /// The driver, or the address that asked for the motion.
    pub who: String,
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
                    who: "the desk,\n10.0.0.1".to_owned(),
                },
            },
            GuardState::Until {
                deadline_ms: 0,
                group: 0,
                owner: MotionOwner::default(),
            },
        ] {
            let line = serde_json::to_string(&guard).unwrap();
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(serde_json::from_str::<GuardState>(&line).unwrap(), guard);
        }
        for strange in [
            "",
            "guard",
            "stand",
            r#"{"until":{"deadline_ms":1}}"#,
            r#"{"until":{"deadline_ms":"x","group":1}}"#,
            r#""run""#,
        ] {
            assert!(serde_json::from_str::<GuardState>(strange).is_err());
        }
    }
}
