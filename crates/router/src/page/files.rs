//! Files of the drive page and of the page of all cars: paths, types and the page's policy. All files are in the binary;
//! nothing is loaded from elsewhere.

use hyper::header::HeaderValue;

/// Content-Security-Policy of the drive page: run these scripts, talk to this router, and show its icons, those
/// that a script has drawn too.
pub(crate) const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; manifest-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
);

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// Script that is loaded when its button is pressed.
const INCIDENT: &str = "/page/incident.js";

const FILES: [(&str, &str, &str); 17] = [
    ("/page/style.css", STYLE, super::STYLE),
    ("/page/home.css", STYLE, include_str!("home.css")),
    ("/page/app.js", SCRIPT, include_str!("app.js")),
    ("/page/commands.js", SCRIPT, include_str!("commands.js")),
    ("/page/drive.js", SCRIPT, include_str!("drive.js")),
    ("/page/facts.js", SCRIPT, include_str!("facts.js")),
    (INCIDENT, SCRIPT, include_str!("incident.js")),
    ("/page/input.js", SCRIPT, include_str!("input.js")),
    ("/page/link.js", SCRIPT, include_str!("link.js")),
    ("/page/timeline.js", SCRIPT, include_str!("timeline.js")),
    ("/page/fleet.css", STYLE, include_str!("fleet.css")),
    ("/page/fleet.js", SCRIPT, include_str!("fleet.js")),
    ("/page/video.js", SCRIPT, include_str!("video.js")),
    ("/page/view.js", SCRIPT, include_str!("view.js")),
    ("/page/words.js", SCRIPT, include_str!("words.js")),
    ("/page/icon.svg", "image/svg+xml", include_str!("icon.svg")),
    (
        "/page/app.webmanifest",
        "application/manifest+json",
        include_str!("app.webmanifest"),
    ),
];

/// Returns the file at this path, and its type.
pub(crate) fn at(path: &str) -> Option<(HeaderValue, &'static str)> {
    let found = FILES.iter().find(|(at, ..)| *at == path);
    found.map(|(_, kind, content)| (HeaderValue::from_static(kind), *content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_the_drive_page_is_less_than_80_kib_and_nothing_is_from_elsewhere() {
        let template = include_str!("home.html");
        let whole = FILES
            .iter()
            .filter(|(path, ..)| !path.contains("fleet") && *path != INCIDENT)
            .map(|(.., content)| content.len())
            .sum::<usize>()
            + template.len();
        assert!(whole < 80 * 1024, "the page has {whole} bytes");
        assert!(at(INCIDENT).is_some_and(|(_, content)| content.len() < 5 * 1024));
        for content in FILES.iter().map(|(.., content)| *content).chain([template]) {
            let content = content.replace("http://www.w3.org/2000/svg", "");
            assert!(!content.contains("http://") && !content.contains("https://"));
        }
    }

    #[test]
    fn what_the_page_asks_for_is_there() {
        let sources = FILES.iter().map(|(.., content)| *content);
        let mut asked = 0;
        let templates = [include_str!("home.html"), include_str!("fleet.html")];
        for source in sources.chain(templates) {
            for part in source.split('"') {
                let path = match part.strip_prefix("./") {
                    Some(name) if !name.is_empty() => format!("/page/{name}"),
                    _ if part.starts_with("page/") => format!("/{part}"),
                    _ => continue,
                };
                assert!(at(&path).is_some(), "{path}");
                asked += 1;
            }
        }
        assert!(asked > 10);
    }
}
