//! Screens of a terminal, one after the other, as one SVG that plays them in a loop.
//!
//! `recording SECONDS:FILE...` reads each file (a screen with its colours, as `tmux capture-pane -e`
//! writes it), shows it for so many seconds, and writes the SVG to standard output. Where animations
//! are not wanted (`prefers-reduced-motion`) or not supported, the first screen stands.

use std::fmt::Write as _;

use anstyle_svg::{Term, WIN10_CONSOLE};
use anyhow::{Context, ensure};

/// One screen: how long it is shown, in seconds, and its lines with their escape sequences.
struct Screen {
    seconds: f64,
    lines: String,
}

fn main() -> anyhow::Result<()> {
    let screens: Vec<Screen> = std::env::args()
        .skip(1)
        .map(|a| read(&a))
        .collect::<Result<_, _>>()?;
    ensure!(!screens.is_empty(), "no screens: recording SECONDS:FILE...");
    print!("{}", recording(&screens)?);
    Ok(())
}

fn read(argument: &str) -> anyhow::Result<Screen> {
    let (seconds, file) = argument
        .split_once(':')
        .context("a screen is SECONDS:FILE")?;
    let seconds: f64 = seconds
        .parse()
        .with_context(|| format!("not a number: {seconds}"))?;
    let lines = std::fs::read_to_string(file).with_context(|| file.to_owned())?;
    Ok(Screen { seconds, lines })
}

/// The screens on top of each other, each visible in its time only.
fn recording(screens: &[Screen]) -> anyhow::Result<String> {
    let term = Term::new().palette(WIN10_CONSOLE);
    let all: f64 = screens.iter().map(|screen| screen.seconds).sum();
    let (mut style, mut body) = (String::new(), String::new());
    let (mut width, mut height) = (0, 0);
    let mut begin = 0.0;
    for (number, screen) in screens.iter().enumerate() {
        let svg = term.render_svg(&screen.lines);
        width = width.max(attribute(&svg, "width")?);
        height = height.max(attribute(&svg, "height")?);
        let end = begin + screen.seconds;
        let (from, to) = (100.0 * begin / all, 100.0 * end / all);
        let hidden = if number == 0 { "" } else { "opacity: 0; " };
        writeln!(
            style,
            ".screen-{number} {{ {hidden}animation: screen-{number} {all}s step-end infinite; }}"
        )?;
        writeln!(
            style,
            "@keyframes screen-{number} {{ 0% {{ opacity: 0 }} {from:.2}% {{ opacity: 1 }} {to:.2}% {{ opacity: 0 }} }}"
        )?;
        writeln!(body, "<g class=\"screen-{number}\">\n{svg}</g>")?;
        begin = end;
    }
    Ok(format!(
        "<svg width=\"{width}px\" height=\"{height}px\" viewBox=\"0 0 {width} {height}\" xmlns=\"http://www.w3.org/2000/svg\">\n\
         <style>\n{style}@media (prefers-reduced-motion) {{ g {{ animation: none !important }} }}\n</style>\n\
         {body}</svg>\n"
    ))
}

/// The first attribute of this name, in pixels.
fn attribute(svg: &str, name: &str) -> anyhow::Result<u32> {
    let value = svg
        .split_once(&format!("{name}=\""))
        .and_then(|(_, rest)| rest.split_once("px\""));
    let (value, _) = value.with_context(|| format!("the SVG has no {name}"))?;
    Ok(value.parse()?)
}
