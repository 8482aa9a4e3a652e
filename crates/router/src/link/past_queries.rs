//! Callers that wait for a car's past. One question is open at a time, until the inner has answered it: it reads its disk
//! for one after another, and sends each answer to its end, whether or not its caller has left. Sends nothing itself.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use p2p_shared::protocol::{MAX_PAST, OutputPiece};
use tokio::sync::oneshot;

use crate::link::end::ProtocolViolation;
use crate::link::work::NoAnswer;

/// Most callers that wait for their turn: more are told to ask again.
const WAITING: usize = 8;

type Reply = oneshot::Sender<Result<Bytes, NoAnswer>>;

/// A question to be sent now: its number, and the time that it is about.
type Question = (u64, Duration);

/// The questions about the past.
#[derive(Debug, Default)]
pub(super) struct PastQueries {
    requests: u64,
    open: Option<Open>,
    waiting: VecDeque<(Duration, Reply)>,
}

/// A question that was sent.
#[derive(Debug)]
struct Open {
    reply: Reply,
    lines: BytesMut,
    /// Bytes that have come, also those that nobody waits for.
    bytes: usize,
}

impl PastQueries {
    pub(super) fn is_idle(&self) -> bool {
        let open = self.open.iter().map(|open| &open.reply);
        let waiting = self.waiting.iter().map(|(_, reply)| reply);
        open.chain(waiting).all(Reply::is_closed)
    }

    /// Adds a caller. Returns the question to be sent now, if one is.
    pub(super) fn ask(&mut self, last: Duration, reply: Reply) -> Option<Question> {
        self.waiting.retain(|(_, reply)| !reply.is_closed());
        if self.waiting.len() < WAITING {
            self.waiting.push_back((last, reply));
        } else {
            let _ = reply.send(Err(NoAnswer::Busy));
        }
        self.next()
    }

    /// Adds a part of an answer. Returns the question to be sent now, if one is.
    pub(super) fn answer(
        &mut self,
        request: u64,
        lines: &OutputPiece,
        more: bool,
    ) -> Result<Option<Question>, ProtocolViolation> {
        let Some(open) = self.open.as_mut().filter(|_| request == self.requests) else {
            return Ok(None);
        };
        open.bytes += lines.len();
        if open.bytes > MAX_PAST {
            return Err(ProtocolViolation("the inner sent a past without end"));
        }
        if open.reply.is_closed() {
            open.lines = BytesMut::new();
        } else {
            open.lines.extend_from_slice(lines);
        }
        if more {
            return Ok(None);
        }
        if let Some(Open { reply, lines, .. }) = self.open.take() {
            // A caller that has gone away needs no answer.
            let _ = reply.send(Ok(lines.freeze()));
        }
        Ok(self.next())
    }

    fn next(&mut self) -> Option<Question> {
        if self.open.is_some() {
            return None;
        }
        self.waiting.retain(|(_, reply)| !reply.is_closed());
        let (last, reply) = self.waiting.pop_front()?;
        self.requests += 1;
        self.open = Some(Open {
            reply,
            lines: BytesMut::new(),
            bytes: 0,
        });
        Some((self.requests, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: Duration = Duration::from_secs(60);

    fn piece(text: &[u8]) -> OutputPiece {
        OutputPiece::first_of(text)
    }

    #[test]
    fn one_question_is_open_until_it_is_answered_even_if_its_caller_has_left() {
        let mut queries = PastQueries::default();
        let ask = |queries: &mut PastQueries, seconds| {
            let (reply, answer) = oneshot::channel();
            let sent = queries.ask(Duration::from_secs(seconds), reply);
            (sent, answer)
        };
        let (sent, first) = ask(&mut queries, 1);
        assert_eq!(sent, Some((1, Duration::from_secs(1))));
        drop(first);
        assert!(queries.is_idle());
        let mut told = Vec::new();
        for seconds in 2..2 + WAITING as u64 {
            let (sent, answer) = ask(&mut queries, seconds);
            assert_eq!(sent, None);
            told.push(answer);
        }
        assert!(!queries.is_idle());
        let (sent, mut refused) = ask(&mut queries, 99);
        assert_eq!(sent, None);
        assert_eq!(refused.try_recv(), Ok(Err(NoAnswer::Busy)));
        // One who leaves while waiting is never asked for.
        drop(told.remove(0));
        assert_eq!(queries.answer(1, &piece(b"a"), true).unwrap(), None);
        assert!(queries.open.as_ref().unwrap().lines.is_empty());
        assert_eq!(queries.answer(99, &piece(b"x"), false).unwrap(), None);
        let next = queries.answer(1, &piece(b"b"), false).unwrap();
        assert_eq!(next, Some((2, Duration::from_secs(3))));
        assert_eq!(queries.answer(2, &piece(b"c"), true).unwrap(), None);
        let next = queries.answer(2, &piece(b"d"), false).unwrap();
        assert_eq!(next, Some((3, Duration::from_secs(4))));
        assert_eq!(told[0].try_recv(), Ok(Ok(Bytes::from_static(b"cd"))));
    }

    #[test]
    fn an_answer_without_end_is_cut_off_also_if_nobody_waits() {
        let much = piece(&[b'x'; 16 * 1024]);
        for is_there in [true, false] {
            let mut queries = PastQueries::default();
            let (reply, answer) = oneshot::channel();
            queries.ask(LAST, reply);
            let _answer = is_there.then_some(answer);
            let mut parts = (0..1000).map(|_| queries.answer(1, &much, true));
            assert!(parts.any(|part| part.is_err()));
        }
    }
}
