//! Areas of the screen, from the terminal's size. Used for drawing and for the mouse.

use ratatui::layout::{Constraint, Layout, Position, Rect};

use crate::drive::Direction;

/// Size of a cell of the pad, in columns and rows.
const CELL: (u16, u16) = (7, 3);
/// Size of the pad: three cells each way.
pub const PAD: (u16, u16) = (3 * CELL.0, 3 * CELL.1);

/// Amount of detail that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScreenShape {
    /// From 100 × 30: everything.
    Full,
    /// From 60 × 18: stacked.
    Stacked,
    /// Smaller: state, direction and round trip.
    Strip,
}

/// The shape for this terminal size.
pub fn shape((width, height): (u16, u16)) -> ScreenShape {
    match (width, height) {
        (100.., 30..) => ScreenShape::Full,
        (60.., 18..) => ScreenShape::Stacked,
        _ => ScreenShape::Strip,
    }
}

#[derive(Debug, Clone, Copy)]
pub struct ScreenAreas {
    pub shape: ScreenShape,
    /// Screens, router, state.
    pub header: Rect,
    /// A lost connection, or a request for control.
    pub banner: Rect,
    /// The screen's panes.
    pub body: Rect,
    /// A notice, or the text field.
    pub line: Rect,
    pub footer: Rect,
}

/// Areas of a screen of this size, with this many lines of banner, and of notice or text field.
pub fn areas((width, height): (u16, u16), banner: u16, line: u16) -> ScreenAreas {
    let parts = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(banner),
        Constraint::Min(1),
        Constraint::Length(line),
        Constraint::Length(1),
    ]);
    let [header, banner, body, line, footer] = parts.areas(Rect::new(0, 0, width, height));
    ScreenAreas {
        shape: shape((width, height)),
        header,
        banner,
        body,
        line,
        footer,
    }
}

#[derive(Debug, Clone, Copy)]
pub struct DriveAreas {
    pub pad: Rect,
    /// Requested, acknowledged and ended motion.
    pub facts: Rect,
    pub round_trips: Rect,
    /// The last runs and events.
    pub runs: Rect,
}

pub fn drive(body: Rect) -> DriveAreas {
    let wide = body.width >= 100 && body.height >= 20;
    let top_rows = if wide { 13 } else { PAD.1 };
    let rows = Layout::vertical([
        Constraint::Length(top_rows.min(body.height)),
        Constraint::Length(if wide { 0 } else { 4 }),
        Constraint::Min(0),
    ]);
    let [top, middle, runs] = rows.areas(body);
    let columns = Layout::horizontal([
        Constraint::Length(PAD.0 + 2),
        Constraint::Min(20),
        Constraint::Length(if wide { 38 } else { 0 }),
    ]);
    let [pad, facts, right] = columns.areas(top);
    let pad = Rect {
        x: pad.x + 1,
        y: pad.y + (pad.height.saturating_sub(PAD.1)) / 2,
        width: PAD.0.min(pad.width.saturating_sub(1)),
        height: PAD.1.min(pad.height),
    };
    DriveAreas {
        pad,
        facts,
        round_trips: if wide { right } else { middle },
        runs,
    }
}

/// The cell of a direction on the pad.
pub fn cell(pad: Rect, direction: Direction) -> Rect {
    let (column, row) = match direction {
        Direction::Forward => (1, 0),
        Direction::Left => (0, 1),
        Direction::Right => (2, 1),
        Direction::Back => (1, 2),
    };
    cell_at(pad, column, row)
}

/// The cell in the middle of the pad.
pub fn stop_cell(pad: Rect) -> Rect {
    cell_at(pad, 1, 1)
}

fn cell_at(pad: Rect, column: u16, row: u16) -> Rect {
    Rect::new(
        pad.x + column * CELL.0,
        pad.y + row * CELL.1,
        CELL.0,
        CELL.1,
    )
    .intersection(pad)
}

/// The direction at this position of the screen.
pub fn pad_at(pad: Rect, place: Position) -> Option<Direction> {
    let mut all = Direction::ALL.into_iter();
    all.find(|direction| cell(pad, *direction).contains(place))
}
