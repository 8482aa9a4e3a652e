//! Draws the Commands screen: the car's commands, and the output of a run.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph, Wrap};

use super::pane;
use crate::app::App;
use crate::app::command_list::{RunProgress, SentRun};
use crate::app::contact::Contact;
use crate::screen::layout;
use crate::text::{bytes, fit, short};

pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let [list, output] = layout::commands(area);
    render_list(frame, list, app);
    render_output(frame, output, app);
}

fn render_list(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let theme = app.theme();
    let commands = &app.commands;
    let width = usize::from(area.width.saturating_sub(2));
    let rows = usize::from(area.height.saturating_sub(2)).max(1);
    let first = layout::first_row(commands.selected, rows);
    let lines = commands.list.iter().zip(0..).skip(first).take(rows);
    let mut lines: Vec<Line<'_>> = lines
        .map(|(command, place)| {
            let mark = if command.problem.is_some() { '!' } else { ' ' };
            let text = fit(&format!("{mark} {}", command.name), width);
            let line = Line::from(format!("{text:width$}"));
            match app.chosen_contact() {
                _ if place == commands.selected => line.style(theme.selected()),
                Contact::Answers if !commands.is_old => line,
                _ => line.style(theme.quiet()),
            }
        })
        .collect();
    if lines.is_empty() {
        let text = match app.link() {
            None => "choose a link on Fleet",
            Some(_) if commands.complete => "none: put executable files into its command folder",
            Some(link) if !link.info.is_up => "the car is offline",
            Some(_) => "asking the car …",
        };
        lines.push(Line::styled(text, theme.quiet()));
    }
    let of = app.link().map(|link| format!(" of {}", link.info.name));
    let title = format!("Commands{}", of.unwrap_or_default());
    let title = format!(" {} ", fit(&title, width.saturating_sub(2)));
    let block = Block::bordered().title(title);
    frame.render_widget(
        Paragraph::new(lines)
            .wrap(Wrap { trim: false })
            .block(block),
        area,
    );
}

fn render_output(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let theme = app.theme();
    let width = usize::from(area.width.saturating_sub(4));
    let Some(run) = &app.commands.run else {
        let chosen = app.commands.chosen();
        let text = match chosen.and_then(|command| command.problem.as_ref()) {
            Some(problem) => fit(problem.raw(), 300),
            None if app.may_drive() => "Enter runs the selected command".to_owned(),
            None => "this console only watches".to_owned(),
        };
        let page = Paragraph::new(Line::styled(text, theme.quiet()))
            .wrap(Wrap { trim: true })
            .block(Block::bordered().title(" Output "));
        return frame.render_widget(page, area);
    };
    let rows = usize::from(area.height.saturating_sub(2));
    let columns = usize::from(area.width.saturating_sub(2));
    let mut lines = run.lines(columns, theme);
    let is_known = app.chosen_contact() == Contact::Answers;
    let end = Line::styled(fit(&progress(run, is_known), width), theme.strong());
    lines.drain(..(lines.len() + 1).saturating_sub(rows.max(1)));
    lines.push(end);
    let title = format!("{} {}", run.command, run.arguments);
    let title = format!(" {} ", fit(title.trim_end(), width));
    pane(frame, area, title, lines);
}

fn progress(run: &SentRun, is_known: bool) -> String {
    let output = bytes(run.bytes);
    match &run.progress {
        RunProgress::Asked => "… asked".to_owned(),
        RunProgress::Queued => "… the router has it".to_owned(),
        RunProgress::Started if !is_known => format!("? it ran when last heard, {output}"),
        RunProgress::Started => format!("… running, {output}"),
        RunProgress::Finished(end, exec_us) => {
            let end = match end {
                p2p_shared::protocol::End::Exit(0) => "✓ exit 0".to_owned(),
                p2p_shared::protocol::End::Exit(code) => format!("✗ exit {code}"),
                end => format!("✗ {end}"),
            };
            let exec = short(Duration::from_micros(*exec_us));
            format!("{end}, {exec}, {output}")
        }
        RunProgress::Refused(message) => format!("✗ it did not begin: {message}"),
        RunProgress::Cancelled => format!("✗ ended from here, {output}"),
        RunProgress::Lost => "✗ the link was lost: nobody knows what became of it".to_owned(),
    }
}
