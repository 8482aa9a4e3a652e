//! Fails when modules of a crate import each other in a circle, and names the circle.
//!
//! The nodes are the files and folders within one folder of `src`; an edge is a path that begins
//! with `crate::` or `super::` in product code and leads from one of them to another. What a parent
//! and its own child import from each other does not count, but items of the crate's root do: they
//! stand in a module of their own, `lib`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Module = Vec<String>;
/// Folder of the two siblings, importing sibling, imported sibling, and where this stands.
type Edges = BTreeMap<Module, BTreeMap<String, BTreeMap<String, String>>>;

#[test]
fn modules_of_a_crate_do_not_import_each_other_in_a_circle() {
    let mut found = String::new();
    for name in ["shared", "router", "inner", "console"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(name)
            .join("src");
        for circle in circles(&edges(&root)) {
            found += &format!("{name}: {circle}\n");
        }
    }
    assert!(found.is_empty(), "modules import each other:\n{found}");
}

#[test]
fn a_circle_is_found_through_groups_super_and_folders() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("lib.rs", "mod a; mod b; mod c;");
    write("a.rs", "use crate::{c::One, b::{deep::Two}};");
    write("b/mod.rs", "mod deep; mod flat; // crate::a\n");
    write("b/deep.rs", "fn f() { super::flat::g(\"crate::a\") }");
    write(
        "b/flat.rs",
        "#[cfg(test)]\nmod tests {\n    use crate::a;\n}\n",
    );
    write("c.rs", "use crate::b::Two;");
    assert_eq!(circles(&edges(folder.path())), Vec::<String>::new());

    write("b/flat.rs", "use super::deep::Two;");
    let inner = "b::deep (b/deep.rs) → b::flat (b/flat.rs) → b::deep";
    assert_eq!(circles(&edges(folder.path())), [inner]);

    write("c.rs", "use crate::a::Three;");
    let outer = "a (a.rs) → c (c.rs) → a";
    assert_eq!(circles(&edges(folder.path())), [outer, inner]);
}

fn edges(root: &Path) -> Edges {
    let mut files = Vec::new();
    list(root, &mut files);
    let modules: BTreeMap<PathBuf, Module> = files
        .into_iter()
        .map(|file| (file.clone(), module(file.strip_prefix(root).unwrap())))
        .collect();
    let known: BTreeSet<&Module> = modules.values().collect();
    let mut edges = Edges::new();
    for (file, from) in &modules {
        let text = product_code(&fs::read_to_string(file).unwrap());
        for path in imports(&text, from) {
            let mut to = path;
            while !known.contains(&to) {
                to.pop();
            }
            let mut from = from.clone();
            for side in [&mut from, &mut to] {
                if side.is_empty() {
                    side.push("lib".to_owned());
                }
            }
            let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            if let (Some(importing), Some(imported)) = (from.get(common), to.get(common)) {
                edges
                    .entry(from[..common].to_vec())
                    .or_default()
                    .entry(importing.clone())
                    .or_default()
                    .entry(imported.clone())
                    .or_insert_with(|| file.strip_prefix(root).unwrap().display().to_string());
            }
        }
    }
    edges
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_test = ["tests", "simulation", "snapshots"].contains(&name)
            || ["tests.rs", "testing.rs", "simulation.rs", "main.rs"].contains(&name);
        if is_test {
            continue;
        }
        if path.is_dir() {
            list(&path, files);
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
}

fn module(file: &Path) -> Module {
    let parts = file.with_extension("");
    parts
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .filter(|part| part != "lib" && part != "mod")
        .collect()
}

/// The text without comments, strings and its own test modules.
fn product_code(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let is_test = line.starts_with("#[cfg(test)]")
            && lines.peek().is_some_and(|next| next.contains("mod "));
        if is_test {
            if lines.next().is_some_and(|line| line.ends_with('{')) {
                lines.by_ref().find(|line| line.starts_with('}'));
            }
            continue;
        }
        let line = line.split("//").next().unwrap_or_default();
        for (n, part) in line.split('"').enumerate() {
            if n % 2 == 0 {
                code += part;
            }
        }
        code.push('\n');
    }
    code
}

/// All paths of the text that begin with `crate::` or `super::`, from the crate's root.
fn imports(text: &str, from: &Module) -> Vec<Module> {
    let mut paths = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in text.match_indices(start) {
            let before = text[..at].chars().next_back().unwrap_or(' ');
            if before == ':' || before.is_alphanumeric() || before == '_' {
                continue;
            }
            let mut rest = &text[at + start.len()..];
            let mut base = Module::new();
            if start == "super::" {
                base.clone_from(from);
                base.pop();
                while let Some(more) = rest.strip_prefix("super::") {
                    base.pop();
                    rest = more;
                }
            }
            tree(rest, &base, &mut paths);
        }
    }
    paths
}

/// Follows `a::{b, c::d}`; returns what stands behind it.
fn tree<'a>(text: &'a str, base: &Module, paths: &mut Vec<Module>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = tree(rest, base, paths).trim_start();
            if let Some(more) = rest.strip_prefix(',') {
                rest = more;
            } else {
                return rest.strip_prefix('}').unwrap_or(rest);
            }
        }
    }
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return rest;
    }
    let mut path = base.clone();
    if name != "self" {
        path.push(name.to_owned());
    }
    match rest.strip_prefix("::") {
        Some(rest) => tree(rest, &path, paths),
        None => {
            paths.push(path);
            let rest = rest.trim_start();
            let Some(alias) = rest.strip_prefix("as ") else {
                return rest;
            };
            alias.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_' || c == ' ')
        }
    }
}

/// The shortest circle through each module that is in one, each once.
fn circles(edges: &Edges) -> Vec<String> {
    let mut found = BTreeMap::new();
    for (folder, graph) in edges {
        for start in graph.keys() {
            if let Some(circle) = circle_through(graph, start) {
                let members: BTreeSet<_> = circle.iter().cloned().collect();
                found
                    .entry((folder.clone(), members))
                    .or_insert_with(|| describe(folder, graph, &circle));
            }
        }
    }
    found.into_values().collect()
}

fn circle_through(
    graph: &BTreeMap<String, BTreeMap<String, String>>,
    start: &str,
) -> Option<Vec<String>> {
    let mut queue = std::collections::VecDeque::from([vec![start.to_owned()]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = queue.pop_front() {
        for next in graph.get(way.last()?).into_iter().flat_map(BTreeMap::keys) {
            if next == start {
                return Some(way);
            }
            if seen.insert(next.clone()) {
                queue.push_back([way.as_slice(), std::slice::from_ref(next)].concat());
            }
        }
    }
    None
}

fn describe(
    folder: &Module,
    graph: &BTreeMap<String, BTreeMap<String, String>>,
    circle: &[String],
) -> String {
    let full = |name: &String| {
        [folder.as_slice(), std::slice::from_ref(name)]
            .concat()
            .join("::")
    };
    let mut text = String::new();
    for (n, name) in circle.iter().enumerate() {
        let next = &circle[(n + 1) % circle.len()];
        text += &format!("{} ({}) → ", full(name), graph[name][next]);
    }
    text + &full(&circle[0])
}
