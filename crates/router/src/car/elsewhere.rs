//! A service port of a car whose link another router has. Callers are answered here all the same: their
//! requests are passed on.

use std::sync::{Arc, OnceLock};

use p2p_shared::names::LinkName;
use tokio_util::sync::CancellationToken;

use crate::camera::Camera;
use crate::car::open_port::OpenPort;

/// A port that is open here for a car elsewhere.
#[derive(Debug)]
pub(crate) struct ElsewherePort {
    pub open: Arc<OpenPort>,
    /// The name by which callers ask for the car, in small letters, if they do: its router answers them only if the
    /// car is called so there.
    pub name: Option<LinkName>,
    /// Cancelled when the port is closed, or its car comes here, or is known to be called otherwise.
    pub closed: CancellationToken,
    /// The car's camera, once somebody has asked for it here.
    pub camera: OnceLock<Arc<Camera>>,
}

impl ElsewherePort {
    pub(super) fn new(open: Arc<OpenPort>, name: Option<LinkName>) -> Self {
        Self {
            open,
            name,
            closed: CancellationToken::new(),
            camera: OnceLock::new(),
        }
    }
}
