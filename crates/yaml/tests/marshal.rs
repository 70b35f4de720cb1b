//! What sigs.k8s.io/yaml writes, recorded from kubectl 1.32: `marshal/*.json` in, `marshal/*.yaml` out.

#![allow(clippy::unwrap_used, reason = "a test ends by panicking")]

use serde_json::{Value, json};

#[track_caller]
fn check(input: &str, expected: &str) {
    let value: Value = serde_json::from_str(input).unwrap();
    let found = yaml::marshal(&value).unwrap();
    let differing = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    assert_eq!(differing, None);
    assert_eq!(found, expected);
}

#[test]
fn scalars_keys_and_long_lines() {
    check(include_str!("marshal/layout.json"), include_str!("marshal/layout.yaml"));
}

#[test]
fn strings_that_look_like_something_else() {
    check(include_str!("marshal/scalars.json"), include_str!("marshal/scalars.yaml"));
}

#[test]
fn what_json_does_not_escape_and_yaml_does_not_take_is_an_error() {
    for text in ["a\u{7f}b", "\u{80}", "x\u{9f}", "\u{ffff}"] {
        assert!(yaml::marshal(&json!({"a": text})).unwrap_err().contains("control characters"));
    }
    assert!(yaml::marshal(&json!({"a\u{85}b": 1})).is_err());
    assert!(yaml::marshal(&json!({"x".repeat(1023): 1})).is_err());
    assert!(yaml::marshal(&json!({"x".repeat(1022): 1})).is_ok());
}
