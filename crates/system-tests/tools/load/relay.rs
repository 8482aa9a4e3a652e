//! Owns the floor of a tunnel: bytes passed on as they are, to a process that answers at once. It
//! knows nothing of HTTP but where a request ends.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n";
const END: &[u8] = b"\r\n\r\n";

/// Answers each request, until it is killed.
pub(crate) fn answer(listen: SocketAddr) -> anyhow::Result<()> {
    each_connection(listen, async |mut stream| {
        let mut request = Vec::with_capacity(4096);
        while stream.read_buf(&mut request).await? > 0 {
            let ended = request.windows(END.len()).filter(|four| *four == END);
            let answers = ANSWER.repeat(ended.count());
            if !answers.is_empty() {
                stream.write_all(&answers).await?;
                // Its callers send one request after another, so nothing of a next one is in it.
                request.clear();
            }
        }
        Ok(())
    })
}

/// Passes on each connection, until it is killed.
pub(crate) fn relay(listen: SocketAddr, to: SocketAddr) -> anyhow::Result<()> {
    each_connection(listen, async move |mut stream| {
        let mut other = TcpStream::connect(to).await?;
        other.set_nodelay(true)?;
        copy_bidirectional(&mut stream, &mut other).await.map(drop)
    })
}

/// All on one thread: on a small machine each of them is faster so.
fn each_connection<F>(listen: SocketAddr, serve: F) -> anyhow::Result<()>
where
    F: AsyncFn(TcpStream) -> std::io::Result<()> + Clone + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("can't listen on {listen}"))?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let serve = serve.clone();
            // A caller that goes away is nothing to speak of.
            tokio::task::spawn_local(async move { serve(stream).await.ok() });
        }
    })
}
