//! What is written can be read back the same by every reader, in kubectl's layout.

use proptest::prelude::*;
use serde_json::{Value, json};
use yaml::{Resolver, emit, emit_documents, parse};

#[track_caller]
fn check(value: Value, expected: &str) {
    assert_eq!(emit(&value), expected);
}

#[test]
fn layout_is_kubectls() {
    check(
        json!({"kind": "Pod", "metadata": {"labels": {}, "name": "x"}, "spec": {"containers": [{"args": ["a", ["b", {"c": 1}]], "name": "c"}], "volumes": []}}),
        "kind: Pod\nmetadata:\n  labels: {}\n  name: x\nspec:\n  containers:\n  - args:\n    - a\n    - - b\n      - c: 1\n    name: c\n  volumes: []\n",
    );
    assert_eq!(emit_documents(&[json!({"a": 1}), json!({"b": null})]), "a: 1\n---\nb: null\n");
}

#[test]
fn what_a_reader_could_mistake_is_quoted() {
    for text in [
        "yes",
        "on",
        "No",
        "y",
        "true",
        "null",
        "~",
        "",
        "12",
        "0644",
        "1_000",
        "1e3",
        "12:30",
        "190:20:30.15",
        "2001-01-01",
        "2001-12-14t21:59:43.10-05:00",
        ".inf",
        "0x1f",
        "<<",
        "=",
        "-.5",
        "+1",
        "0o7",
        "1e400",
        "089",
    ] {
        check(json!({ "a": text }), &format!("a: \"{text}\"\n"));
    }
    for text in [
        "1.2.3",
        "v1",
        "a b",
        "http://x:80/y",
        "sha-1e3",
        "10Mi",
        "100m",
        "a#b",
        "x:y",
        "-x",
        "e3",
        "node:20-slim",
    ] {
        check(json!({ "a": text }), &format!("a: {text}\n"));
    }
    for text in ["a: b", "# x", "*x", "- x", " x", "x ", "{x}", "@x", "a #b", "---x", "a:"] {
        check(json!({ "a": text }), &format!("a: '{text}'\n"));
    }
    check(json!({"yes": "tab\there"}), "\"yes\": \"tab\\there\"\n");
}

#[test]
fn text_of_several_lines_is_a_literal() {
    check(json!({"a": "x\ny\n"}), "a: |\n  x\n  y\n");
    check(json!({"a": ["x\n\ny"]}), "a:\n- |-\n  x\n\n  y\n");
    check(json!({"a": "x\n\n"}), "a: |+\n  x\n\n");
    check(json!({"a": " x\ny\n"}), "a: |2\n   x\n  y\n");
    check(json!({"a": "x \ny\n"}), "a: \"x \\ny\\n\"\n");
}

fn any_value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "[ -~\n\t]{0,12}",
        "[yYnNoOfFeEsStT0-9xob_.:+~-]{0,6}",
        "[#:,{}\\[\\]&*!|>'\"%@`? -]{1,5}",
        any::<String>().prop_map(|s| s.chars().take(8).collect()),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec(("[ -~\n]{0,8}", inner), 0..5)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_value_reads_back_the_same(value in any_value()) {
        let text = emit(&value);
        for resolver in [Resolver::Kubectl, Resolver::Kyaml, Resolver::Json] {
            prop_assert_eq!(parse(&text, resolver), Ok(value.clone()), "{:?} reads {}", resolver, text);
        }
    }

    #[test]
    fn no_text_brings_the_reader_down(text in "[a-c0-9 \n:\\-\\[\\]{},&*!|>'\"#%@`?\t<.é]{0,60}") {
        if let Ok(value) = parse(&text, Resolver::Kyaml) {
            prop_assert_eq!(parse(&emit(&value), Resolver::Kyaml), Ok(value));
        }
    }
}
