//! Links of the documentation to its own files and headings, and the files that it names: each exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The pages at the root and in `docs`.
fn pages() -> Vec<PathBuf> {
    let folders = [root(), root().join("docs")];
    let files = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut pages: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    pages
}

/// The text without code, whose brackets are no links and whose `#` are no headings.
fn without_code(page: &str) -> String {
    let mut prose = String::new();
    let mut fence = None;
    for line in page.lines() {
        let mark = ["```", "~~~"]
            .into_iter()
            .find(|mark| line.trim_start().starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (Some(_), _) => {}
            (None, None) => prose += &format!("{line}\n"),
        }
    }
    prose
}

/// The text without pieces between backticks.
fn without_inline_code(prose: &str) -> String {
    prose.split('`').step_by(2).collect()
}

/// The targets of `[…](target)` and of `href="target"` and `src="target"`.
fn targets(prose: &str) -> Vec<String> {
    let prose = without_inline_code(prose);
    let mut targets = Vec::new();
    for (begin, end) in [("](", ')'), ("href=\"", '"'), ("src=\"", '"')] {
        for rest in prose.split(begin).skip(1) {
            let target = rest.split(end).next().unwrap();
            // A title may follow: `[…](target "title")`.
            targets.push(target.split_whitespace().next().unwrap_or("").to_owned());
        }
    }
    targets
}

/// The anchors that GitHub makes of the headings.
fn anchors(prose: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let is_heading =
        |line: &&str| line.trim_start_matches('#').starts_with(' ') && line.starts_with('#');
    for heading in prose.lines().filter(is_heading) {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let anchor: String = words.chars().filter(kept).collect();
        let anchor = anchor.replace(' ', "-");
        let mut numbered = anchor.clone();
        for number in 1.. {
            if anchors.insert(numbered) {
                break;
            }
            numbered = format!("{anchor}-{number}");
        }
    }
    anchors
}

/// What is wrong with this link of this page.
fn fault(page: &Path, target: &str) -> Option<&'static str> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = match file {
        "" => page.to_owned(),
        file => page.parent().unwrap().join(file),
    };
    if !path.exists() {
        return Some("no such file");
    }
    if anchor.is_empty() {
        return None;
    }
    let prose = without_code(&fs::read_to_string(path).unwrap());
    (!anchors(&prose).contains(anchor)).then_some("no such heading")
}

#[test]
fn each_link_of_the_documentation_leads_to_a_file_and_a_heading() {
    let pages = pages();
    assert!(pages.iter().any(|page| page.ends_with("README.md")));
    let mut faults = String::new();
    for page in pages {
        let text = without_code(&fs::read_to_string(&page).unwrap());
        for target in targets(&text) {
            if let Some(fault) = fault(&page, &target) {
                let page = page.strip_prefix(root()).unwrap().display();
                faults += &format!("{page}: {target}: {fault}\n");
            }
        }
    }
    assert!(faults.is_empty(), "links that lead nowhere:\n{faults}");
}

#[test]
fn each_source_file_that_a_page_names_exists() {
    let mut missing = String::new();
    for page in pages() {
        let prose = without_code(&fs::read_to_string(&page).unwrap());
        for name in prose.split('`').skip(1).step_by(2) {
            let extension = Path::new(name).extension().and_then(|it| it.to_str());
            let is_source = matches!(extension, Some("rs" | "sh" | "js" | "html" | "css"));
            if !is_source || !name.contains('/') || name.contains(' ') {
                continue;
            }
            // Pages name the files of crates without the folder of all crates.
            if ![root(), root().join("crates")]
                .iter()
                .any(|folder| folder.join(name).exists())
            {
                missing += &format!("{}: {name}\n", page.display());
            }
        }
    }
    assert!(missing.is_empty(), "files that don't exist:\n{missing}");
}

#[test]
fn links_in_code_are_none_and_headings_are_told_apart() {
    let page = "# A `b`, c!\n[x](y.md#z \"t\")\n## Same\n## Same\n`[no](no)`\n```\n[no](no)\n# no\n```\n<img src=\"i.svg\">\n";
    let prose = without_code(page);
    assert_eq!(targets(&prose), ["y.md#z", "i.svg"]);
    let anchors: Vec<_> = anchors(&prose).into_iter().collect();
    assert_eq!(anchors, ["a-b-c", "same", "same-1"]);
}
