//! HTML of the drive page and of the page of all cars as the router sends them: the car's name, its commands as forms
//! that work without a script, and who is signed in. The scripts are in the files beside this one.

use std::fmt::Write;

use html_escape::{encode_double_quoted_attribute as attribute, encode_text as text};
use p2p_shared::key::Role;
use p2p_shared::names::CommandName;
use p2p_shared::protocol::CommandInfo;

const TEMPLATE: &str = include_str!("home.html");

pub(crate) struct DrivePage<'a> {
    pub car: &'a str,
    /// Name of the car's key; empty without keys.
    pub key: &'a str,
    /// Name and role of the key; `None`: the router works without keys.
    pub signed_in: Option<(&'a str, Role)>,
    /// Commands of the car; `None` while it is away, or too slow.
    pub commands: Option<&'a [CommandInfo]>,
    pub stop: &'a str,
    /// Returns true if this person may run this command.
    pub may_run: &'a dyn Fn(&CommandName) -> bool,
}

impl DrivePage<'_> {
    pub(crate) fn html(&self) -> String {
        filled(TEMPLATE, |name| match name {
            "car" => text(self.car).into_owned(),
            "stop" => attribute(self.stop).into_owned(),
            "commands" => self.commands(),
            "key" => self.key(),
            "who" => who(self.signed_in),
            _ => String::new(),
        })
    }

    fn key(&self) -> String {
        let hidden = if self.key.is_empty() { " hidden" } else { "" };
        format!(
            "<p class=\"soft\"{hidden}>The car's key is <strong id=\"key\">{}</strong>.</p>",
            text(self.key)
        )
    }

    fn commands(&self) -> String {
        let mut html = String::new();
        match self.commands {
            None => {
                html += "<p class=\"problem only-plain\" role=\"status\">The car is not connected to the router, or sends no list of its commands. Load this page again in a moment.</p>\n";
            }
            Some([]) => {
                html += "<p class=\"only-plain\">The car is connected, and has no commands: put executable files into its command folder.</p>\n";
            }
            Some(_) => {}
        }
        html +=
            "<form id=\"commands\" action=\"cgi\" aria-label=\"Commands\">\n<div class=\"list\">\n";
        for command in self.commands.unwrap_or_default() {
            let name = command.name.as_str();
            let (value, name) = (attribute(name), text(name));
            let refused = match &command.problem {
                Some(problem) => format!(" disabled title=\"{}\"", attribute(problem.raw())),
                None if !(self.may_run)(&command.name) => {
                    " disabled title=\"This key may only stop the car\"".to_owned()
                }
                None => String::new(),
            };
            // Writing to a string can't fail.
            let _ = writeln!(
                html,
                "<button name=\"command\" value=\"{value}\"{refused}>{name}</button>"
            );
        }
        html += "</div>\n<input id=\"arguments\" class=\"only-live\" aria-label=\"Arguments for the next command; quotes keep words together\" placeholder=\"arguments (optional)\" autocomplete=\"off\" autocapitalize=\"none\" spellcheck=\"false\">\n</form>";
        html
    }
}

/// The page of all cars.
pub(crate) struct Fleet<'a> {
    /// The domain below which each car has a host name, if cars have no ports; else empty.
    pub domain: &'a str,
    /// Name and role of the key; `None`: the router works without keys.
    pub signed_in: Option<(&'a str, Role)>,
}

impl Fleet<'_> {
    pub(crate) fn html(&self) -> String {
        filled(include_str!("fleet.html"), |name| match name {
            "domain" => attribute(self.domain).into_owned(),
            "who" => who(self.signed_in),
            _ => String::new(),
        })
    }
}

/// Fills in this template's values, each once: they are not scanned again, since a name may have braces.
fn filled(template: &str, value: impl Fn(&str) -> String) -> String {
    let mut html = String::with_capacity(2 * template.len());
    for part in template.split("{{") {
        let (name, rest) = part.split_once("}}").unwrap_or(("", part));
        html += &value(name);
        html += rest;
    }
    html
}

/// Says who is signed in, and what they may not.
fn who(signed_in: Option<(&str, Role)>) -> String {
    match signed_in {
        Some((name, role)) => {
        let may_not = match role.may_run() {
            true => ".",
            false => {
                ": may watch and stop, and not drive or run commands. For that, sign in with a drive key."
            }
        };
        format!(
            r#"<form method="post" action="sign-out" class="out"><p class="soft">Signed in as <strong>{}</strong> ({role}){may_not}</p><button class="quiet">Sign out</button></form>"#,
            text(name)
        )
    }
    None => {
        "<p class=\"soft\">This router has no keys: everyone who reaches it may drive and run these.</p>".to_owned()
    }
}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_named_is_shown_and_does_nothing() {
        let evil = "\"'><script>alert(1)</script>{{who}}{{";
        let commands = [CommandInfo {
            name: "a\"><img src=x>".to_owned().try_into().unwrap(),
            problem: Some(evil.into()),
        }];
        let home = DrivePage {
            car: evil,
            key: evil,
            signed_in: Some((evil, Role::View)),
            commands: Some(&commands),
            stop: evil,
            may_run: &|_| false,
        };
        let html = home.html();
        assert_eq!(html.matches("<script").count(), 1, "{html}");
        assert!(!html.contains("<img"), "{html}");
        assert!(!html.contains("=\"\"'"), "{html}");
        assert_eq!(html.matches("Signed in as").count(), 1);
        assert_eq!(
            html.matches("The car's key is <strong id=\"key\">\"")
                .count(),
            1,
            "{html}"
        );
        assert!(
            html.contains("{{who}}"),
            "what is filled in is looked at again"
        );
    }
}
