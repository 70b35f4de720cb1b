//! The house rules as tests: who may import whom, how long a function or a file may be, that every file says what
//! it is. The limits may only get tighter.

#![expect(clippy::unwrap_used, reason = "a test ends by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

const FUNCTION_LINES: usize = 70;
const FILE_LINES: usize = 900;

const FLOOR: &[&str] = &["object", "yaml", "kustomize", "dialect"];
const PLUMBING: &[&str] = &["controller", "identity", "git", "registry", "sandbox", "spdy"];
const PARTS: &[&str] = &[
    "apiserver",
    "workloads",
    "node",
    "gateway",
    "gitops",
    "compositions",
    "pipelines",
    "catalog",
    "scaffolder",
    "portal",
];
/// What makes a crate impure: a runtime, files of its own, a network.
const IMPURE: &[&str] = &["tokio", "axum", "hyper", "reqwest", "kube", "nix", "rustix"];
/// One TLS stack, one crypto provider.
const BANNED: &[&str] = &["ring", "openssl-sys", "native-tls"];

#[test]
fn crates_depend_downwards_only() {
    let mut wrong = vec![];
    for (name, dependencies) in workspace() {
        for dependency in &dependencies {
            let inner = [FLOOR, PLUMBING, PARTS].concat().contains(&dependency.as_str());
            let allowed = match name.as_str() {
                "portolan" => true,
                n if FLOOR.contains(&n) => {
                    !IMPURE.contains(&dependency.as_str()) && (!inner || FLOOR.contains(&dependency.as_str()))
                }
                _ => !PARTS.contains(&dependency.as_str()),
            };
            if !allowed {
                wrong.push(format!("{name} must not depend on {dependency}"));
            }
        }
        let placed = name == "portolan" || [FLOOR, PLUMBING, PARTS].concat().contains(&name.as_str());
        assert!(placed, "the crate {name} has no layer: say in this file which one it belongs to");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn one_crypto_provider() {
    // The lock file lists what any target might need; the tree lists what this one links.
    let tree = cargo(&["tree", "--offline", "--prefix", "none", "-e", "normal,build", "-p", "portolan"]);
    let linked: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(linked.contains(&"aws-lc-rs"), "the tree could not be read");
    for banned in BANNED {
        assert!(!linked.contains(banned), "{banned} is linked: turn off the default features that bring it");
    }
}

#[test]
fn files_say_what_they_are_and_stay_readable() {
    let mut wrong = vec![];
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        let shown = path.strip_prefix(root()).unwrap().display();
        let opening = text.lines().find(|line| !line.starts_with("#![")).unwrap_or_default();
        if !opening.starts_with("//!") {
            wrong.push(format!("{shown}: opens without a `//!` that says what it is"));
        }
        let test_file = path.components().any(|c| c.as_os_str() == "tests" || c.as_os_str() == "benches");
        let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
        if !test_file && lines > FILE_LINES {
            wrong.push(format!("{shown}: {lines} lines, the limit is {FILE_LINES}"));
        }
        for (line, name, length) in functions(&text) {
            if length > FUNCTION_LINES {
                wrong.push(format!(
                    "{shown}:{line}: fn {name} has {length} lines, the limit is {FUNCTION_LINES}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_vague_module_names() {
    let vague = ["utils", "util", "common", "helpers", "misc", "prelude", "core", "types"];
    for path in sources() {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(!vague.contains(&stem.as_str()), "{}: name it after what it is about", path.display());
    }
}

#[test]
fn the_length_of_a_function_is_counted_to_its_closing_brace() {
    let text = "fn a() {\n    x();\n}\n\nimpl B {\n    pub async fn b() {\n    }\n}\n";
    assert_eq!(functions(text), [(1, "a".to_owned(), 3), (6, "b".to_owned(), 2)]);
}

fn functions(text: &str) -> Vec<(usize, String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = vec![];
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let words: Vec<&str> = code.split([' ', '(', '<']).collect();
        let Some(at) = words.iter().position(|w| *w == "fn") else { continue };
        let qualifiers = ["pub", "async", "const", "unsafe", "extern", "crate)", "super)", "in", "\"C\""];
        if !words[..at].iter().all(|w| qualifiers.contains(w)) {
            continue;
        }
        let close = format!("{}}}", " ".repeat(indent));
        let Some(length) = lines[start..].iter().position(|l| {
            *l == close || l.trim_end().ends_with(';') && l.len() - l.trim_start().len() == indent
        }) else {
            continue;
        };
        found.push((start + 1, words.get(at + 1).unwrap_or(&"").to_string(), length + 1));
    }
    found
}

fn workspace() -> BTreeMap<String, Vec<String>> {
    let text = cargo(&["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let metadata: serde_json::Value = serde_json::from_str(&text).unwrap();
    let package = |p: &serde_json::Value| {
        let all = p["dependencies"].as_array().unwrap().iter();
        let normal = all.filter(|d| d["kind"].is_null()).map(|d| d["name"].as_str().unwrap().to_owned());
        (p["name"].as_str().unwrap().to_owned(), normal.collect())
    };
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn sources() -> Vec<PathBuf> {
    let mut found = vec![];
    let mut open = vec![root().join("crates")];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().parent().unwrap()
}
