//! Reasons why a link ends, and the last message to the inner.

use std::time::Duration;

use p2p_shared::bounded::Text;
use p2p_shared::protocol::{Rejection, RouterToInner};
use p2p_shared::timing;
use p2p_shared::websocket::WebSocketError;

/// The reason for which a link ended, as the log has it.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum LinkEnd {
    /// The inner closed the link, or is gone: no message reaches it.
    #[error("{0}")]
    Lost(String),
    /// The router closes the link.
    #[error("{1}")]
    Rejected(Rejection, String),
    /// The router goes down; the inner is to dial after this time: `elsewhere`, if it knows another
    /// router.
    #[error("the router is going down")]
    GoAway { after: Duration, elsewhere: bool },
}

impl LinkEnd {
    /// The last message to the inner, if one can reach it.
    pub(crate) fn last_words(&self) -> Option<RouterToInner> {
        match self {
            Self::Rejected(rejection, message) => Some(RouterToInner::Rejected {
                rejection: *rejection,
                message: Text::new(message.as_str()),
            }),
            Self::GoAway { after, elsewhere } => Some(RouterToInner::GoAway {
                reconnect_after_ms: timing::millis(*after),
                elsewhere: *elsewhere,
            }),
            Self::Lost(_) => None,
        }
    }

    /// Returns true if the port is given up with the link, and not kept for its owner.
    pub(crate) fn gives_up_port(&self) -> bool {
        matches!(
            self,
            Self::Rejected(Rejection::Denied, _) | Self::GoAway { .. }
        )
    }
}

/// The sentence for the log about a connection that the `peer` closed.
pub(crate) fn closed_by(peer: &str, reason: &str) -> String {
    match reason {
        "" => format!("the {peer} closed it"),
        reason => format!("the {peer} closed it: {reason}"),
    }
}

/// A message that the inner may not send, in words for the log and for its owner.
#[derive(Debug)]
pub(super) struct ProtocolViolation(pub &'static str);

impl From<ProtocolViolation> for LinkEnd {
    fn from(violation: ProtocolViolation) -> Self {
        Self::Rejected(Rejection::Protocol, violation.0.to_owned())
    }
}

impl From<WebSocketError> for LinkEnd {
    fn from(error: WebSocketError) -> Self {
        if error.is_violation() {
            Self::Rejected(Rejection::Protocol, error.to_string())
        } else {
            Self::Lost(error.to_string())
        }
    }
}
