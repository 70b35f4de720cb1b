//! Health and kstatus against the tables of the projects they come from. The data is found by the environment
//! variable `PORTOLAN_CONFORMANCE`, or beside the checkout; without it the tests say so and pass.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says when it skips"
)]

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use object::health::{health, kstatus};
use serde_json::Value;

fn conformance() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance");
    let folder = std::env::var_os("PORTOLAN_CONFORMANCE").map_or(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: the conformance data is not here (set PORTOLAN_CONFORMANCE)");
    None
}

fn cases(folder: &Path) -> Vec<Value> {
    serde_json::from_str(&fs::read_to_string(folder.join("cases.json")).unwrap()).unwrap()
}

#[test]
fn kstatus_agrees_with_its_table() {
    let Some(folder) = conformance() else { return };
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let mut count = 0;
    for case in cases(&folder.join("kstatus")) {
        let object = case["object"].to_string().replace("@NOW@", &now.to_string());
        let outcome = kstatus::compute(&serde_json::from_str(&object).unwrap(), now);
        assert_eq!(outcome.status.name(), case["status"], "{}", case["name"]);
        for wanted in case["conditions"].as_array().unwrap() {
            let found = outcome.conditions.iter().any(|c| {
                c["type"] == wanted["Type"]
                    && c["status"] == wanted["Status"]
                    && c["reason"] == wanted["Reason"]
            });
            assert!(found, "{}: {wanted} is not in {:?}", case["name"], outcome.conditions);
        }
        for absent in case["absentConditionTypes"].as_array().unwrap() {
            assert!(!outcome.conditions.iter().any(|c| c["type"] == *absent), "{}: {absent}", case["name"]);
        }
        count += 1;
    }
    assert_eq!(count, 53);
}

#[test]
fn health_agrees_with_its_table() {
    let Some(folder) = conformance() else { return };
    let folder = folder.join("health");
    let mut count = 0;
    for case in cases(&folder).iter().filter(|c| c["set"] == "builtin") {
        let input = case["input"].as_str().unwrap();
        let text = fs::read_to_string(folder.join(input)).unwrap();
        let object = yaml::parse_documents(&text, yaml::Resolver::Kubectl).unwrap().remove(0);
        let found = health(&object);
        let status = found.as_ref().map_or(Value::Null, |h| h.status.name().into());
        assert_eq!(status, case["status"], "{input}: {found:?}");
        if let Some(message) = case["message"].as_str() {
            assert_eq!(found.unwrap().message, message, "{input}");
        }
        count += 1;
    }
    assert_eq!(count, 53);
}
