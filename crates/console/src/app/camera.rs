//! The picture of the chosen car's camera: whether it is wanted, and how old it is. Pure.

use std::time::{Duration, Instant};

use super::{App, ConnectionState, Effect};
use crate::camera::{CameraEvent, CameraReport, CameraView};
use crate::drive::LATE;
use crate::keymap::Screen;
use crate::picture::Picture;
use crate::screen::layout::{self, PictureSize, ScreenShape};

/// Slow drawings, one after the other, after which there is no picture.
const MOST_SLOW: u32 = 3;
/// Age after which a picture is shown as old.
pub const OLD: Duration = Duration::from_millis(500);

/// A picture, and when it came.
#[derive(Debug, Clone)]
pub struct ShownPicture {
    pub picture: Picture,
    /// Time on the car's clock, in milliseconds; in a replay since 1970.
    taken_ms: u64,
    came: Instant,
}

#[derive(Debug, Default)]
pub struct CameraPane {
    pub size: PictureSize,
    pub shown: Option<ShownPicture>,
    /// Reason why no picture comes; empty if one does.
    pub why: String,
    wanted: Option<CameraView>,
    /// Slow drawings, one after the other.
    slow: u32,
}

impl App {
    pub(super) fn next_picture_size(&mut self) {
        if !self.setup.colours.shows_pictures() {
            self.notify(
                "no picture here: this terminal shows fewer than 256 colours",
                true,
            );
            return;
        }
        if layout::shape(self.setup.size) == ScreenShape::Strip {
            return self.notify("no picture here: it takes a terminal of 60×18", true);
        }
        self.camera.size = match self.camera.size {
            PictureSize::Off => PictureSize::Small,
            PictureSize::Small => PictureSize::Large,
            PictureSize::Large => PictureSize::Off,
        };
        self.dirty = true;
    }

    /// Switches the picture off where drawing it keeps the loop from what moves the car.
    pub fn note_drawing(&mut self, took: Duration) {
        let is_slow = took >= LATE && self.camera.size != PictureSize::Off;
        self.camera.slow = if is_slow { self.camera.slow + 1 } else { 0 };
        if self.camera.slow == MOST_SLOW {
            self.camera.size = PictureSize::Off;
            let ms = took.as_millis();
            self.notify(
                format!("no picture: this terminal takes {ms} ms to show one"),
                true,
            );
        }
    }

    pub(super) fn on_camera(&mut self, event: CameraEvent) {
        if self.chosen != Some(event.service_port) {
            return;
        }
        match event.what {
            CameraReport::Picture(_, taken_ms) if !self.is_picture_wanted(taken_ms) => return,
            CameraReport::Picture(picture, taken_ms) => {
                self.camera.why.clear();
                self.camera.shown = Some(ShownPicture {
                    picture,
                    taken_ms,
                    came: self.now,
                });
            }
            CameraReport::None(why) => self.camera.why = why,
        }
        self.dirty = true;
    }

    /// Age of the picture: in a replay at the moment that is shown; else on the car's clock, if that ticks here, or
    /// since it came.
    pub fn picture_age(&self) -> Option<Duration> {
        let shown = self.camera.shown.as_ref()?;
        if self.is_replay() {
            let now_ms = self.clock.unix_ms(self.now);
            return Some(Duration::from_millis(now_ms.saturating_sub(shown.taken_ms)));
        }
        let since_it_came = self.now.saturating_duration_since(shown.came);
        let on_its_clock = self.link().and_then(|link| link.tick).map(|(ms, at)| {
            let car_now = ms + p2p_shared::timing::millis(self.now.saturating_duration_since(at));
            Duration::from_millis(car_now.saturating_sub(shown.taken_ms))
        });
        Some(on_its_clock.unwrap_or_default().max(since_it_came))
    }

    /// Says which picture is wanted, when that changes.
    pub(super) fn sync_camera(&mut self) {
        let wanted = self.wanted_view();
        let port = |view: &Option<CameraView>| view.as_ref().map(|it| it.service_port.port);
        if port(&self.camera.wanted) != port(&wanted) {
            self.camera.shown = None;
            self.camera.why.clear();
        }
        if self.camera.wanted != wanted {
            self.camera.wanted.clone_from(&wanted);
            self.effects.push(Effect::Camera(wanted));
        }
    }

