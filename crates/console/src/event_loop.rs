//! The loop that joins terminal, connection and application: waits, hands events to the
//! application, carries out its effects, draws. Decides nothing.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use crossterm::event::Event::{Key, Resize as Size};
use crossterm::event::KeyEventKind;
use ratatui::Frame;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::app::replay::Recording;
use crate::app::wall_clock::WallClock;
use crate::app::{App, AppSetup, Effect, Event};
use crate::camera::{self, CameraEvent, CameraView, PastPicture};
use crate::connection::{self, ConnectionEvent, RouterTarget, ToRouter};
use crate::desk_log::DeskLog;
use crate::drive::LATE;
use crate::exit_code::{ERROR, HUNG_UP, INTERRUPTED, TERMINATED};
use crate::keymap::{self, Action};
use crate::terminal::input::{self, InputReader, TerminalInput};
use crate::terminal::lateness::LoopPlan;
use crate::terminal::{self, TerminalScreen};
use crate::view;

/// Shortest time between two drawings: 30 a second.
const FRAME: Duration = Duration::from_millis(33);
/// Pause between two pings of the router, so that a silence is shown soon.
const PING: Duration = Duration::from_millis(250);
/// Pause of the camera's pictures after a drawing, in times that the drawing took.
const PICTURE_PAUSE: u32 = 4;
/// Most messages of the router that wait for the application.
const WAITING: usize = 1024;
/// Longest regular teardown; after that the program exits without it.
const WAY_OUT: Duration = Duration::from_secs(2);
/// Time that is left for the last stop and the terminal when the operator quits a second time.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The functions that decide and draw. Tests replace them by failing ones.
#[derive(Debug, Clone, Copy)]
pub struct AppParts {
    /// See [`App::update`].
    pub update: fn(&mut App, Event, Instant) -> Vec<Effect>,
    pub render: fn(&mut Frame<'_>, &App),
}

impl Default for AppParts {
    fn default() -> Self {
        Self {
            update: App::update,
            render: view::render,
        }
    }
}

/// Source of what the screens show.
pub(crate) enum ScreenSource {
    /// A router.
    Live(RouterTarget),
    /// A file with this name.
    Past(String, Box<Recording>),
}

/// Shows the screens until the operator quits or the program is told to end.
pub(crate) async fn run(
    source: ScreenSource,
    mut setup: AppSetup,
    parts: AppParts,
) -> anyhow::Result<ExitCode> {
    let (ends, end_requests) = mpsc::channel(4);
    let ending = Arc::new(AtomicBool::new(false));
    watch_signals(ends.clone(), ending.clone())?;
    terminal::leave_on_panic(move |what| {
        exit_even_if_stuck(ERROR);
        let _ = ends.try_send(Err(what));
    });
    let mut screen = TerminalScreen::enter().context("the terminal can't be used")?;
    setup.releases = screen.releases;
    let size = screen.terminal.get_frame().area();
    setup.size = (size.width, size.height);
    let mut app = App::new(setup, Instant::now());
    app.clock = WallClock::local(Instant::now());
    let (input_to, input) = mpsc::channel(input::WAITING);
    let reader = InputReader::start(input_to)?;
    let (events_to, router) = mpsc::channel(WAITING);
    let (to_router, requests) = mpsc::unbounded_channel();
    let (wanted, wanted_picture) = watch::channel(None);
    let (past_wanted, wanted_past) = watch::channel(None);
    let (pictures_to, pictures) = mpsc::channel(1);
    let connection = match source {
        ScreenSource::Live(target) => {
            tokio::spawn(camera::run(target.clone(), wanted_picture, pictures_to));
            let connection = connection::run(target, PING, events_to, requests);
            Some(tokio::spawn(connection))
        }
        ScreenSource::Past(file, recording) => {
            tokio::spawn(camera::show_past(wanted_past, pictures_to));
            app.replay(file, *recording);
            None
        }
    };
    let shell = EventLoop {
        app,
        parts,
        input,
        reader,
        router,
        to_router,
        wanted,
        past_wanted,
        pictures,
        end_requests,
        desk_log: DeskLog::default(),
    };
    let (ended, input) = shell.run(&mut screen).await;
    ending.store(true, Ordering::SeqCst);
    // In a task of its own: this one may be stuck in the teardown.
    tokio::spawn(end_at_second_key(input));
    // Restores the terminal before the last messages are sent, which can take a while.
    drop(screen);
    let code = ended?;
    if let Some(mut connection) = connection {
        let finished = tokio::time::timeout(WAY_OUT / 2, &mut connection).await;
        if finished.is_err() {
            connection.abort();
        }
    }
    Ok(code)
}

/// The exit code of a signal, or the failure of another thread.
type EndRequest = Result<ExitCode, String>;

/// Reports the exit codes of signals. Runs beside the loop, which may be blocked by a terminal that
/// takes no output.
fn watch_signals(codes: mpsc::Sender<EndRequest>, ending: Arc<AtomicBool>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut hang_up = signal(SignalKind::hangup()).context("SIGHUP")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    tokio::spawn(async move {
        loop {
            let code = tokio::select! {
                _ = terminate.recv() => TERMINATED,
                _ = hang_up.recv() => HUNG_UP,
                _ = interrupt.recv() => INTERRUPTED,
            };
            if ending.swap(true, Ordering::SeqCst) {
                end_now(code).await;
            }
            exit_even_if_stuck(code);
            let _ = codes.send(Ok(code.into())).await;
        }
    });
    Ok(())
}

/// Exits at once when the operator quits again during the teardown. After the terminal was
/// restored, Ctrl-C comes as a signal instead.
async fn end_at_second_key(mut input: mpsc::Receiver<TerminalInput>) {
    while let Some(event) = input.recv().await {
        if let TerminalInput::Event(Key(key), _) | TerminalInput::Stale(Key(key)) = event
            && key.kind == KeyEventKind::Press
            && keymap::find(keymap::Screen::Fleet, &key, false)
                .is_some_and(|b| b.action == Action::Quit)
        {
            end_now(INTERRUPTED).await;
        }
    }
}

async fn end_now(code: u8) {
    tokio::time::sleep(LAST_WORDS).await;
    terminal::leave_raw_mode();
    std::process::exit(code.into());
}

struct EventLoop {
    app: App,
    parts: AppParts,
    input: mpsc::Receiver<TerminalInput>,
    reader: InputReader,
    router: mpsc::Receiver<ConnectionEvent>,
    to_router: mpsc::UnboundedSender<ToRouter>,
    wanted: watch::Sender<Option<CameraView>>,
    past_wanted: watch::Sender<Option<PastPicture>>,
    pictures: mpsc::Receiver<CameraEvent>,
    end_requests: mpsc::Receiver<EndRequest>,
    desk_log: DeskLog,
}

impl EventLoop {
    /// Runs to the end; returns the terminal's input too, in which the operator may quit again.
    async fn run(
        mut self,
        screen: &mut TerminalScreen,
    ) -> (anyhow::Result<ExitCode>, mpsc::Receiver<TerminalInput>) {
        let ended = self.serve(screen).await;
        if ended.is_err() {
            // The operator no longer sees or controls the car.
            for effect in (self.parts.update)(&mut self.app, Event::Terminate, Instant::now()) {
                if let Effect::Send(message) = effect {
                    let _ = self.to_router.send(ToRouter::Send(message));
                }
            }
        }
        let _ = self.to_router.send(ToRouter::End);
        (ended, self.input)
    }

