//! Sets the terminal's modes at the start; [`leave`] restores them, however the program ends.

pub(crate) mod input;
mod keyboard_flags;
pub(crate) mod lateness;
mod stderr;

use std::io::{self, IsTerminal, Stdout, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::clipboard::CopyToClipboard;
use crossterm::event::{
    DisableBracketedPaste, DisableFocusChange, DisableMouseCapture, EnableBracketedPaste,
    EnableFocusChange, EnableMouseCapture, KeyboardEnhancementFlags, PopKeyboardEnhancementFlags,
    PushKeyboardEnhancementFlags,
};
use crossterm::{cursor, execute, queue, terminal};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};

use crate::drive::KeyReleases;

/// True if the terminal must be restored; set before anything is switched on.
static IN_USE: AtomicBool = AtomicBool::new(false);

/// Size of a terminal that doesn't know its own.
const USUAL_SIZE: (u16, u16) = (80, 24);

/// Flags with which keys are told apart, and their releases reported.
const BASE: KeyboardEnhancementFlags = KeyboardEnhancementFlags::DISAMBIGUATE_ESCAPE_CODES
    .union(KeyboardEnhancementFlags::REPORT_EVENT_TYPES);
/// Flags while armed: every key is reported, letters too. Typing with them would lose AltGr.
const ARMED: KeyboardEnhancementFlags = BASE
    .union(KeyboardEnhancementFlags::REPORT_ALL_KEYS_AS_ESCAPE_CODES)
    .union(KeyboardEnhancementFlags::REPORT_ALTERNATE_KEYS);

/// Returns true if this process has a terminal for input and output that can show screens: one with
/// `TERM=dumb` knows no sequences.
pub(crate) fn is_available() -> bool {
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !is_dumb && io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// The viewport: all of the terminal, or the usual size where the terminal knows none (a serial line
/// without `stty rows 24 cols 80` has 0×0).
fn viewport() -> Viewport {
    match terminal::size() {
        Ok((0, _) | (_, 0)) => Viewport::Fixed(Rect::new(0, 0, USUAL_SIZE.0, USUAL_SIZE.1)),
        _ => Viewport::Fullscreen,
    }
}

/// The terminal in use. Dropping it restores the terminal.
pub(crate) struct TerminalScreen {
    pub(crate) terminal: Terminal<CrosstermBackend<Stdout>>,
    /// Key releases as the terminal granted them, not as they were requested.
    pub(crate) releases: KeyReleases,
    all_keys: bool,
}

impl TerminalScreen {
    /// Takes the terminal and silences standard error. The order matters: the alternate screen
    /// first, since keyboard flags belong to a screen; then the flags; then the question which of
    /// them were granted.
    pub(crate) fn enter() -> io::Result<Self> {
        stderr::silence();
        IN_USE.store(true, Ordering::SeqCst);
        let entered = Self::enter_unguarded();
        if entered.is_err() {
            leave();
        }
        entered
    }

    fn enter_unguarded() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        let mut out = io::stdout();
        execute!(out, terminal::EnterAlternateScreen, cursor::Hide)?;
        execute!(out, PushKeyboardEnhancementFlags(BASE))?;
        let granted = keyboard_flags::ask();
        execute!(out, EnableBracketedPaste, EnableFocusChange)?;
        let reported = granted
            .is_some_and(|flags| flags.contains(KeyboardEnhancementFlags::REPORT_EVENT_TYPES));
        tracing::info!(?granted, "the terminal's keyboard flags");
        Ok(Self {
            terminal: Terminal::with_options(
                CrosstermBackend::new(out),
                TerminalOptions {
                    viewport: viewport(),
                },
            )?,
            releases: if reported {
                KeyReleases::Reported
            } else {
                KeyReleases::Guessed
            },
            all_keys: false,
        })
    }

    /// Sets the modes and clears the terminal after this program was stopped and continued: meanwhile a shell had the
    /// terminal, and wrote on it.
    pub(crate) fn continued(&mut self) -> io::Result<()> {
        // The mode that is kept as that of before must be the first one.
        terminal::disable_raw_mode()?;
        terminal::enable_raw_mode()?;
        execute!(
            io::stdout(),
            terminal::EnterAlternateScreen,
            cursor::Hide,
            EnableBracketedPaste,
            EnableFocusChange,
            EnableMouseCapture
        )?;
        if self.releases == KeyReleases::Reported {
            // The shell may have set flags of its own, and left none.
            let all_keys = std::mem::take(&mut self.all_keys);
            if all_keys {
                execute!(io::stdout(), PopKeyboardEnhancementFlags)?;
            }
            let base = PushKeyboardEnhancementFlags(BASE);
            execute!(io::stdout(), PopKeyboardEnhancementFlags, base)?;
            self.all_keys(all_keys)?;
        }
        // Not `clear`, which asks the terminal where the cursor is: the thread that reads the keys takes the answer.
        let area = self.terminal.get_frame().area();
        self.terminal.resize(area)
    }

    /// Takes over a new size, in columns and rows.
    pub(crate) fn resize(&mut self, (width, height): (u16, u16)) -> io::Result<()> {
        let area = Rect::new(0, 0, width, height);
        if self.terminal.get_frame().area() == area {
            return Ok(());
        }
        self.terminal.resize(area)
    }

    /// Switches the report of every key on or off.
    pub(crate) fn all_keys(&mut self, wanted: bool) -> io::Result<()> {
        if self.releases == KeyReleases::Guessed || self.all_keys == wanted {
            return Ok(());
        }
        self.all_keys = wanted;
        let mut out = io::stdout();
        if wanted {
            execute!(out, PushKeyboardEnhancementFlags(ARMED))
        } else {
            execute!(out, PopKeyboardEnhancementFlags)
        }
    }

    /// Puts a text into the terminal's clipboard, if the terminal lets programs do so.
    pub(crate) fn copy(&mut self, text: String) -> io::Result<()> {
        execute!(io::stdout(), CopyToClipboard::to_clipboard_from(text))
    }

    /// Switches the report of the mouse on or off.
    pub(crate) fn mouse(&mut self, wanted: bool) -> io::Result<()> {
        let mut out = io::stdout();
        if wanted {
            execute!(out, EnableMouseCapture)
        } else {
            execute!(out, DisableMouseCapture)
        }
    }
}

