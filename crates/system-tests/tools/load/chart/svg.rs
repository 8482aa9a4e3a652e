//! Owns the words of SVG.

use std::fmt::Write;

/// The background is the picture's own: a page may be dark where its reader's system is not.
const STYLE: &str = "
svg { --back: #fff; --ink: #1f2328; --dim: #59636e; --grid: #d1d9e0; --c1: #0969da; --c2: #bc4c00 }
@media (prefers-color-scheme: dark) {
  svg { --back: #0d1117; --ink: #f0f6fc; --dim: #9198a1; --grid: #30363d; --c1: #58a6ff; --c2: #f0883e }
}
text { font: 12px system-ui, sans-serif; fill: var(--dim) }
.title { font-size: 14px; font-weight: 600 }
.title, .name { fill: var(--ink) }
path { fill: none; stroke: var(--grid); stroke-width: 1 }
.line { stroke-width: 2.25; stroke-linejoin: round; stroke-linecap: round }
.dashed { stroke-dasharray: 3 5 }
.c1 { stroke: var(--c1) }
.c2 { stroke: var(--c2) }
circle { fill: var(--back); stroke-width: 2.25 }
";

/// Which end of a text its place is.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A picture that is being drawn.
pub(super) struct Svg(String);

impl Svg {
    pub(super) fn new(width: f64, height: f64, title: &str) -> Self {
        let mut svg = Self(String::new());
        svg.line(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" role=\"img\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n\
             <rect width=\"{width}\" height=\"{height}\" rx=\"6\" style=\"fill: var(--back)\"/>"
        ));
        svg.text("title", Anchor::Start, (16.0, 26.0), title);
        svg
    }

    pub(super) fn text(&mut self, class: &str, anchor: Anchor, (x, y): (f64, f64), text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        self.line(format_args!(
            "<text class=\"{class}\" text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"
        ));
    }

    /// Through all these points.
    pub(super) fn path(&mut self, class: &str, points: &[(f64, f64)]) {
        let points: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{x:.1} {y:.1}"))
            .collect();
        let points = points.join("L");
        self.line(format_args!("<path class=\"{class}\" d=\"M{points}\"/>"));
    }

    pub(super) fn dot(&mut self, class: &str, (x, y): (f64, f64)) {
        self.line(format_args!(
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"
        ));
    }

    pub(super) fn finish(mut self) -> String {
        self.0.push_str("</svg>");
        self.0
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // A String takes all.
        let _ = writeln!(self.0, "{line}");
    }
}