    async fn serve(&mut self, screen: &mut TerminalScreen) -> anyhow::Result<ExitCode> {
        let mut drawn = Instant::now()
            .checked_sub(FRAME)
            .unwrap_or_else(Instant::now);
        let mut code = ExitCode::SUCCESS;
        let mut plan = LoopPlan::new(Duration::ZERO);
        let mut picture_due = Instant::now();
        // True if one has come that is not drawn yet.
        let mut has_picture = false;
        let continues = SignalKind::from_raw(rustix::process::Signal::CONT.as_raw());
        let mut continues = signal(continues).context("SIGCONT")?;
        loop {
            let late = plan.lateness();
            if late > LATE && self.apply(Event::Late(late), screen)?.is_break() {
                break;
            }
            if self.app.dirty && drawn.elapsed() >= FRAME {
                self.app.dirty = false;
                drawn = Instant::now();
                screen
                    .terminal
                    .draw(|frame| (self.parts.render)(frame, &self.app))?;
                // A terminal that takes long gets fewer pictures, and goes on to show what the car does.
                let took = drawn.elapsed();
                self.app.note_drawing(took);
                if std::mem::take(&mut has_picture) {
                    picture_due = Instant::now() + took * PICTURE_PAUSE;
                }
            }
            let mut wait = self.app.next_tick();
            if self.app.dirty {
                wait = wait.min(FRAME.saturating_sub(drawn.elapsed()));
            }
            plan = LoopPlan::new(wait);
            let mut stale = None;
            let event = tokio::select! {
                biased;
                Some(request) = self.end_requests.recv() => {
                    code = request.map_err(anyhow::Error::msg)?;
                    Some(Event::Terminate)
                }
                input = self.input.recv() => match input {
                    None | Some(TerminalInput::Gone) => {
                        code = HUNG_UP.into();
                        exit_even_if_stuck(HUNG_UP);
                        Some(Event::Terminate)
                    }
                    Some(TerminalInput::Late(late)) => Some(Event::Late(late)),
                    Some(TerminalInput::Stale(event)) => Some(Event::Stale(event)),
                    // A new size counts, however long it waited.
                    Some(TerminalInput::Event(event @ Size(..), _)) => Some(Event::Terminal(event)),
                    // The event waited here while the terminal took no output: not a new press.
                    Some(TerminalInput::Event(event, at)) if at.elapsed() > LATE => {
                        stale = Some(Event::Stale(event));
                        Some(Event::Late(at.elapsed()))
                    }
                    Some(TerminalInput::Event(event, _)) => Some(Event::Terminal(event)),
                },
                event = self.router.recv(), if !self.router.is_closed() || !self.router.is_empty() => {
                    event.map(Event::Connection)
                }
                event = self.pictures.recv(), if picture_due <= Instant::now() && !self.pictures.is_closed() => {
                    has_picture = true;
                    event.map(Event::Camera)
                }
                _ = continues.recv() => {
                    screen.continued()?;
                    self.app.dirty = true;
                    None
                }
                () = tokio::time::sleep(wait) => None,
            };
            let tick = Event::Tick {
                input_seen: self.reader.seen(),
            };
            if !self.app.is_replay() {
                self.app.clock.set(Instant::now());
            }
            let event = event.into_iter().chain(stale).chain([tick]);
            let mut next = ControlFlow::Continue(());
            for event in event {
                if self.apply(event, screen)?.is_break() {
                    next = ControlFlow::Break(());
                }
            }
            if next.is_break() {
                break;
            }
            if self.reader.seen().elapsed() > Duration::from_secs(1) && input::is_gone() {
                code = HUNG_UP.into();
                let _ = self.apply(Event::Terminate, screen)?;
                break;
            }
        }
        Ok(code)
    }

