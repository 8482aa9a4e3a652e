//! HTML of the pages for signing in and for confirming a command. They have no script, and load
//! nothing from elsewhere. The drive page is `page/drive_page`.

use std::sync::LazyLock;

use data_encoding::BASE64;
use html_escape::{encode_double_quoted_attribute as attribute, encode_text as text};
use hyper::header::HeaderValue;
use ring::digest;

pub(crate) mod drive_page;
pub(crate) mod files;
pub(crate) mod incident_report;

const STYLE: &str = include_str!("page/style.css");

/// Script of the page that a phone opens by a code: takes the code out of the address, which the browser keeps, and
/// sends it.
const SEND_CODE: &str = r#"const code = location.hash.slice(1);
if (code) {
  history.replaceState(null, "", location.pathname);
  const form = document.forms[0];
  form.elements.code.value = code;
  form.submit();
}"#;

/// Content-Security-Policy of these pages: only this style, and forms to this router.
pub(crate) fn policy() -> HeaderValue {
    static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| policy_with(""));
    POLICY.clone()
}

/// Policy of the page that a phone opens by a code: its script, too.
pub(crate) fn qr_policy() -> HeaderValue {
    static POLICY: LazyLock<HeaderValue> =
        LazyLock::new(|| policy_with(&format!("script-src '{}'; ", hash(SEND_CODE))));
    POLICY.clone()
}

fn policy_with(more: &str) -> HeaderValue {
    let policy = format!(
        "default-src 'none'; style-src '{}'; {more}form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        hash(STYLE)
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

fn hash(text: &str) -> String {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    format!("sha256-{}", BASE64.encode(hash.as_ref()))
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

/// Page that asks for a key to this car, and says what was wrong with the last one.
pub(crate) fn sign_in(wrong: Option<&str>, car: Option<&str>) -> String {
    let title = match car {
        Some(car) => format!("Sign in to {car}"),
        None => "Sign in".to_owned(),
    };
    let said = match wrong {
        None => "<p>This needs a key of the router, which its owner makes.</p>".to_owned(),
        Some(wrong) => format!(r#"<p class="problem" role="alert">{}</p>"#, text(wrong)),
    };
    // A password manager wants a name to keep the key under.
    let main = format!(
        r#"<h1>{}</h1>
{said}
<form method="post" action="sign-in">
<input type="text" name="user" value="p2prouter" autocomplete="username" readonly hidden>
<label for="key">Key</label>
<input type="password" id="key" name="key" required autofocus maxlength="400" autocomplete="current-password" autocapitalize="none" spellcheck="false" aria-describedby="hint">
<button class="wide">Sign in</button>
</form>
<p class="soft" id="hint">Paste the whole key; it begins with <code>p2p1_</code>. This browser then stays signed in for a month. Signing in runs nothing: open the address that you wanted again.</p>"#,
        text(&title)
    );
    page(&format!("{title} · p2prouter"), &main)
}

/// Page in place of one that is not there now, for this reason.
pub(crate) fn away(why: &str) -> String {
    let main = format!(
        r#"<h1>The car is not there now</h1>
<p class="problem" role="status">{}</p>
<p>This page asks again every few seconds, and opens the car's when it is there.</p>"#,
        text(why)
    );
    page("Away · p2prouter", &main)
}

/// Page that signs a phone in by the code in its address.
pub(crate) fn qr() -> String {
    let main = format!(
        r#"<h1>Sign in</h1>
<p>Signing in by the code that you have read with the camera. If nothing happens, read it again: it is good for five minutes, once. This page needs JavaScript.</p>
<form method="post" action="qr"><input type="hidden" name="code"></form>
<script>{SEND_CODE}</script>"#
    );
    page("Sign in · p2prouter", &main)
}

/// Page that asks whether to run the command at this address.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_sent_is_shown_and_does_nothing() {
        let evil = "\"'><script>alert(1)</script>";
        for html in [
            sign_in(Some(evil), Some(evil)),
            away(evil),
            confirm(&format!("cgi?{evil}")),
        ] {
            assert!(!html.contains("<script"), "{html}");
            assert!(!html.contains("=\"\"'"), "{html}");
        }
    }
}
