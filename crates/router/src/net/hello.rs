//! Waits for a peer's first message, its hello.

use p2p_shared::timing;
use p2p_shared::websocket::{MessageSocket, SocketEvent};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::net::unauthenticated::PendingConnection;

/// Returns the hello that `read` accepts; `None` if the peer goes away or has to go. The error says
/// why the first message is not a hello.
pub(crate) async fn wait<S, Out, In, Hello>(
    socket: &mut MessageSocket<S, Out, In>,
    pending: PendingConnection,
    read: impl FnOnce(In) -> Option<Hello>,
) -> Result<Option<Hello>, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
    Out: Serialize,
    In: DeserializeOwned,
{
    let event = tokio::time::timeout(timing::HELLO, socket.event());
    let Some(event) = pending.end.run_until_cancelled(event).await else {
        return Ok(None);
    };
    let none = || "the first message is not a hello".to_owned();
    match event {
        Ok(Ok(SocketEvent::Message(message))) => read(message).map(Some).ok_or_else(none),
        Ok(Ok(SocketEvent::Closed(_))) => Ok(None),
        Ok(Ok(_)) => Err(none()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!(
            "no hello came within {} s",
            timing::HELLO.as_secs()
        )),
    }
}
