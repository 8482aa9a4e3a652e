//! Owns the figures: percentiles, aims, and the table that can be pasted.

use std::time::Duration;

/// One line of the table.
pub struct TableRow {
    pub what: String,
    pub rounds: usize,
    /// Smallest, middle, 99th of 100, largest.
    pub figures: [String; 4],
    pub aim: String,
    pub is_met: Option<bool>,
    /// Whether a car is in danger where it is missed.
    pub is_safety: bool,
    load: String,
}

impl TableRow {
    /// Times, of which the largest has to be at most `aim`. `None`: it never happened.
    pub fn of_times(what: &str, times: &[Option<Duration>], aim: Option<Duration>) -> Self {
        let mut sorted: Vec<Duration> = times.iter().copied().flatten().collect();
        sorted.sort_unstable();
        let never = times.len() - sorted.len();
        let at = |share: usize| percentile(&sorted, share).map_or("-".to_owned(), ms);
        let mut row = Self::new(what, times.len());
        row.figures = [at(0), at(50), at(99), at(100)];
        if never > 0 {
            row.figures[3] = format!("never: {never}");
        }
        if let Some(aim) = aim {
            row.aim = format!("max ≤ {}", ms(aim));
            row.is_met = Some(never == 0 && sorted.last().is_some_and(|last| *last <= aim));
        }
        row
    }

    /// A line without figures yet.
    pub fn new(what: &str, rounds: usize) -> Self {
        Self {
            what: what.to_owned(),
            rounds,
            figures: ["-"; 4].map(str::to_owned),
            aim: "-".to_owned(),
            is_met: None,
            is_safety: false,
            load: load(),
        }
    }

    fn is_missed(&self) -> bool {
        self.is_met == Some(false)
    }

    fn line(&self) -> String {
        let met = match self.is_met {
            Some(true) => "pass",
            Some(false) => "FAIL",
            None => "-",
        };
        let [min, p50, p99, max] = &self.figures;
        format!(
            "| {} | {} | {min} | {p50} | {p99} | {max} | {} | {met} | {} |",
            self.what, self.rounds, self.aim, self.load
        )
    }
}

/// The value below which so many of a hundred are.
pub fn percentile(sorted: &[Duration], share: usize) -> Option<Duration> {
    let rank = (sorted.len() * share).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

pub fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// How busy this machine was in the last minute.
fn load() -> String {
    let loads = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    loads.split(' ').next().unwrap_or_default().to_owned()
}

/// The lines of the table, printed as they come.
#[derive(Default)]
pub struct ResultTable(Vec<TableRow>);

impl ResultTable {
    pub fn add(&mut self, row: TableRow) {
        eprintln!("{}", row.line());
        self.0.push(row);
    }

    /// Prints it; whether no aim about safety was missed.
    pub fn print(&self) -> bool {
        println!("| measured | rounds | min | p50 | p99 | max | aim | | load |");
        println!("| --- | ---: | ---: | ---: | ---: | ---: | --- | --- | ---: |");
        for row in &self.0 {
            println!("{}", row.line());
        }
        !self.0.iter().any(|row| row.is_safety && row.is_missed())
    }
}
