//! Asks the terminal which keyboard enhancement flags it has granted. crossterm 0.29 asks too, but
//! its `query_keyboard_enhancement_flags` is not exported, and the function that is exported says
//! only whether there are any.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use crossterm::event::KeyboardEnhancementFlags;

use super::input::{PollOutcome, poll_terminal};

/// Asks for the flags, then for the terminal's identity. Every terminal answers the second
/// question; one that answers only that knows no flags.
const QUESTION: &[u8] = b"\x1b[?u\x1b[c";
/// Longest wait for the answer, which takes half a second or more over a slow ssh.
const PATIENCE: Duration = Duration::from_secs(1);

/// The flags that the terminal granted; `None` if it knows none or doesn't answer. What is typed
/// meanwhile is lost: nothing was visible yet.
pub(super) fn ask() -> Option<KeyboardEnhancementFlags> {
    let mut out = io::stdout();
    out.write_all(QUESTION).and_then(|()| out.flush()).ok()?;
    let asked = Instant::now();
    let mut answer = Vec::new();
    while let Some(left) = PATIENCE.checked_sub(asked.elapsed()) {
        match poll_terminal(left) {
            PollOutcome::Input => {}
            PollOutcome::Nothing => continue,
            PollOutcome::Gone => break,
        }
        let mut piece = [0; 256];
        match rustix::io::read(io::stdin(), &mut piece) {
            Ok(0) | Err(_) => break,
            Ok(n) => answer.extend_from_slice(piece.get(..n)?),
        }
        if let Some(granted) = parse(&answer) {
            return granted;
        }
        if answer.len() > 64 * 1024 {
            break;
        }
    }
    None
}

/// Parses the complete answer: `CSI ? flags u`, then `CSI ? … c`.
fn parse(bytes: &[u8]) -> Option<Option<KeyboardEnhancementFlags>> {
    let mut flags = None;
    let mut rest = bytes;
    while let Some(at) = rest.windows(3).position(|three| three == b"\x1b[?") {
        rest = rest.get(at + 3..)?;
        let end = rest
            .iter()
            .position(|byte| !matches!(byte, b'0'..=b'9' | b';'))?;
        let number = std::str::from_utf8(rest.get(..end)?).ok()?.parse::<u8>();
        match rest.get(end)? {
            b'u' => {
                flags = number
                    .ok()
                    .map(KeyboardEnhancementFlags::from_bits_truncate)
            }
            b'c' => return Some(flags),
            _ => {}
        }
        rest = rest.get(end..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_granted_is_believed() {
        // kitty, asked for 1 and 2; foot; a terminal that knows the question and grants nothing.
        let granted = |bytes: &[u8]| parse(bytes).map(|flags| flags.map(|flags| flags.bits()));
        assert_eq!(granted(b"\x1b[?3u\x1b[?62;c"), Some(Some(3)));
        assert_eq!(granted(b"\x1b[?3u\x1b[?62;4;22;28c"), Some(Some(3)));
        assert_eq!(granted(b"\x1b[?0u\x1b[?1;2c"), Some(Some(0)));
        // xterm and tmux answer only with their identity.
        assert_eq!(granted(b"\x1b[?64;1;2;6;9;15;18;21;22c"), Some(None));
        assert_eq!(granted(b"\x1b[?1;2;4c"), Some(None));
        // Keys before the answer, and answers that are not whole yet.
        assert_eq!(granted(b"\x1b[Aq\x1b[?3u\x1b[?62;c"), Some(Some(3)));
        assert_eq!(granted(b"\x1b[?3u"), None);
        assert_eq!(granted(b"\x1b[?3u\x1b[?62;"), None);
        assert_eq!(granted(b""), None);
    }
}
