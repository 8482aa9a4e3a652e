//! Owns a program and its arguments as one setting: words as a shell splits them, without a shell.

use std::str::FromStr;

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine(Vec<String>);

/// Error for a text that is no command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a program with its arguments: a quote is open, or it is empty")]
pub struct NoCommandLine;

impl CommandLine {
    /// Returns the program and its arguments.
    #[must_use]
    pub fn into_words(self) -> Vec<String> {
        self.0
    }
}

impl FromStr for CommandLine {
    type Err = NoCommandLine;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_one = |words: &Vec<String>| {
            words.first().is_some_and(|program| !program.is_empty())
                && !words.iter().any(|word| word.contains('\0'))
        };
        shlex::split(text)
            .filter(is_one)
            .map(Self)
            .ok_or(NoCommandLine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_does_and_nothing_else_is_done_to_them() {
        let words = |text: &str| text.parse().map(CommandLine::into_words);
        assert_eq!(
            words(r#"cam -o - 'a b' "c $d" e\ f *.jpg"#),
            Ok(["cam", "-o", "-", "a b", "c $d", "e f", "*.jpg"]
                .map(str::to_owned)
                .into())
        );
        for none in [
            "",
            "  ",
            "cam 'open",
            "cam \"open",
            "cam \\",
            "''",
            "cam a\0b",
        ] {
            assert_eq!(words(none), Err(NoCommandLine), "{none:?}");
        }
    }
}
