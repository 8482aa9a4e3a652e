//! Owns where each pane is: from the terminal's size alone. Drawing and mouse both ask it.

use ratatui::layout::{Constraint, Layout, Position, Rect};

use crate::drive::Direction;

/// A cell of the pad, in columns and rows.
const CELL: (u16, u16) = (7, 3);
/// The pad: three cells each way.
pub const PAD: (u16, u16) = (3 * CELL.0, 3 * CELL.1);

/// How much there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScreenShape {
    /// 100 × 30 and more: everything.
    Full,
    /// 60 columns and more: stacked.
    Stacked,
    /// 40 × 8 and more: state, direction, RTT.
    Strip,
}

/// The shape for this size.
#[must_use]
pub fn shape((width, height): (u16, u16)) -> ScreenShape {
    match (width, height) {
        (100.., 30..) => ScreenShape::Full,
        (60.., 18..) => ScreenShape::Stacked,
        _ => ScreenShape::Strip,
    }
}

/// The parts of the screen.
#[derive(Debug, Clone, Copy)]
pub struct ScreenAreas {
    /// How much there is room for.
    pub shape: ScreenShape,
    /// Screens, router, state.
    pub header: Rect,
    /// A lost hop, a request.
    pub banner: Rect,
    /// The screen's panes.
    pub body: Rect,
    /// A notice, or what is typed.
    pub line: Rect,
    /// Keys.
    pub footer: Rect,
}

/// The parts of a screen of this size, with so many lines of banner and of notice or typing.
#[must_use]
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

/// The panes of the Drive screen.
#[derive(Debug, Clone, Copy)]
pub struct DriveAreas {
    /// The pad.
    pub pad: Rect,
    /// Asked, acknowledged, ran.
    pub facts: Rect,
    /// Round trips.
    pub round_trips: Rect,
    /// The last runs and events.
    pub runs: Rect,
}

/// The panes of the Drive screen in this body.
#[must_use]
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
#[must_use]
pub fn cell(pad: Rect, direction: Direction) -> Rect {
    let (column, row) = match direction {
        Direction::Forward => (1, 0),
        Direction::Left => (0, 1),
        Direction::Right => (2, 1),
        Direction::Back => (1, 2),
    };
    cell_at(pad, column, row)
}

/// The cell in the middle: stop.
#[must_use]
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

/// The direction that is at this place of the screen.
#[must_use]
pub fn pad_at(pad: Rect, place: Position) -> Option<Direction> {
    let mut all = Direction::ALL.into_iter();
    all.find(|direction| cell(pad, *direction).contains(place))
}
