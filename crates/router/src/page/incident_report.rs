//! HTML of an incident's report: a file that is opened without a router, a script or a network.

use html_escape::encode_text as text;
use p2p_shared::text::EscapedJson;

/// What the file may do, whatever is in it: show its own style and pictures.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// Makes the report of this page of text and these lines of JSON. It ends with its pictures, which the drive page
/// appends.
pub(crate) fn html(car: &str, page: &str, json: &str) -> String {
    // As it is in JSON, so that programs find whole lines of it in the file.
    let lines = json.lines().map(|line| format!("{}\n", EscapedJson(line)));
    let json = lines.collect::<String>().replace('&', "\\u0026");
    let json = json.replace('<', "\\u003c");
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Incident: {}</title>
<style>
:root{{color-scheme: light dark}}
body{{max-width: 80rem; margin: 1rem auto; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif}}
pre{{font: .85rem/1.5 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere}}
summary{{cursor: pointer}}
h2{{font-size: 1rem}}
div{{display: grid; grid: auto / repeat(auto-fill, minmax(min(18rem, 100%), 1fr)); gap: .75rem}}
figure{{margin: 0}}
img{{display: block; width: 100%}}
</style>
</head>
<body>
<pre>{}</pre>
<details>
<summary>The same as lines of JSON: p2p-console replay THIS_FILE plays them</summary>
<pre>
{json}</pre>
</details>
<h2>Pictures</h2>
"#,
        text(car),
        text(page)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_said_is_shown_and_does_nothing_and_lines_of_json_stay_lines() {
        let evil = "</pre><script>alert(1)</script><!--&lt;\u{202e}";
        let line = serde_json::json!({ "told": evil }).to_string();
        let html = html(evil, evil, &format!("{line}\n"));
        assert!(
            !html.contains("<script") && !html.contains("<!--"),
            "{html}"
        );
        assert_eq!(html.matches("</pre>").count(), 2, "{html}");
        let found = html
            .lines()
            .find_map(|line| serde_json::from_str(line).ok());
        assert_eq!(found, Some(serde_json::json!({ "told": evil })));
        assert!(html.contains("img-src data:"));
    }
}
