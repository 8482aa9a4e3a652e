//! Areas of the screen, from the terminal's size. Used for drawing and for the mouse.

use ratatui::layout::{Constraint, Layout, Position, Rect};

use crate::drive::Direction;
use crate::keymap::Screen;

/// Size of a cell of the pad, in columns and rows.
const CELL: (u16, u16) = (7, 3);
/// Size of the pad: three cells each way.
pub const PAD: (u16, u16) = (3 * CELL.0, 3 * CELL.1);

/// Room that the picture takes on the Drive screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PictureSize {
    #[default]
    Off,
    /// Beside the last commands, or beside the pad.
    Small,
    /// All but header and footer.
    Large,
}

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
    /// A lost connection, a request for control, a notice.
    pub banner: Rect,
    /// The screen's panes.
    pub body: Rect,
    /// The keys, or the text field.
    pub footer: Rect,
}

/// Most rows of the banner.
pub const BANNER: u16 = 2;

/// Areas of a screen of this size. The rows of the banner are kept free, so that the pad never moves
/// under the mouse; the strip, which has no pad, gives it only as many as it `says`.
pub fn areas((width, height): (u16, u16), says: impl FnOnce() -> usize) -> ScreenAreas {
    let shape = shape((width, height));
    let banner = match shape {
        ScreenShape::Strip => u16::try_from(says()).unwrap_or(BANNER),
        ScreenShape::Full | ScreenShape::Stacked => BANNER,
    };
    let parts = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(banner),
        Constraint::Min(1),
        Constraint::Length(1),
    ]);
    let [header, banner, body, footer] = parts.areas(Rect::new(0, 0, width, height));
    ScreenAreas {
        shape,
        header,
        banner,
        body,
        footer,
    }
}

#[derive(Debug, Clone, Copy)]
pub struct DriveAreas {
    pub pad: Rect,
    /// Requested, acknowledged and ended motion; the round trips too, where they have no area.
    pub facts: Rect,
    pub round_trips: Option<Rect>,
    pub timeline: Rect,
    /// The last runs.
    pub runs: Rect,
    /// The last events of the car.
    pub events: Rect,
    /// The camera's picture, over what else is there.
    pub picture: Option<Rect>,
}

/// Rows of the timeline: its tracks, what happened, and its frame.
const TIMELINE: u16 = 6;

pub fn drive(body: Rect, picture: PictureSize) -> DriveAreas {
    let wide = body.width >= 100 && body.height >= 20;
    let top_rows = if wide { 13 } else { PAD.1 };
    let rows = Layout::vertical([
        Constraint::Length(top_rows),
        Constraint::Length(TIMELINE),
        Constraint::Min(0),
    ]);
    let [top, timeline, below] = rows.areas(body);
    let side = if wide { body.width * 3 / 10 } else { 0 };
    let columns = Layout::horizontal([
        Constraint::Length(PAD.0 + 2),
        Constraint::Min(20),
        Constraint::Length(side),
    ]);
    let [left, facts, right] = columns.areas(top);
    let pad = Rect {
        x: left.x + 1,
        y: left.y + (left.height.saturating_sub(PAD.1)) / 2,
        width: PAD.0.min(left.width.saturating_sub(1)),
        height: PAD.1.min(left.height),
    };
    let events = if wide { body.width * 4 / 10 } else { 0 };
    let parts = Layout::horizontal([Constraint::Min(0), Constraint::Length(events)]);
    let [runs, events] = parts.areas(below);
    let areas = DriveAreas {
        pad,
        facts,
        round_trips: wide.then_some(right),
        timeline,
        runs,
        events,
        picture: None,
    };
    match picture {
        PictureSize::Off => areas,
        PictureSize::Large => DriveAreas {
            picture: Some(body),
            ..areas
        },
        PictureSize::Small if wide => with_picture_below(areas, below),
        // There is room for a picture beside the pad only: the facts go below that.
        PictureSize::Small => DriveAreas {
            facts: Rect {
                width: left.width,
                ..timeline.union(below)
            },
            timeline: Rect::default(),
            runs: Rect::default(),
            picture: Some(Rect {
                x: left.right(),
                width: body.width.saturating_sub(left.width),
                ..body
            }),
            ..areas
        },
    }
}

