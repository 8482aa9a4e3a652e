//! The page of one run: command, origin, result and output.

use std::time::Duration;

use p2p_shared::protocol::RunInfo;
use p2p_shared::text::EscapedBytes;
use ratatui::text::Line;

use super::theme::Theme;
use crate::text::{
    arguments, bytes, fit, named, outcome, short, source_word, time_of_day, who, worded, wrapped,
};

/// Columns of a field's name.
const NAME: usize = 10;

/// Lines of the page, at most `columns` wide.
pub(crate) fn lines<'a>(run: &RunInfo, columns: usize, theme: Theme) -> Vec<Line<'a>> {
    let mut lines = Vec::new();
    let mut field = |name: &str, value: String| {
        let texts = worded(&fit(&value, 2000), columns.saturating_sub(NAME));
        lines.extend(named(name, NAME, theme.quiet(), texts));
    };
    let link = format!("{} :{}", run.link, run.service_port);
    field(
        "command",
        format!("{}{}", run.command, arguments(&run.arguments)),
    );
    field("link", link);
    field(
        "asked",
        format!(
            "{} UTC by {} from {}",
            time_of_day(run.at_ms),
            source_word(run.source),
            who(run)
        ),
    );
    field("result", outcome(run));
    if let Some(result) = &run.result {
        let time = |us| short(Duration::from_micros(us));
        field("status", result.status.to_string());
        if !result.why.raw().is_empty() {
            field("why", result.why.to_string());
        }
        let exec = result.exec_us.map_or("–".to_owned(), time);
        field(
            "time",
            format!("link {}, exec {exec}", time(result.link_us)),
        );
        field("output", bytes(result.bytes));
        for (title, text) in [("", &result.output), ("standard error:", &result.stderr)] {
            if text.is_empty() {
                continue;
            }
            lines.push(Line::styled(title.to_owned(), theme.quiet()));
            lines.extend(output_lines(text, columns));
        }
    }
    lines
}

/// Output as lines of at most `columns` columns. Control characters are escaped.
pub(crate) fn output_lines<'a>(output: &[u8], columns: usize) -> Vec<Line<'a>> {
    let output = output.strip_suffix(b"\n").unwrap_or(output);
    let lines = output.split(|byte| *byte == b'\n');
    lines
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .flat_map(|line| {
            let line = EscapedBytes(line).cut(2000).to_string();
            wrapped(&line.replace("\\t", "    "), columns)
        })
        .map(Line::from)
        .collect()
}
