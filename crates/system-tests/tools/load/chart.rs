//! Owns the pictures: panels of lines, as an SVG that can be read on light and on dark pages. What is drawn is said on standard input; see `lines`.

use clap::Args;

mod lines;
mod panel;
mod scale;
mod svg;

/// How it is drawn.
#[derive(Args)]
pub(crate) struct Options {
    /// What stands above it, and is read out to those who can't see it
    #[arg(long)]
    title: String,
    /// Of one panel, in pixels
    #[arg(long, default_value = "760")]
    width: f64,
}

impl Options {
    /// Prints the picture.
    pub(crate) fn draw(&self) -> anyhow::Result<()> {
        let panels = lines::read(&std::io::read_to_string(std::io::stdin())?)?;
        let places: Vec<f64> = std::iter::successors(Some(0.0), |left| Some(left + self.width))
            .take(panels.len())
            .collect();
        let width = self.width + places.last().copied().unwrap_or_default();
        let mut svg = svg::Svg::new(width, panel::HEIGHT, &self.title);
        for (panel, left) in panels.iter().zip(places) {
            panel.draw(&mut svg, left, left + self.width)?;
        }
        println!("{}", svg.finish());
        Ok(())
    }
}
