//! Owns our end of a pipe in which a process's output comes. It is read directly while something waits
//! in it. The runtime watches it only from the first time that nothing does: the output of a command
//! that ended before it was read costs neither registration nor wakes.

use std::io::{self, PipeReader, PipeWriter};
use std::pin::Pin;
use std::process;
use std::task::{Context, Poll, ready};

use rustix::io::{Errno, ioctl_fionbio, ioctl_fionread, read};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::process::ChildStdout;
use tokio::task::coop::poll_proceed;

use super::Output;

/// Most bytes of a direct read: commands that end at once say little.
const DIRECT: usize = 4096;

/// Our end of an output's pipe.
pub(super) enum OutputPipe {
    /// `None` only while it becomes watched.
    Unwatched(Option<PipeReader>),
    Watched(ChildStdout),
}

impl OutputPipe {
    /// Makes a pipe: our end, and that of the process.
    pub(super) fn new() -> io::Result<(Self, PipeWriter)> {
        let (ours, theirs) = io::pipe()?;
        ioctl_fionbio(&ours, true)?;
        Ok((Self::Unwatched(Some(ours)), theirs))
    }
}

impl AsyncRead for OutputPipe {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Self::Unwatched(pipe) = this
            && let Some(ours) = pipe
        {
            // A process that writes without end must not keep all others waiting.
            let turn = ready!(poll_proceed(cx));
            let most = buffer.remaining().min(DIRECT);
            match read(ours, buffer.initialize_unfilled_to(most)) {
                Err(Errno::AGAIN) => {}
                length => {
                    turn.made_progress();
                    buffer.advance(length?);
                    return Poll::Ready(Ok(()));
                }
            }
            if let Some(ours) = pipe.take() {
                let ours = process::ChildStdout::from(std::os::fd::OwnedFd::from(ours));
                *this = Self::Watched(ChildStdout::from_std(ours)?);
            }
        }
        match this {
            Self::Watched(pipe) => Pin::new(pipe).poll_read(cx, buffer),
            // It could not be watched, which was told as an error.
            Self::Unwatched(_) => Poll::Ready(Ok(())),
        }
    }
}

impl Output for OutputPipe {
    fn unread(&self) -> usize {
        let unread = match self {
            Self::Unwatched(pipe) => pipe.as_ref().map_or(Ok(0), ioctl_fionread),
            Self::Watched(pipe) => ioctl_fionread(pipe),
        };
        usize::try_from(unread.unwrap_or_default()).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn what_waits_is_read_and_what_comes_later_is_waited_for() {
        let (mut ours, mut theirs) = OutputPipe::new().unwrap();
        theirs.write_all(b"early").unwrap();
        assert_eq!(ours.unread(), 5);
        let mut read = [0; 5];
        ours.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"early");
        assert!(matches!(ours, OutputPipe::Unwatched(Some(_))));
        let later = async {
            tokio::task::yield_now().await;
            theirs.write_all(b"later").unwrap();
            drop(theirs);
        };
        let mut rest = String::new();
        let (read, ()) = tokio::join!(ours.read_to_string(&mut rest), later);
        assert_eq!((read.unwrap(), rest.as_str()), (5, "later"));
        assert!(matches!(ours, OutputPipe::Watched(_)));
    }

    #[tokio::test]
    async fn who_never_stops_writing_lets_others_run() {
        let (ours, mut theirs) = OutputPipe::new().unwrap();
        theirs.write_all(&[b'x'; 60_000]).unwrap();
        let read_all = async {
            let mut ours = ours;
            let mut byte = [0];
            for _ in 0..60_000 {
                ours.read_exact(&mut byte).await.unwrap();
            }
        };
        tokio::select! {
            biased;
            () = read_all => panic!("nobody else ran"),
            () = tokio::task::yield_now() => {}
        }
    }
}
