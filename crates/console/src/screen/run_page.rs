//! The page of one run: command, origin, result and output.

use std::time::Duration;

use p2p_shared::protocol::RunInfo;
use ratatui::text::Line;

use super::output::output_lines;
use super::theme::Theme;
use crate::text::{arguments, bytes, fit, is_of_link, named, short, source_word, who, worded};

/// Columns of a field's name.
const NAME: usize = 10;

/// Lines of the page of a run with this time and outcome, at most `columns` wide.
pub(crate) fn lines<'a>(
    run: &RunInfo,
    asked_at: &str,
    outcome: String,
    columns: usize,
    theme: Theme,
) -> Vec<Line<'a>> {
    let mut lines = Vec::new();
    let mut field = |name: &str, value: String| {
        let texts = worded(&fit(&value, 2000), columns.saturating_sub(NAME));
        lines.extend(named(name, NAME, theme.quiet(), texts));
    };
    let link = format!("{} :{}", run.link, run.service_port);
    if let Some(result) = run.result.as_ref().filter(|_| is_of_link(run)) {
        field("what", run.command.to_string());
        field("link", link);
        field("at", asked_at.to_owned());
        field("why", result.why.to_string());
        return lines;
    }
    field(
        "command",
        format!("{}{}", run.command, arguments(&run.arguments)),
    );
    field("link", link);
    field(
        "asked",
        format!(
            "{asked_at} by {} from {}",
            source_word(run.source),
            who(run)
        ),
    );
    field("result", outcome);
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
            lines.extend(output_lines(text, columns, theme));
        }
    }
    lines
}
