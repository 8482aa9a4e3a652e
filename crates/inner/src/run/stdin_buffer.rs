//! Keeps input that arrives before its run, within bounds.

use bytes::{Bytes, BytesMut};
use p2p_shared::names::{RunId, RunMap};
use p2p_shared::protocol::MAX_OPEN_RUNS;

/// Most bytes of input that wait, of all runs together.
const MAX_BYTES: usize = 64 * 1024 * 1024;

#[derive(Debug, Default)]
pub(crate) struct StdinBuffer {
    waiting: RunMap<BytesMut>,
    bytes: usize,
}

impl StdinBuffer {
    /// Keeps a piece of a run's input. A piece beyond the bounds is thrown away: then its run is
    /// refused when it comes, because its input is not complete.
    pub(crate) fn add(&mut self, run: RunId, piece: &Bytes) {
        let is_known = self.waiting.contains_key(&run);
        if self.bytes + piece.len() <= MAX_BYTES && (is_known || self.waiting.len() < MAX_OPEN_RUNS)
        {
            self.bytes += piece.len();
            self.waiting
                .entry(run)
                .or_default()
                .extend_from_slice(piece);
        }
    }

    pub(crate) fn take(&mut self, run: RunId) -> Bytes {
        let input = self.waiting.remove(&run).unwrap_or_default();
        self.bytes -= input.len();
        input.freeze()
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: Bytes = Bytes::from_static(b"piece ");

    #[test]
    fn the_pieces_of_a_run_are_joined_and_taken_once() {
        let (mut buffer, run) = (StdinBuffer::default(), RunId::from_number(1));
        buffer.add(run, &PIECE);
        buffer.add(RunId::from_number(2), &PIECE);
        buffer.add(run, &PIECE);
        assert_eq!(&buffer.take(run)[..], b"piece piece ");
        assert!(buffer.take(run).is_empty());
        buffer.clear();
        assert!(buffer.take(RunId::from_number(2)).is_empty());
        assert_eq!(buffer.bytes, 0);
    }

    #[test]
    fn runs_that_never_come_take_no_more_than_their_share() {
        let mut buffer = StdinBuffer::default();
        for n in 0..100_000 {
            buffer.add(RunId::from_number(n), &Bytes::new());
        }
        assert_eq!(buffer.waiting.len(), MAX_OPEN_RUNS);
        let large = Bytes::from(vec![0; 1 << 20]);
        for _ in 0..100 {
            buffer.add(RunId::from_number(0), &large);
        }
        assert_eq!(buffer.bytes, MAX_BYTES);
        assert_eq!(buffer.take(RunId::from_number(0)).len(), MAX_BYTES);
        buffer.add(RunId::from_number(1), &PIECE);
        assert_eq!(buffer.take(RunId::from_number(1)), PIECE);
    }
}
