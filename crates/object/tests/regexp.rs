//! Patterns and what Go's `regexp` finds with them in texts, recorded in `regexp.jsonl`: the same is found here.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test, whatever goes wrong ends it")]

use serde_json::Value;

/// The first line has the texts; each other one a pattern, and Go's error or the places of the groups in each text.
#[test]
fn the_same_is_found_as_by_go() {
    let path = std::env::var("PORTOLAN_REGEXP")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/tests/regexp.jsonl").to_owned());
    let file = std::fs::read_to_string(path).unwrap();
    let mut lines = file.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let texts: Vec<String> = serde_json::from_value(lines.next().unwrap()).unwrap();
    let mut differences = vec![];
    for case in lines {
        let pattern = case["pattern"].as_str().unwrap();
        let expected = case.get("found").map(ToString::to_string);
        let compiled = object::regexp::compile(pattern);
        let found = compiled.as_ref().ok().map(|regex| Value::from(found(regex, &texts)).to_string());
        if found != expected {
            differences.push(format!("{case}\n  {compiled:?}\n  {}", found.unwrap_or_default()));
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

fn found(regex: &regex::Regex, texts: &[String]) -> Vec<Value> {
    let places = |captures: regex::Captures| -> Vec<i64> {
        let place = |at: usize| i64::try_from(at).unwrap();
        captures
            .iter()
            .flat_map(|group| group.map_or([-1, -1], |g| [place(g.start()), place(g.end())]))
            .collect()
    };
    texts.iter().map(|text| regex.captures(text).map(places).unwrap_or_default().into()).collect()
}
