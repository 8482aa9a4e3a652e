//! Owns the pages that people see in a browser until there is the drive page: how they look, and
//! that they are whole in themselves, without a script and without anything from elsewhere.

use std::fmt::Write;
use std::sync::LazyLock;

use data_encoding::BASE64;
use html_escape::{encode_double_quoted_attribute as attribute, encode_text as text};
use hyper::header::HeaderValue;
use p2p_shared::key::Role;
use p2p_shared::names::CommandName;
use p2p_shared::protocol::CommandInfo;
use ring::digest;

pub(crate) mod protocol;
pub(crate) mod session;

const STYLE: &str = include_str!("page/style.css");

/// The Content-Security-Policy of every page: nothing, but this style and forms to ourselves.
pub(crate) fn policy() -> HeaderValue {
    static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
        let style = BASE64.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()).as_ref());
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        );
        HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
    });
    POLICY.clone()
}

fn page(title: &str, main: &str) -> String {
    let title = text(title);
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{main}
</main>
</body>
</html>
"#
    )
}

/// Asks for a key, and says what was wrong, if it was asked for before.
pub(crate) fn sign_in(wrong: Option<&str>) -> String {
    let said = match wrong {
        None => "<p>This needs a key of the router, which its owner makes.</p>".to_owned(),
        Some(wrong) => format!(r#"<p class="problem" role="alert">{}</p>"#, text(wrong)),
    };
    // A password manager wants a name to keep the key under.
    let main = format!(
        r#"<h1>Sign in</h1>
{said}
<form method="post" action="/sign-in">
<input type="text" name="user" value="p2prouter" autocomplete="username" readonly hidden>
<label for="key">Key</label>
<input type="password" id="key" name="key" required autofocus maxlength="400" autocomplete="current-password" autocapitalize="none" spellcheck="false" aria-describedby="hint">
<button class="wide">Sign in</button>
</form>
<p class="soft" id="hint">Paste the whole key; it begins with <code>p2p1_</code>. This browser then stays signed in for a month. Signing in runs nothing: open the address that you wanted again.</p>"#
    );
    page("Sign in · p2prouter", &main)
}

/// Asks whether what was asked for at this address is to be run.
pub(crate) fn confirm(target: &str) -> String {
    let main = format!(
        r#"<h1>Run this?</h1>
<p><code>{}</code></p>
<p><a class="button wide" href="{}">Run it</a></p>
<p class="soft">Without TLS your browser doesn't say whether you asked for this or another page did. Nothing was run yet.</p>"#,
        text(target),
        attribute(target)
    );
    page("Run this? · p2prouter", &main)
}

/// The first page.
pub(crate) struct Home<'a> {
    /// The link's name.
    pub car: &'a str,
    /// With which key; `None` where there are none.
    pub signed_in: Option<(&'a str, Role)>,
    /// What can be run; `None` while the car is away.
    pub commands: Option<&'a [CommandInfo]>,
    /// Whether this person may run this.
    pub may_run: &'a dyn Fn(&CommandName) -> bool,
}

impl Home<'_> {
    pub(crate) fn html(&self) -> String {
        let mut main = format!("<h1>{}</h1>\n", text(self.car));
        match self.commands {
            None => {
                main += "<p class=\"problem\" role=\"status\">It is not connected to the router. Load this page again in a moment.</p>\n"
            }
            Some([]) => {
                main += "<p>It is connected, and has no commands: put executable files into its command folder.</p>\n"
            }
            Some(commands) => self.list(&mut main, commands),
        }
        match self.signed_in {
            Some((name, role)) => {
                let name = text(name);
                // Writing to a string can't fail.
                let _ = write!(
                    main,
                    r#"<p class="soft">Signed in as <strong>{name}</strong> ({role}).</p>
<form method="post" action="/sign-out"><button class="quiet">Sign out</button></form>"#
                );
            }
            None => {
                main += "<p class=\"soft\">This router has no keys: everyone who reaches it may run these.</p>"
            }
        }
        page(&format!("{} · p2prouter", self.car), &main)
    }

    fn list(&self, main: &mut String, commands: &[CommandInfo]) {
        *main += "<form action=\"/cgi\" class=\"commands\" aria-label=\"Commands\">\n";
        for command in commands {
            let name = command.name.as_str();
            let (value, name) = (attribute(name), text(name));
            let refused = match &command.problem {
                Some(problem) => format!(" disabled title=\"{}\"", attribute(problem)),
                None if !(self.may_run)(&command.name) => {
                    " disabled title=\"This key may only stop the car\"".to_owned()
                }
                None => String::new(),
            };
            let _ = writeln!(
                main,
                "<button name=\"command\" value=\"{value}\"{refused}>{name}</button>"
            );
        }
        *main += "</form>\n";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_named_is_shown_and_does_nothing() {
        let evil = "\"'><script>alert(1)</script>";
        let commands = [CommandInfo {
            name: "a\"><img src=x>".to_owned().try_into().unwrap(),
            problem: Some(evil.to_owned()),
        }];
        let home = Home {
            car: evil,
            signed_in: Some((evil, Role::View)),
            commands: Some(&commands),
            may_run: &|_| false,
        };
        for html in [
            home.html(),
            sign_in(Some(evil)),
            confirm(&format!("/cgi?{evil}")),
        ] {
            assert!(
                !html.contains("<script") && !html.contains("<img"),
                "{html}"
            );
            assert!(!html.contains("=\"\"'"), "{html}");
        }
    }
}
