//! The screen of a terminal as a person would see it, from a program's bytes. Knows as much of a
//! terminal as the console uses.

use std::iter::repeat_n;

/// Rows of cells. An empty cell follows a wide character.
pub struct TerminalScreen {
    rows: Vec<Vec<String>>,
    row: usize,
    column: usize,
    /// A sequence that has not ended yet.
    rest: Vec<u8>,
}

impl TerminalScreen {
    pub fn new(columns: u16, rows: u16) -> Self {
        let mut screen = Self {
            rows: Vec::new(),
            row: 0,
            column: 0,
            rest: Vec::new(),
        };
        screen.resize(columns, rows);
        screen
    }

    pub fn resize(&mut self, columns: u16, rows: u16) {
        let empty = || repeat_n(" ".to_owned(), columns.into()).collect();
        self.rows.resize_with(rows.into(), empty);
        for row in &mut self.rows {
            row.resize(columns.into(), " ".to_owned());
        }
    }

    /// Draws these bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut bytes = [std::mem::take(&mut self.rest), bytes.to_vec()].concat();
        while !bytes.is_empty() {
            let Some(used) = self.step(&bytes) else {
                self.rest = bytes;
                return;
            };
            bytes.drain(..used);
        }
    }

    /// One character or sequence; `None`: it is not whole.
    fn step(&mut self, bytes: &[u8]) -> Option<usize> {
        match bytes[0] {
            0x1b if bytes.len() == 1 => None,
            0x1b if bytes[1] == b'[' => {
                let end = 2 + bytes[2..].iter().position(|b| (0x40..=0x7e).contains(b))?;
                let parameters = String::from_utf8_lossy(&bytes[2..end]).into_owned();
                self.control(&parameters, bytes[end]);
                Some(end + 1)
            }
            0x1b => Some(2),
            b'\r' => {
                self.column = 0;
                Some(1)
            }
            b'\n' => {
                self.row += 1;
                Some(1)
            }
            ..0x20 => Some(1),
            first => {
                let length = match first {
                    0xf0.. => 4,
                    0xe0.. => 3,
                    0xc0.. => 2,
                    _ => 1,
                };
                let character = String::from_utf8_lossy(bytes.get(..length)?).into_owned();
                let at = self.column;
                if let Some(cell) = self.rows.get_mut(self.row).and_then(|row| row.get_mut(at)) {
                    *cell = character;
                }
                self.column += 1;
                Some(length)
            }
        }
    }

    fn control(&mut self, parameters: &str, last: u8) {
        let number = |n: usize| -> usize {
            let one = parameters.split(';').nth(n);
            one.and_then(|one| one.parse().ok()).unwrap_or(1)
        };
        match last {
            b'H' => (self.row, self.column) = (number(0).max(1) - 1, number(1).max(1) - 1),
            b'J' => self
                .rows
                .iter_mut()
                .flatten()
                .for_each(|cell| *cell = " ".to_owned()),
            b'K' => {
                let here = self.column;
                if let Some(row) = self.rows.get_mut(self.row) {
                    row.iter_mut()
                        .skip(here)
                        .for_each(|cell| *cell = " ".to_owned());
                }
            }
            _ => {}
        }
    }

    /// The picture as text.
    pub fn text(&self) -> String {
        let rows = self.rows.iter().map(|row| row.concat());
        rows.map(|row| row.trim_end().to_owned() + "\n").collect()
    }
}
