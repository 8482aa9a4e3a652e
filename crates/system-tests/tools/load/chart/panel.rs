//! Owns where things stand in a panel.
//!
//! ```text
//!    ── worker, p50   ┄┄ worker, p99
//!    milliseconds
//! 10 ┼─────────────────────────
//!    │
//!  1 ┼─────────────────────────
//!      100        1,000
//!              requests a second
//! ```

use super::lines::{Panel, Series};
use super::scale::{self, Scale};
use super::svg::{Anchor, Svg};

pub(super) const HEIGHT: f64 = 380.0;
/// Around the plot.
const LEFT: f64 = 62.0;
const TOP: f64 = 86.0;
const RIGHT: f64 = 30.0;
const BOTTOM: f64 = 54.0;
/// From the panel's edge to the texts at it.
const MARGIN: f64 = 16.0;

impl Panel {
    pub(super) fn draw(&self, svg: &mut Svg, left: f64, right: f64) -> anyhow::Result<()> {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let bottom = HEIGHT - BOTTOM;
        let (xs, ys) = (points().map(|point| point.0), points().map(|point| point.1));
        let x = Scale::new(self.x_kind, xs, left + LEFT, right - RIGHT)?;
        let y = Scale::new(self.y_kind, ys, bottom, TOP)?;
        for tick in y.ticks(80.0) {
            let at = y.at(tick);
            svg.path("", &[(left + LEFT, at), (right - RIGHT, at)]);
            let place = (left + LEFT - 8.0, at + 4.0);
            svg.text("", Anchor::End, place, &scale::text(tick));
        }
        for tick in x.ticks(150.0) {
            let at = x.at(tick);
            svg.path("", &[(at, bottom), (at, TOP)]);
            svg.text("", Anchor::Middle, (at, bottom + 18.0), &scale::text(tick));
        }
        svg.text(
            "",
            Anchor::Start,
            (left + MARGIN, TOP - 14.0),
            &self.y_label,
        );
        let below = (right - RIGHT, HEIGHT - 14.0);
        svg.text("", Anchor::End, below, &self.x_label);
        for series in &self.series {
            series.draw(svg, &x, &y);
        }
        if self.series.len() > 1 {
            self.draw_legend(svg, left + MARGIN);
        }
        Ok(())
    }

    fn draw_legend(&self, svg: &mut Svg, mut left: f64) {
        for series in &self.series {
            let (middle, end) = (46.0, left + 24.0);
            svg.path(&series.class(), &[(left, middle), (end, middle)]);
            let place = (end + 7.0, middle + 4.0);
            svg.text("name", Anchor::Start, place, &series.name);
            #[expect(clippy::cast_precision_loss, reason = "a few letters")]
            let letters = series.name.chars().count() as f64;
            left = end + 28.0 + 6.6 * letters;
        }
    }
}

impl Series {
    fn class(&self) -> String {
        format!("line {} c{}", self.line, self.colour)
    }

    fn draw(&self, svg: &mut Svg, x: &Scale, y: &Scale) {
        let places: Vec<(f64, f64)> = self
            .points
            .iter()
            .map(|point| (x.at(point.0), y.at(point.1)))
            .collect();
        svg.path(&self.class(), &places);
        for (place, (_, value)) in places.iter().zip(&self.points) {
            // Where there are many, the line says it all.
            if self.points.len() <= 30 {
                svg.dot(&format!("c{}", self.colour), *place);
            }
            if self.line == "labelled" {
                let above = (place.0, place.1 - 10.0);
                svg.text("name", Anchor::Middle, above, &scale::text(*value));
            }
        }
    }
}
