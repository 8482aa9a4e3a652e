//! Reasons why a link ends, and the last message to the inner.

use std::time::Duration;

use p2p_shared::protocol::{Rejection, RouterToInner};
use p2p_shared::websocket::WebSocketError;

/// The reason for which a link ended, as the log has it.
#[derive(Debug, Clone)]
pub(crate) enum LinkEnd {
    Closed(String),
    /// The network broke it.
    Lost(String),
    Silent(Duration),
    /// The router closes it.
    Rejected(Rejection, String),
    /// The router goes down; the inner is to come back after this time.
    GoAway(Duration),
}

impl LinkEnd {
    /// The message that tells the inner, where it can still be told something.
    pub(crate) fn last_words(&self) -> Option<RouterToInner> {
        match self {
            Self::Rejected(rejection, message) => Some(RouterToInner::Rejected {
                rejection: *rejection,
                message: message.clone(),
            }),
            Self::GoAway(after) => Some(RouterToInner::GoAway {
                reconnect_after_ms: u64::try_from(after.as_millis()).unwrap_or_default(),
            }),
            Self::Closed(_) | Self::Lost(_) | Self::Silent(_) => None,
        }
    }

    /// Whether the port is given up with the link: nobody is to come back to it.
    pub(crate) fn gives_up_port(&self) -> bool {
        matches!(self, Self::Rejected(Rejection::Denied, _) | Self::GoAway(_))
    }
}

impl std::fmt::Display for LinkEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed(reason) if reason.is_empty() => f.write_str("the inner closed it"),
            Self::Closed(reason) => write!(f, "the inner closed it: {reason}"),
            Self::Lost(error) => f.write_str(error),
            Self::Silent(silence) => write!(f, "silent for {} s", silence.as_secs()),
            Self::Rejected(_, message) => f.write_str(message),
            Self::GoAway(_) => f.write_str("the router is going down"),
        }
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
