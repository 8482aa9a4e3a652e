//! Draws the camera's picture in half blocks, with its age. An old one has no colours.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};

use crate::app::App;
use crate::app::camera::OLD;
use crate::picture::Rgb;
use crate::screen::theme::Colours;
use crate::text::fit;

pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let age = app.picture_age();
    let is_old = age.is_none_or(|age| age > OLD);
    let title = match age {
        None => " Camera ".to_owned(),
        Some(age) if is_old => format!(" OLD {:.1} s ", age.as_secs_f64()),
        Some(age) => format!(" Camera {} ms ", age.as_millis() / 10 * 10),
    };
    frame.render_widget(Clear, area);
    let block = Block::bordered().title(title);
    let inside = block.inner(area);
    frame.render_widget(block, area);
    if let Some(shown) = &app.camera.shown {
        let left = usize::from(inside.width).saturating_sub(shown.picture.columns()) / 2;
        let left = inside.x + u16::try_from(left).unwrap_or(0);
        for (row, y) in shown.picture.rows().zip(inside.y..inside.bottom()) {
            for ((upper, lower), x) in row.zip(left..inside.right()) {
                let colour =
                    |pixel| colour(app.setup.colours, if is_old { grey(pixel) } else { pixel });
                let style = Style::new().fg(colour(upper)).bg(colour(lower));
                frame.buffer_mut()[(x, y)].set_symbol("▀").set_style(style);
            }
        }
    }
    if !app.camera.why.is_empty() || app.camera.shown.is_none() {
        let why = match app.camera.why.as_str() {
            "" if app.is_replay() => "no picture of this moment",
            "" => "waiting for a picture",
            why => why,
        };
        let line = Rect {
            height: inside.height.min(3),
            ..inside
        };
        let said = Paragraph::new(fit(why, 3 * usize::from(inside.width)));
        frame.render_widget(said.wrap(Wrap { trim: true }), line);
    }
}

/// Brightness as the eye sees it (ITU-R BT.601).
fn grey([red, green, blue]: Rgb) -> Rgb {
    let sum = 299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue);
    [u8::try_from(sum / 1000).unwrap_or(u8::MAX); 3]
}

fn colour(colours: Colours, [red, green, blue]: Rgb) -> Color {
    if colours == Colours::All {
        return Color::Rgb(red, green, blue);
    }
    // xterm's cube of 6 × 6 × 6 colours begins at 16.
    let step = |value: u8| u8::try_from((u16::from(value) * 5 + 127) / 255).unwrap_or(5);
    Color::Indexed(16 + 36 * step(red) + 6 * step(green) + step(blue))
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::buffer::Buffer;

    use super::*;
    use crate::app::Event;
    use crate::camera::{CameraEvent, CameraReport};
    use crate::picture::Picture;
    use crate::testing::Bench;

    fn drawn(app: &App) -> Buffer {
        let (width, height) = app.setup.size;
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal
            .draw(|frame| crate::view::render(frame, app))
            .unwrap();
        terminal.backend().buffer().clone()
    }

    /// Colours of the picture's cells.
    fn colours(buffer: &Buffer) -> Vec<Color> {
        let cells = buffer.content.iter().filter(|cell| cell.symbol() == "▀");
        let mut colours: Vec<_> = cells.map(|cell| cell.fg).collect();
        colours.dedup();
        colours
    }

    #[test]
    fn a_picture_has_its_colours_until_it_is_old() {
        for (size, keys) in [((120, 40), "2v"), ((80, 24), "2v"), ((80, 24), "2vv")] {
            let mut bench = Bench::with_car(size);
            bench.letters(keys);
            let waiting = format!("{:?}", drawn(&bench.app));
            assert!(waiting.contains("waiting for"), "{size:?}");
            let jpeg = include_bytes!("../picture/red-and-blue.jpg");
            let what = CameraReport::Picture(Picture::decode(jpeg, (20, 10)).unwrap(), 1_000);
            bench.event(Event::Camera(CameraEvent {
                service_port: 9000,
                what,
            }));
            let fresh = drawn(&bench.app);
            let is_red = |it: &Color| matches!(it, Color::Rgb(200.., 0..50, 0..50));
            assert!(
                colours(&fresh).iter().any(is_red),
                "{size:?} {:?}",
                colours(&fresh)
            );
            bench.app.setup.colours = Colours::Indexed;
            assert!(colours(&drawn(&bench.app)).contains(&Color::Indexed(196)));
            bench.pass(2_000);
            bench.app.setup.colours = Colours::All;
            let old = drawn(&bench.app);
            let is_grey = |it: &Color| matches!(it, Color::Rgb(r, g, b) if r == g && g == b);
            assert!(colours(&old).iter().all(is_grey));
            assert!(format!("{old:?}").contains("OLD 2.0 s"));
        }
    }
}
