//! Owns how a picture is said:
//!
//! ```text
//! panel latency, milliseconds | requests a second | linear x
//! series 1 solid | worker, p50
//! 500 0.12
//! 1000 0.13
//! ```
//!
//! A panel has its y axis' label above it and its x axis' label below, and may say which of its axes
//! are linear (`x`, `y` or both); a series has a colour (1 or
//! 2), a line (solid or dashed; labelled: each value is written at its point), a name, and points.

use anyhow::Context;

use super::scale::Kind;

pub(super) struct Panel {
    pub(super) y_label: String,
    pub(super) x_label: String,
    pub(super) x_kind: Kind,
    pub(super) y_kind: Kind,
    pub(super) series: Vec<Series>,
}

pub(super) struct Series {
    pub(super) colour: String,
    pub(super) line: String,
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

pub(super) fn read(text: &str) -> anyhow::Result<Vec<Panel>> {
    let mut panels: Vec<Panel> = Vec::new();
    for line in text.lines() {
        let (word, rest) = line.split_once(' ').context("a line of one word")?;
        let labels = rest.split_once(" | ");
        match (word, panels.last_mut()) {
            ("panel", _) => {
                let (y_label, behind) = labels.context("panel Y LABEL | X LABEL")?;
                let (x_label, linear) = behind.split_once(" | linear ").unwrap_or((behind, ""));
                let kind = |axis| match linear.split(' ').any(|it| it == axis) {
                    true => Kind::Linear,
                    false => Kind::Logarithmic,
                };
                panels.push(Panel {
                    y_label: y_label.to_owned(),
                    x_label: x_label.to_owned(),
                    x_kind: kind("x"),
                    y_kind: kind("y"),
                    series: Vec::new(),
                });
            }
            ("series", Some(panel)) => {
                let (style, name) = labels.context("series COLOUR LINE | NAME")?;
                let (colour, line) = style.split_once(' ').context("COLOUR LINE")?;
                panel.series.push(Series {
                    colour: colour.to_owned(),
                    line: line.to_owned(),
                    name: name.to_owned(),
                    points: Vec::new(),
                });
            }
            (x, Some(panel)) => {
                let series = panel.series.last_mut().context("no series yet")?;
                series.points.push((x.parse()?, rest.parse()?));
            }
            (_, None) => anyhow::bail!("no panel yet"),
        }
    }
    Ok(panels)
}
