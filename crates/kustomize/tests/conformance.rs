//! kustomize's own test cases as a report: the number that passes may only grow.
//!
//! Documents are compared as parsed values, in order; byte for byte is for later. The data lies outside of the
//! repository: `PORTOLAN_CONFORMANCE` names the folder, else `../shared/conformance` beside the checkout is tried.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "in a test, whatever goes wrong ends it")]

use std::path::{Path, PathBuf};

use bytes::Bytes;
use kustomize::{MemoryTree, Options, build};
use serde_json::Value;

/// Cases that passed when this number was last raised. The others need fields that are refused so far.
const PASSING: usize = 225;

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
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            tree.insert(name, Bytes::from(std::fs::read(&path).unwrap()));
        }
    }
}

/// Numbers by value: `1` and `1.0` are the same to Kubernetes.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().map_or(value.clone(), Value::from),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), plain(value))).collect(),
        other => other.clone(),
    }
}

fn run(case: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(case.join("case.json")).unwrap();
    let info: Value = serde_json::from_str(&text).unwrap();
    let mut tree = MemoryTree::default();
    files(&case.join("in"), &case.join("in"), &mut tree);
    let options = Options { unrestricted: info["options"]["loadRestrictor"] == "none" };
    let dir = kustomize::join("", info["run"].as_str().unwrap()).ok_or("the folder is not inside")?;
    let built = build(&tree, &dir, options);
    if info["error"].is_array() || info.get("error").is_some() {
        return check_error(&info["error"], built.map(|_| ()));
    }
    let built = built.map_err(|error| format!("failed: {error}"))?;
    let Ok(expected) = std::fs::read_to_string(case.join("expected.yaml")) else {
        return check_contains(&info["outputContains"], &built.objects);
    };
    let expected = yaml::parse_documents(&expected, yaml::Resolver::Kyaml).unwrap();
    let (expected, found): (Vec<Value>, Vec<Value>) =
        (expected.iter().map(plain).collect(), built.objects.iter().map(plain).collect());
    if expected.len() != found.len() {
        return Err(format!("{} objects instead of {}", found.len(), expected.len()));
    }
    match expected.iter().zip(&found).find(|(expected, found)| expected != found) {
        None => Ok(()),
        Some((expected, found)) => Err(format!("expected {expected}\n    found    {found}")),
    }
}

fn check_error(wanted: &Value, built: Result<(), kustomize::Error>) -> Result<(), String> {
    let Err(error) = built else { return Err("built, but should fail".to_owned()) };
    let text = error.to_string();
    for part in wanted.as_array().into_iter().flatten() {
        let wanted = part["text"].as_str().unwrap_or_default();
        let fits = match part["match"].as_str().unwrap_or_default() {
            "contains" => text.contains(wanted),
            "equals" => text == wanted,
            "prefix" => text.starts_with(wanted),
            _ => regex::Regex::new(wanted).is_ok_and(|pattern| pattern.is_match(&text)),
        };
        if !fits {
            return Err(format!("the error should say {wanted:?}, it says {text:?}"));
        }
    }
    Ok(())
}

fn check_contains(wanted: &Value, objects: &[Value]) -> Result<(), String> {
    let text = yaml::emit_documents(objects);
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
    let mut passing = 0;
    for case in &cases {
        match run(case) {
            Ok(()) => passing += 1,
            Err(why) => println!("{}: {}", case.file_name().unwrap().to_string_lossy(), why),
        }
    }
    println!("{passing} of {} cases pass", cases.len());
    assert!(passing >= PASSING, "{passing} cases pass, {PASSING} did before");
}
