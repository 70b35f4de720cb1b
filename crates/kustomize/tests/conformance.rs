//! kustomize's own test cases as a report: outputs byte for byte; the number that passes may only grow.
//!
//! The data lies outside of the repository: `PORTOLAN_CONFORMANCE` names the folder, else `../shared/conformance` beside
//! the checkout is tried. `PORTOLAN_CASE` runs only the cases whose names contain it, and prints what was built.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "in a test, whatever goes wrong ends it")]

use std::path::{Path, PathBuf};

use bytes::Bytes;
use kustomize::{Build, Error, Fetch, MANAGED_BY, MemoryTree, Options, Order, Remote, Tree, build_fetching};
use serde_json::Value;

/// Cases that passed when this number was last raised.
const PASSING: usize = 310;

/// Cases whose text is that of upstream's file system in memory for something missing; kustomize itself says something
/// else, and any error that names the path will do.
const IN_MEMORY_TEXTS: [&str; 2] =
    ["kustomizer-TestEmptyFileSystem", "openapicustomschema-TestCustomOpenApiFieldFileNotFound"];

fn data() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance");
    let root = std::env::var_os("PORTOLAN_CONFORMANCE").map_or(beside, PathBuf::from).join("kustomize");
    root.is_dir().then_some(root)
}

fn files(root: &Path, dir: &Path, tree: &mut MemoryTree) {
    // A case without any file has no folder.
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(root, &path, tree);
            continue;
        }
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let content = std::fs::read(&path).unwrap();
        let content = match String::from_utf8(content) {
            Ok(text) => text.replace("@ROOT@", "").into_bytes(),
            Err(other) => other.into_bytes(),
        };
        tree.insert(name, Bytes::from(content));
    }
}

/// No network: repositories cannot be had, in the words of the reference.
struct Offline;

impl Fetch for Offline {
    fn repository(&self, remote: &Remote) -> Result<Box<dyn Tree>, String> {
        Err(format!("failed to run /usr/bin/git fetch --depth=1 {} HEAD: exit status 128", remote.url))
    }

    fn file(&self, _url: &str) -> Result<Bytes, String> {
        Err("no network".to_owned())
    }
}

fn run(case: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(case.join("case.json")).unwrap();
    let info: Value = serde_json::from_str(&text).unwrap();
    let mut tree = MemoryTree::default();
    files(&case.join("in"), &case.join("in"), &mut tree);
    let order = match info["options"]["reorder"].as_str() {
        Some("legacy") => Order::Legacy,
        Some("unspecified") => Order::Unspecified,
        _ => Order::None,
    };
    let options = Options {
        unrestricted: info["options"]["loadRestrictor"] == "none",
        order,
        plugins: info["options"]["plugins"] == "enabled",
        managed_by: info["options"]["addManagedbyLabel"] == true,
    };
    let dir = kustomize::join("", info["run"].as_str().unwrap()).ok_or("the folder is not inside")?;
    let built = build_fetching(&tree, &dir, options, Some(&Offline));
    if std::env::var_os("PORTOLAN_CASE").is_some() {
        println!("{built:#?}");
    }
    let name = case.file_name().unwrap().to_string_lossy();
    if IN_MEMORY_TEXTS.contains(&&*name) {
        return built.map_or(Ok(()), |_| Err("built, but should fail".to_owned()));
    }
    if info.get("error").is_some() {
        return check_error(&info["error"], built);
    }
    let built = built.map_err(|error| format!("failed: {error}"))?;
    let found = built.to_yaml().map_err(|error| error.to_string())?;
    match std::fs::read_to_string(case.join("expected.yaml")) {
        Ok(expected) => compare(&expected.replace("kustomize-(test)", MANAGED_BY), &found),
        Err(_) => check_contains(&info["outputContains"], &found),
    }
}

fn compare(expected: &str, found: &str) -> Result<(), String> {
    if expected == found {
        return Ok(());
    }
    let (mut wanted, mut lines) = (expected.lines(), found.lines());
    for number in 1.. {
        let (wanted, line) = (wanted.next(), lines.next());
        if wanted != line || wanted.is_none() {
            let (wanted, line) = (wanted.unwrap_or("(end)"), line.unwrap_or("(end)"));
            return Err(format!("line {number}: expected {wanted:?}, found {line:?}"));
        }
    }
    Ok(())
}

/// Errors here name the kustomization first, so `equals` means that the text is there.
fn check_error(wanted: &Value, built: Result<Build, Error>) -> Result<(), String> {
    let Err(error) = built else { return Err("built, but should fail".to_owned()) };
    let text = error.to_string();
    for part in wanted.as_array().into_iter().flatten() {
        let wanted = part["text"].as_str().unwrap_or_default().replace("@ROOT@", "");
        let fits = match part["match"].as_str().unwrap_or_default() {
            "contains" | "equals" => text.contains(&wanted),
            "prefix" => text.starts_with(&wanted),
            _ => regex::Regex::new(&wanted).is_ok_and(|pattern| pattern.is_match(&text)),
        };
        if !fits {
            return Err(format!("the error should say {wanted:?}, it says {text:?}"));
        }
    }
    Ok(())
}

fn check_contains(wanted: &Value, text: &str) -> Result<(), String> {
    let mut wanted = wanted.as_array().into_iter().flatten().filter_map(Value::as_str);
    wanted.find(|part| !text.contains(part)).map_or(Ok(()), |part| Err(format!("lacks {part:?}")))
}

#[test]
fn cases_of_kustomize_itself() {
    let Some(root) = data() else {
        println!("skipped: the conformance data is not there (set PORTOLAN_CONFORMANCE)");
        return;
    };
    let mut cases: Vec<PathBuf> = std::fs::read_dir(root)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    let only = std::env::var("PORTOLAN_CASE").ok();
    if let Some(only) = &only {
        cases.retain(|case| case.to_string_lossy().contains(only.as_str()));
    }
    let mut passing = 0;
    for case in &cases {
        match run(case) {
            Ok(()) => passing += 1,
            Err(why) => println!("{}: {}", case.file_name().unwrap().to_string_lossy(), why),
        }
    }
    println!("{passing} of {} cases pass", cases.len());
    assert!(only.is_some() || passing >= PASSING, "{passing} cases pass, {PASSING} did before");
}