impl Drop for TerminalScreen {
    fn drop(&mut self) {
        leave();
    }
}

/// Restores the terminal once; later calls do nothing. Each step is tried even if one before it
/// failed.
pub(crate) fn leave() {
    if !IN_USE.swap(false, Ordering::SeqCst) {
        return;
    }
    let mut out = io::stdout();
    // Twice: an armed console has pushed flags twice. Popping too many does nothing.
    let _ = queue!(
        out,
        PopKeyboardEnhancementFlags,
        PopKeyboardEnhancementFlags,
        DisableMouseCapture,
        DisableFocusChange,
        DisableBracketedPaste,
        // After a resize, tmux would take lines of this screen over into the first one.
        cursor::MoveTo(0, 0),
        terminal::Clear(terminal::ClearType::FromCursorDown),
        terminal::LeaveAlternateScreen,
        cursor::Show
    );
    let _ = out.flush();
    let _ = terminal::disable_raw_mode();
    stderr::restore();
}

/// Restores the line editing of a terminal that takes no output.
pub(crate) fn leave_raw_mode() {
    // Even while [`leave`] runs: it may be stuck.
    let _ = terminal::disable_raw_mode();
}

/// Makes a panic of this thread, which draws, restore the terminal before the panic is printed. A
/// panic of another thread is passed to `others`, so that the drawing thread ends the program:
/// restoring the terminal there would disturb a drawing.
pub(crate) fn leave_on_panic(others: impl Fn(String) + Send + Sync + 'static) {
    let draws = std::thread::current().id();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        if thread.id() == draws {
            leave();
        } else {
            let name = thread.name().unwrap_or("without a name");
            let what = panic.payload_as_str().unwrap_or("without a message");
            let what = p2p_shared::text::Escaped(what).cut(300).to_string();
            others(format!("internal error (panic) in thread {name}: {what}"));
        }
        before(panic);
    }));
}