/// The list of the Fleet screen, and the details of one car.
pub fn fleet(body: Rect) -> [Rect; 2] {
    let details = match body.height {
        40.. => 12,
        24.. => 8,
        15.. => 6,
        _ => 0,
    };
    Layout::vertical([Constraint::Min(0), Constraint::Length(details)]).areas(body)
}

/// The list of the Commands screen, and the output of a run.
pub fn commands(body: Rect) -> [Rect; 2] {
    let parts = if body.width >= 60 {
        Layout::horizontal([Constraint::Length(30), Constraint::Min(20)])
    } else {
        // At least one line of the list must be visible.
        Layout::vertical([
            Constraint::Max((body.height / 2).max(3)),
            Constraint::Min(0),
        ])
    };
    parts.areas(body)
}

/// The lines of a screen's list, without its frame.
pub fn list(screen: Screen, body: Rect) -> Option<Rect> {
    let (list, header) = match screen {
        Screen::Fleet => (fleet(body)[0], 1),
        Screen::Log => (body, 0),
        Screen::Commands => (commands(body)[0], 0),
        Screen::Drive => return None,
    };
    Some(Rect {
        x: list.x + 1,
        y: list.y + 1 + header,
        width: list.width.saturating_sub(2),
        height: list.height.saturating_sub(2 + header),
    })
}

/// The first line that is shown of a list, so that the selected one is seen.
pub fn first_row(selected: usize, rows: usize) -> usize {
    selected.saturating_sub(rows.max(1) - 1)
}

#[derive(Debug, Clone, Copy)]
pub struct PastAreas {
    pub timeline: Rect,
    /// Requested, acknowledged and ended motion.
    pub facts: Rect,
    pub events: Rect,
    pub picture: Option<Rect>,
}

/// Rows of the three facts and of their frame.
const FACTS: u16 = 5;
/// Least columns and rows beside the picture, and of it.
const BESIDE: (u16, u16) = (30, 12);

/// Areas of a past car's Drive screen.
pub fn past(body: Rect, picture: PictureSize) -> PastAreas {
    let rows = Layout::vertical([Constraint::Length(TIMELINE), Constraint::Min(0)]);
    let [timeline, below] = rows.areas(body);
    let has_room = below.width >= 2 * BESIDE.0 && below.height >= BESIDE.1;
    let picture = match picture {
        PictureSize::Large if has_room => Some(below),
        PictureSize::Small if has_room => Some(at_right(below, below.width - BESIDE.0)),
        _ => None,
    };
    let beside = Rect {
        width: picture.map_or(below.width, |picture| picture.x - below.x),
        ..below
    };
    let parts = Layout::vertical([Constraint::Length(FACTS), Constraint::Min(0)]);
    let [facts, events] = parts.areas(beside);
    PastAreas {
        timeline,
        facts,
        events,
        picture,
    }
}

/// The part at the right for a picture of 4 : 3 in cells of 1 : 2, and its frame.
fn at_right(below: Rect, most: u16) -> Rect {
    let width = (below.height.saturating_sub(2) * 8 / 3 + 2).min(most);
    let x = below.right().saturating_sub(width);
    Rect { x, width, ..below }
}

/// The picture at the right below the pad, the events gone, and the runs in the room that is left.
fn with_picture_below(areas: DriveAreas, below: Rect) -> DriveAreas {
    let picture = at_right(below, below.width * 2 / 3);
    DriveAreas {
        runs: Rect {
            width: picture.x - below.x,
            ..below
        },
        events: Rect::default(),
        picture: Some(picture),
        ..areas
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
