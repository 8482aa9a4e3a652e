//! Draws the pad: four directions and stop. The direction that the car acknowledged is lit; one
//! that is only asked for has a double frame.

use ratatui::Frame;
use ratatui::layout::{Alignment, Rect};
use ratatui::style::Style;
use ratatui::widgets::{Block, BorderType, Paragraph};

use crate::app::App;
use crate::app::contact::Contact;
use crate::drive::{Direction, DriveState};
use crate::screen::layout;

pub(super) fn render(frame: &mut Frame<'_>, pad: Rect, app: &App) {
    let theme = app.theme();
    let asked = app.drive.asked().map(|(_, direction)| direction);
    let is_known = app.chosen_contact() == Contact::Answers;
    let acknowledged = acknowledged(app).filter(|_| is_known);
    for direction in Direction::ALL {
        let is_lit = acknowledged == Some(direction);
        let is_asked = asked == Some(direction);
        let style = match (is_lit, is_asked) {
            (true, _) => theme.state(DriveState::Driving(direction)),
            (false, true) => theme.strong(),
            (false, false) => theme.quiet(),
        };
        let border = if is_asked {
            BorderType::Double
        } else {
            BorderType::Plain
        };
        let block = Block::bordered().border_type(border);
        let glyph = direction.glyph().to_string();
        let cell = Paragraph::new(glyph).alignment(Alignment::Center);
        frame.render_widget(cell.style(style).block(block), layout::cell(pad, direction));
    }
    let stands = !is_known || app.link().is_some_and(|link| link.moving.is_none());
    let style = if stands { Style::new() } else { theme.alarm() };
    let stop = Paragraph::new("STOP")
        .alignment(Alignment::Center)
        .style(style)
        .block(Block::bordered());
    frame.render_widget(stop, layout::stop_cell(pad));
}

/// The direction that the car reports to move in.
fn acknowledged(app: &App) -> Option<Direction> {
    let link = app.link()?;
    let (moving, _) = link.moving.as_ref()?;
    let place = link
        .info
        .motion
        .iter()
        .position(|name| *name == moving.command)?;
    Direction::ALL.get(place).copied()
}