    fn wanted_view(&self) -> Option<CameraView> {
        let is_up = matches!(self.connection, ConnectionState::Up);
        let looks = self.screen == Screen::Drive && self.overlay.is_none();
        let has_one = self.camera.size != PictureSize::Off;
        if !is_up || !looks || !has_one || self.is_too_small() {
            return None;
        }
        let areas = self.areas();
        if areas.shape == ScreenShape::Strip {
            return None;
        }
        let link = self.link().filter(|link| link.info.is_up)?;
        let area = layout::drive(areas.body, self.camera.size).picture?;
        let mut service_port = self.router.clone()?;
        service_port.port = link.info.service_port;
        Some(CameraView {
            service_port,
            size: (area.width.saturating_sub(2), area.height.saturating_sub(2)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, link};

    const PORT: u16 = 9000;

    fn wanted(bench: &mut Bench) -> Vec<Option<u16>> {
        let effects = std::mem::take(&mut bench.sent).into_iter();
        let port = |effect| match effect {
            Effect::Camera(view) => Some(view.map(|it: CameraView| it.service_port.port)),
            _ => None,
        };
        effects.filter_map(port).collect()
    }

    fn picture() -> CameraReport {
        let jpeg = include_bytes!("../picture/red-and-blue.jpg");
        CameraReport::Picture(Picture::decode(jpeg, (40, 10)).unwrap(), 1_000)
    }

    fn comes(bench: &mut Bench, service_port: u16, what: CameraReport) {
        bench.event(crate::app::Event::Camera(CameraEvent {
            service_port,
            what,
        }));
    }

    #[test]
    fn a_picture_is_fetched_only_while_somebody_looks() {
        let mut bench = Bench::with_car((120, 40));
        bench.letters("2");
        assert_eq!(wanted(&mut bench), []);
        bench.letters("v");
        assert_eq!(wanted(&mut bench), [Some(PORT)]);
        bench.letters("3");
        assert_eq!(wanted(&mut bench), [None]);
        bench.letters("2v");
        assert_eq!(wanted(&mut bench), [Some(PORT), Some(PORT)], "larger");
        let down = p2p_shared::protocol::FeedEvent::LinkDown {
            service_port: PORT,
            why: "away".into(),
        };
        bench.feed(down);
        assert_eq!(wanted(&mut bench), [None]);
        bench.feed(p2p_shared::protocol::FeedEvent::Link(Box::new(link(
            PORT, "car",
        ))));
        assert_eq!(wanted(&mut bench), [Some(PORT)]);
        bench.letters("v");
        assert_eq!(wanted(&mut bench), [None], "off");
    }

    #[test]
    fn a_picture_grows_old_and_goes_with_its_car() {
        let mut bench = Bench::with(
            (120, 40),
            vec![link(PORT, "car"), link(9001, "other")],
            vec![],
        );
        bench.app.set_chosen(Some(PORT));
        bench.letters("2v");
        comes(&mut bench, 9001, picture());
        assert_eq!(bench.app.picture_age(), None, "of another car");
        comes(&mut bench, PORT, picture());
        assert_eq!(bench.app.picture_age(), Some(Duration::ZERO));
        bench.pass(700);
        assert!(bench.app.picture_age().unwrap() > OLD);
        let tick = p2p_shared::protocol::RouterToConsole::Tick {
            service_port: PORT,
            clock_ms: 4_000,
        };
        bench.message(tick);
        assert_eq!(
            bench.app.picture_age(),
            Some(Duration::from_secs(3)),
            "on the car's clock"
        );
        comes(
            &mut bench,
            PORT,
            CameraReport::None("the camera fails: no cable".to_owned()),
        );
        assert!(bench.app.camera.shown.is_some() && bench.app.camera.why.contains("no cable"));
        bench.app.set_chosen(Some(9001));
        bench.pass(100);
        assert_eq!(bench.app.picture_age(), None);
    }

    #[test]
    fn a_terminal_that_draws_slowly_gets_no_picture() {
        let mut bench = Bench::with_car((120, 40));
        bench.letters("2v");
        for took in [LATE, LATE, Duration::ZERO, LATE, LATE] {
            bench.app.note_drawing(took);
            assert_eq!(bench.app.camera.size, PictureSize::Small);
        }
        bench.app.note_drawing(LATE);
        assert_eq!(bench.app.camera.size, PictureSize::Off);
    }

    #[test]
    fn a_terminal_with_few_colours_is_told() {
        let mut bench = Bench::with_car((120, 40));
        bench.app.setup.colours = crate::screen::theme::Colours::Few;
        bench.letters("2v");
        assert_eq!(wanted(&mut bench), []);
        assert!(bench.app.notice.unwrap().text.contains("256 colours"));
    }
}
