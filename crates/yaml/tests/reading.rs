//! Texts as go-yaml v3 reads them, recorded in `reading.jsonl`: the same nodes, or both refuse.

#![allow(clippy::unwrap_used, reason = "in a test, whatever goes wrong ends it")]

use yaml::{Data, Node, Style, compose};

/// Each line has a text and what go-yaml composes it to, none if that is an error. `PORTOLAN_YAML_READING` names another
/// such file.
#[test]
fn the_same_nodes_as_go_yaml() {
    let path = std::env::var("PORTOLAN_YAML_READING")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reading.jsonl").to_owned());
    let file = std::fs::read_to_string(path).unwrap();
    let mut differences = vec![];
    for line in file.lines() {
        let (text, expected): (String, Option<String>) = serde_json::from_str(line).unwrap();
        let found = compose(&text).map(|documents| documents.iter().map(|node| shown(node) + "\n").collect());
        if found.as_ref().ok() != expected.as_ref() {
            differences.push(format!("{text:?}\n  go-yaml: {expected:?}\n  here:    {found:?}"));
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

/// A node in one line: `p` plain, `d` and `s` quoted, `l` and `f` block scalars, with the tag if one was written.
fn shown(node: &Node) -> String {
    match &node.data {
        Data::Scalar { text, style } => {
            let style = match style {
                Style::Plain => 'p',
                Style::DoubleQuoted => 'd',
                Style::SingleQuoted => 's',
                Style::Literal => 'l',
                Style::Folded => 'f',
            };
            let tag = node.tag.as_deref().unwrap_or_default().replace("tag:yaml.org,2002:", "!!");
            format!("{style}{}{tag}", serde_json::to_string(text).unwrap())
        }
        Data::Sequence(items) => {
            format!("[{}]", items.iter().map(|item| shown(item) + ",").collect::<String>())
        }
        Data::Mapping(pairs) => {
            let pair = |(key, value): &(Node, Node)| format!("{}:{},", shown(key), shown(value));
            format!("{{{}}}", pairs.iter().map(pair).collect::<String>())
        }
        Data::Alias(target) => format!("*{}", shown(target)),
    }
}
