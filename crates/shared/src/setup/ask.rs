//! Asks the person at the terminal what nobody has said yet.

use std::fmt::Display;
use std::io::{BufRead, Write};
use std::str::FromStr;

use anyhow::{anyhow, bail};

use crate::text::Escaped;

/// How questions are answered.
#[derive(Debug, Clone, Copy)]
pub struct Questions {
    /// By their defaults (`--yes`): nobody is asked.
    pub yes: bool,
}

impl Questions {
    /// Returns the answer: what was `given`, else what somebody types, else the default.
    ///
    /// # Errors
    /// If nobody is there to answer, or there is no default and nobody is to be asked.
    pub fn ask<T>(self, what: &str, given: Option<T>, default: Option<T>) -> anyhow::Result<T>
    where
        T: Clone + FromStr<Err: Display> + Display,
    {
        self.ask_for(what, given, default, |_| Ok(()))
    }

    /// Returns an answer that this lets pass: one that is typed and can't be is asked for again.
    ///
    /// # Errors
    /// As [`ask`](Self::ask), and if what nobody types can't be.
    pub fn ask_for<T>(
        self,
        what: &str,
        given: Option<T>,
        default: Option<T>,
        check: impl Fn(&T) -> anyhow::Result<()>,
    ) -> anyhow::Result<T>
    where
        T: Clone + FromStr<Err: Display> + Display,
    {
        let (mut input, mut output) = (std::io::stdin().lock(), std::io::stderr());
        self.ask_on(&mut input, &mut output, what, (given, default), check)
    }

    fn ask_on<T>(
        self,
        input: &mut impl BufRead,
        output: &mut impl Write,
        what: &str,
        (given, default): (Option<T>, Option<T>),
        check: impl Fn(&T) -> anyhow::Result<()>,
    ) -> anyhow::Result<T>
    where
        T: Clone + FromStr<Err: Display> + Display,
    {
        if given.is_some() || self.yes {
            let Some(said) = given.or(default) else {
                bail!("{what}? With --yes this has to be said, see --help");
            };
            return check(&said).map(|()| said);
        }
        let shown = default.as_ref().map(|it| format!(" [{it}]"));
        let shown = shown.unwrap_or_default();
        loop {
            write!(output, "{what}{}: ", Escaped(&shown))?;
            output.flush()?;
            let mut line = String::new();
            if input.read_line(&mut line)? == 0 {
                bail!("{what}? Nobody is there to answer: say it on the command line (see --help)");
            }
            let typed = match (line.trim(), &default) {
                ("", Some(default)) => Ok(default.clone()),
                (text, _) => text.parse().map_err(|why: T::Err| anyhow!("{why}")),
            };
            match typed.and_then(|answer| check(&answer).map(|()| answer)) {
                Ok(answer) => return Ok(answer),
                Err(why) => writeln!(output, "{}", Escaped(&format!("{why:#}")))?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(
        yes: bool,
        typed: &str,
        given: Option<u16>,
        default: Option<u16>,
    ) -> (Option<u16>, String) {
        let mut output = Vec::new();
        let questions = Questions { yes };
        let mut input = typed.as_bytes();
        let not_9 = |port: &u16| match port {
            9 => Err(anyhow!("9 is taken")),
            _ => Ok(()),
        };
        let asked = questions.ask_on(&mut input, &mut output, "The port", (given, default), not_9);
        (asked.ok(), String::from_utf8(output).unwrap())
    }

    #[test]
    fn what_is_said_is_not_asked_and_what_is_typed_wins_over_the_default() {
        assert_eq!(ask(false, "", Some(1), Some(2)), (Some(1), String::new()));
        assert_eq!(ask(true, "", None, Some(2)), (Some(2), String::new()));
        assert_eq!(ask(true, "", None, None).0, None);
        assert_eq!(
            ask(false, "\n", None, Some(2)),
            (Some(2), "The port [2]: ".to_owned())
        );
        assert_eq!(ask(false, " 3 \n", None, Some(2)).0, Some(3));
    }

    #[test]
    fn what_can_not_be_is_asked_again_until_nobody_answers() {
        let (answer, said) = ask(false, "x\n\n7\n", None, None);
        assert_eq!(answer, Some(7));
        assert_eq!(said.matches("The port: ").count(), 3, "{said}");
        assert!(said.contains("invalid digit"), "{said}");
        assert_eq!(ask(false, "x\n", None, Some(2)).0, None);
        let (answer, said) = ask(false, "9\n\n7\n", None, Some(9));
        assert_eq!(answer, Some(7));
        assert_eq!(said.matches("9 is taken").count(), 2, "{said}");
        for (yes, given, default) in [(false, Some(9), Some(2)), (true, None, Some(9))] {
            assert_eq!(ask(yes, "7\n", given, default).0, None);
        }
    }
}