    fn apply(&mut self, event: Event, screen: &mut TerminalScreen) -> io::Result<ControlFlow<()>> {
        let new_size = match event {
            Event::Terminal(Size(width, height)) => Some((width, height)),
            _ => None,
        };
        if let Event::Connection(event) = &event {
            self.desk_log.heard(event, &self.app);
        }
        let mut next = ControlFlow::Continue(());
        for effect in (self.parts.update)(&mut self.app, event, Instant::now()) {
            match effect {
                Effect::Send(message) => {
                    self.desk_log.sent(&message, &self.app);
                    let _ = self.to_router.send(ToRouter::Send(message));
                }
                Effect::Save { name, text } => {
                    let saved = save(&name, &text)
                        .map(|()| name)
                        .map_err(|why| why.to_string());
                    (self.parts.update)(&mut self.app, Event::Saved(saved), Instant::now());
                }
                Effect::Camera(view) => {
                    self.wanted.send_replace(view);
                }
                Effect::PastPicture(picture) => {
                    self.past_wanted.send_replace(Some(picture));
                }
                Effect::AllKeys(wanted) => screen.all_keys(wanted)?,
                Effect::Mouse(wanted) => screen.mouse(wanted)?,
                Effect::Copy(text) => screen.copy(text)?,
                Effect::Quit => next = ControlFlow::Break(()),
            }
        }
        // What a replay shows is nothing that this desk knows of a car.
        if !self.app.is_replay() {
            self.desk_log.shown(&self.app);
        }
        if let Some(size) = new_size {
            screen.resize(size)?;
        }
        Ok(next)
    }
}

/// Exits with this code if the teardown hangs, as it does on a terminal that takes no output.
fn exit_even_if_stuck(code: u8) {
    std::thread::spawn(move || {
        std::thread::sleep(WAY_OUT);
        terminal::leave_raw_mode();
        std::process::exit(code.into());
    });
}

fn save(name: &str, text: &str) -> io::Result<()> {
    use std::io::Write;
    let mut file = std::fs::File::create_new(Path::new(name))
        .map_err(|why| io::Error::new(why.kind(), format!("{name} can't be written: {why}")))?;
    file.write_all(text.as_bytes())
}
