//! A command's output as lines. Its colours (SGR, of the terminal's 16) are kept; every other control
//! sequence is escaped, and seen as what it is.

use p2p_shared::text::EscapedBytes;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthChar;

use super::theme::Theme;

/// Most characters of a line between two changes of colour.
const LONGEST: usize = 2000;
/// Most parameters of a sequence that are read.
const PARAMETERS: usize = 16;
const COLOURS: [Color; 16] = [
    Color::Black,
    Color::Red,
    Color::Green,
    Color::Yellow,
    Color::Blue,
    Color::Magenta,
    Color::Cyan,
    Color::Gray,
    Color::DarkGray,
    Color::LightRed,
    Color::LightGreen,
    Color::LightYellow,
    Color::LightBlue,
    Color::LightMagenta,
    Color::LightCyan,
    Color::White,
];

/// Output as lines of at most this many columns.
pub(crate) fn output_lines<'a>(output: &[u8], columns: usize, theme: Theme) -> Vec<Line<'a>> {
    let output = output.strip_suffix(b"\n").unwrap_or(output);
    let mut style = Style::new();
    let lines = output.split(|byte| *byte == b'\n');
    lines
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .flat_map(|line| folded(&pieces(line, &mut style), columns, theme))
        .collect()
}

/// The pieces of a line between changes of colour, escaped; `style` is that of the line's end.
fn pieces(mut line: &[u8], style: &mut Style) -> Vec<(Style, String)> {
    let mut pieces = Vec::new();
    let mut add = |text: &[u8], style| {
        let text = EscapedBytes(text).cut(LONGEST).to_string();
        pieces.push((style, text.replace("\\t", "    ")));
    };
    let mut from = 0;
    while let Some(at) = find(line, from) {
        match sequence(&line[at + 2..]) {
            Some((parameters, rest)) => {
                add(&line[..at], *style);
                *style = changed(*style, &parameters);
                (line, from) = (rest, 0);
            }
            None => from = at + 2,
        }
    }
    add(line, *style);
    pieces
}

fn find(line: &[u8], from: usize) -> Option<usize> {
    let rest = line.get(from..)?;
    let at = rest.windows(2).position(|two| two == b"\x1b[")?;
    Some(from + at)
}

/// The parameters of a sequence that only changes colours, and what follows it.
fn sequence(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let end = bytes
        .iter()
        .position(|byte| !matches!(byte, b'0'..=b'9' | b';'))?;
    let (numbers, rest) = bytes.split_at(end);
    let rest = rest.strip_prefix(b"m")?;
    let numbers = numbers.split(|byte| *byte == b';').take(PARAMETERS);
    let number = |digits: &[u8]| match digits {
        [] => Some(0),
        digits => std::str::from_utf8(digits).ok()?.parse().ok(),
    };
    Some((numbers.map(number).collect::<Option<_>>()?, rest))
}

fn changed(mut style: Style, parameters: &[u8]) -> Style {
    let colour = |n: u8| COLOURS.get(usize::from(n)).copied();
    let mut rest = parameters.iter().copied();
    while let Some(parameter) = rest.next() {
        style = match parameter {
            0 => Style::new(),
            1 => style.add_modifier(Modifier::BOLD),
            2 => style.add_modifier(Modifier::DIM),
            3 => style.add_modifier(Modifier::ITALIC),
            4 => style.add_modifier(Modifier::UNDERLINED),
            7 => style.add_modifier(Modifier::REVERSED),
            9 => style.add_modifier(Modifier::CROSSED_OUT),
            22 => style.remove_modifier(Modifier::BOLD | Modifier::DIM),
            23 => style.remove_modifier(Modifier::ITALIC),
            24 => style.remove_modifier(Modifier::UNDERLINED),
            27 => style.remove_modifier(Modifier::REVERSED),
            29 => style.remove_modifier(Modifier::CROSSED_OUT),
            30..=37 => Style {
                fg: colour(parameter - 30),
                ..style
            },
            90..=97 => Style {
                fg: colour(parameter - 82),
                ..style
            },
            39 => Style { fg: None, ..style },
            40..=47 => Style {
                bg: colour(parameter - 40),
                ..style
            },
            100..=107 => Style {
                bg: colour(parameter - 92),
                ..style
            },
            49 => Style { bg: None, ..style },
            // Of 256 colours the first 16 are the terminal's own; the others have no place here.
            38 | 48 => {
                let chosen = match rest.next() {
                    Some(5) => rest.next().and_then(colour),
                    Some(2) => rest.nth(2).and(None),
                    _ => None,
                };
                match parameter {
                    38 => Style {
                        fg: chosen,
                        ..style
                    },
                    _ => Style {
                        bg: chosen,
                        ..style
                    },
                }
            }
            _ => style,
        };
    }
    style
}

