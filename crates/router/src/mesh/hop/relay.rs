//! Joins the two ends of a WebSocket that is passed on. Neither end outlives the other by more than a moment,
//! and one that takes nothing for 2 s is given up, as everywhere. The holder pings the page through here.

use std::io;
use std::time::Duration;

use p2p_shared::net::transport::Transport;
use p2p_shared::timing;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use crate::net::write_timeout::WriteTimeout;

/// Time for the last words of one end after the other has ended.
const FAREWELL: Duration = Duration::from_secs(1);

/// An end, and what was read from it already.
pub(crate) type End = (Transport, Vec<u8>);

/// Passes bytes on in both directions until one end is gone.
pub(crate) async fn join(caller: End, holder: End) {
    let [(from_caller, to_caller), (from_holder, to_holder)] = [caller.0, holder.0].map(|stream| {
        stream.set_dead_after(timing::PACE_BUSY.dead);
        tokio::io::split(WriteTimeout::new(stream))
    });
    let up = copy(caller.1, from_caller, to_holder);
    let down = copy(holder.1, from_holder, to_caller);
    let (mut up, mut down) = (std::pin::pin!(up), std::pin::pin!(down));
    // How one end went is told to the other, by its end.
    let _ = tokio::select! {
        biased;
        _ = &mut up => tokio::time::timeout(FAREWELL, down).await,
        _ = &mut down => tokio::time::timeout(FAREWELL, up).await,
    };
}

async fn copy<S: AsyncRead + AsyncWrite + Unpin>(
    first: Vec<u8>,
    mut from: ReadHalf<S>,
    mut to: WriteHalf<S>,
) -> io::Result<()> {
    let copied = async {
        to.write_all(&first).await?;
        tokio::io::copy(&mut from, &mut to).await
    };
    let copied = copied.await;
    to.shutdown().await?;
    copied.map(|_| ())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair() -> (TcpStream, Transport) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap());
        let (near, far) = tokio::join!(near, listener.accept());
        (near.unwrap(), Transport::Plain(far.unwrap().0))
    }

    #[tokio::test]
    async fn what_was_read_comes_first_and_the_end_of_one_is_the_end_of_both() {
        let ((mut page, caller), (mut car, holder)) = (pair().await, pair().await);
        let joined = tokio::spawn(join((caller, b"fir".into()), (holder, b"ne".into())));
        page.write_all(b"st").await.unwrap();
        let mut said = [0; 5];
        car.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"first");
        car.write_all(b"xt").await.unwrap();
        let mut said = [0; 4];
        page.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"next");
        // The page says nothing more and reads on; the car has a last word, and never ends.
        page.shutdown().await.unwrap();
        assert_eq!(car.read(&mut [0; 1]).await.unwrap(), 0);
        car.write_all(b"bye").await.unwrap();
        let mut last = Vec::new();
        page.read_to_end(&mut last).await.unwrap();
        assert_eq!(last, b"bye");
        joined.await.unwrap();
    }
}