/// Leaves out what can't be read: a colour on itself, and one that may be the terminal's own background or text, which
/// is dark at one terminal and light at another.
fn readable(style: Style) -> Style {
    let may_be_hidden = |colour: Option<Color>| {
        let hides = [Color::Black, Color::Gray, Color::White];
        colour.is_some_and(|colour| hides.contains(&colour))
    };
    let (fg, bg) = match (style.fg, style.bg) {
        (Some(fg), Some(bg)) if fg == bg => (None, None),
        (fg, None) if may_be_hidden(fg) => (None, None),
        (None, bg) if may_be_hidden(bg) => (None, None),
        both => both,
    };
    Style { fg, bg, ..style }
}

/// Breaks the pieces of a line into lines of at most this many columns.
fn folded<'a>(pieces: &[(Style, String)], columns: usize, theme: Theme) -> Vec<Line<'a>> {
    let mut lines = vec![Line::default()];
    let mut left = columns;
    for (style, text) in pieces {
        let style = theme.of_output(readable(*style));
        let mut part = String::new();
        for c in text.chars() {
            let width = c.width().unwrap_or(0);
            if width > left {
                add(&mut lines, &mut part, style);
                lines.push(Line::default());
                left = columns;
            }
            left = left.saturating_sub(width);
            part.push(c);
        }
        add(&mut lines, &mut part, style);
    }
    lines
}

fn add(lines: &mut [Line<'_>], part: &mut String, style: Style) {
    if let Some(line) = lines.last_mut().filter(|_| !part.is_empty()) {
        line.push_span(Span::styled(std::mem::take(part), style));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(output: &[u8]) -> Vec<Line<'static>> {
        output_lines(output, 40, Theme::new(true))
    }

    #[test]
    fn colours_are_kept_over_lines_and_nothing_else_is_let_through() {
        let all = lines(b"a\x1b[1;31mred\nstill\x1b[0m \x1b[2J\x1b]52;c;eA==\x07\x1b[mend\x1b[");
        let text: Vec<String> = all.iter().map(ToString::to_string).collect();
        let shown = ["ared", "still \\u{1b}[2J\\u{1b}]52;c;eA==\\u{7}end\\u{1b}["];
        assert_eq!(text.concat(), shown.concat());
        let red = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
        assert_eq!((all[0].spans[1].style, all[1].spans[0].style), (red, red));
        assert_eq!(all[1].spans[1].style, Style::new());
        assert!(text.iter().all(|line| !line.contains('\x1b')));
        let plain = output_lines(b"\x1b[31mred", 40, Theme::new(false));
        assert_eq!(plain[0].spans[0].style, Style::new());
    }

    #[test]
    fn no_text_has_the_colour_of_what_is_behind_it() {
        let plain = Style::new();
        for (sequence, wanted) in [
            ("30;40", plain),
            ("31;41", plain),
            ("30", plain),
            ("97", plain),
            ("40", plain),
            ("107", plain),
            ("30;47", plain.fg(Color::Black).bg(Color::Gray)),
            ("31", plain.fg(Color::Red)),
        ] {
            let all = lines(format!("\x1b[{sequence}mx").as_bytes());
            assert_eq!(all[0].spans[0].style, wanted, "{sequence}");
        }
    }

    #[test]
    fn the_terminals_sixteen_are_all_that_there_is() {
        for (sequence, wanted) in [
            ("38;5;9", Some(Color::LightRed)),
            ("38;5;200", None),
            ("38;2;1;2;3", None),
            ("93", Some(Color::LightYellow)),
            ("31;39", None),
        ] {
            let all = lines(format!("\x1b[{sequence}mx").as_bytes());
            assert_eq!(all[0].spans[0].style.fg, wanted, "{sequence}");
        }
        // The parameters of a colour are no colours of their own.
        let all = lines(b"\x1b[38;2;31;31;31;4mx");
        assert_eq!(
            all[0].spans[0].style,
            Style::new().add_modifier(Modifier::UNDERLINED)
        );
    }

    proptest! {
        #[test]
        fn no_output_gets_a_control_character_to_the_screen(
            parts in proptest::collection::vec(prop_oneof![
                Just(b"\x1b[".to_vec()), Just(b"31m".to_vec()), Just(b"\x1b]52;c;".to_vec()),
                Just(b"\x9b".to_vec()), Just("東\u{202e}".as_bytes().to_vec()), any::<[u8; 3]>().prop_map(Vec::from),
            ], 0..30),
            columns in 1_usize..60,
        ) {
            for line in output_lines(&parts.concat(), columns, Theme::new(true)) {
                let text = line.to_string();
                prop_assert!(!text.contains(p2p_shared::text::is_hidden), "{text:?}");
                prop_assert!(line.width() <= columns.max(2));
            }
        }
    }
}
