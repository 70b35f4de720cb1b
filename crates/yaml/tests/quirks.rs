//! What the same text means to kubectl and to kustomize; the expectations were read off the real programs.

use serde_json::{Value, json};
use yaml::{Resolver, parse, parse_documents};

#[track_caller]
fn check(text: &str, kubectl: Value, kyaml: Value) {
    assert_eq!(parse(text, Resolver::Kubectl), Ok(kubectl), "kubectl reads {text:?}");
    assert_eq!(parse(text, Resolver::Kyaml), Ok(kyaml), "kyaml reads {text:?}");
}

#[test]
fn booleans_of_yaml_1_1_are_booleans_to_kubectl_only() {
    for (text, flag) in
        [("yes", true), ("on", true), ("y", true), ("Yes", true), ("off", false), ("n", false), ("No", false)]
    {
        check(&format!("a: {text}"), json!({"a": flag}), json!({"a": text}));
    }
    check("a: TRUE\nb: False", json!({"a": true, "b": false}), json!({"a": true, "b": false}));
    check("a: 'yes'\nb: !!str on", json!({"a": "yes", "b": "on"}), json!({"a": "yes", "b": "on"}));
}

/// A file may end in a block, without a line end. It is the same as go-yaml reads.
#[test]
fn blocks_that_end_with_the_text() {
    for (text, expected) in [
        ("|\n  x", "x"),
        ("|+\n  x", "x"),
        ("|-\n  x", "x"),
        (">\n  x\n  y", "x y"),
        ("|\n  x\n  ", "x\n"),
        ("|+\n  x\n  ", "x\n"),
        ("|\n  x \n  ", "x \n"),
        ("|\n  x\n    ", "x\n  "),
        ("|", ""),
    ] {
        check(&format!("a: {text}"), json!({"a": expected}), json!({"a": expected}));
    }
}

#[test]
fn keys_are_resolved_by_kubectl_only() {
    check("on: 1\nyes: 2", json!({"true": 2}), json!({"on": 1, "yes": 2}));
    check("1: a\n0x10: b", json!({"1": "a", "16": "b"}), json!({"1": "a", "0x10": "b"}));
}

#[test]
fn numbers() {
    check("[0644, 0123456, 010_0, 1_000]", json!([420, 42798, 64, 1000]), json!([420, 42798, 64, 1000]));
    check("[0x1F, 0o17, 0b101, -0x10, +12]", json!([31, 15, 5, -16, 12]), json!([31, 15, 5, -16, 12]));
    check(
        "[089, 1e3, 1.5, .5, -1.25e-2]",
        json!([89, 1000, 1.5, 0.5, -0.0125]),
        json!([89.0, 1000.0, 1.5, 0.5, -0.0125]),
    );
    check("18446744073709551615", json!(18_446_744_073_709_551_615_f64), json!(u64::MAX));
    check(
        "18446744073709551616",
        json!(18_446_744_073_709_551_616_f64),
        json!(18_446_744_073_709_551_616_f64),
    );
    check("-9223372036854775808", json!(i64::MIN), json!(i64::MIN));
    check(
        "[1.2.3, 12:30, 2001-01-01, 0xzz, 1e400, e3, -, --1]",
        json!(["1.2.3", "12:30", "2001-01-01", "0xzz", "1e400", "e3", "-", "--1"]),
        json!(["1.2.3", "12:30", "2001-01-01", "0xzz", "1e400", "e3", "-", "--1"]),
    );
}

#[test]
fn nulls_and_binary_and_tags() {
    check(
        "a: ~\nb:\nc: null\nd: ''",
        json!({"a": null, "b": null, "c": null, "d": ""}),
        json!({"a": null, "b": null, "c": null, "d": ""}),
    );
    check("a: !!binary aGk=", json!({"a": "hi"}), json!({"a": "hi"}));
    check(
        "a: !!int '12'\nb: !!float 1\nc: !Ref x",
        json!({"a": 12, "b": 1, "c": "x"}),
        json!({"a": 12, "b": 1.0, "c": "x"}),
    );
}

#[test]
fn merge_keys_fill_in_what_is_missing() {
    let text =
        "base: &b {x: 1, y: 2}\nother: &o {y: 3, z: 4}\none:\n  <<: *b\n  x: 9\nboth:\n  <<: [*b, *o]\n";
    let value = json!({"base": {"x": 1, "y": 2}, "other": {"y": 3, "z": 4}, "one": {"x": 9, "y": 2}, "both": {"x": 1, "y": 2, "z": 4}});
    // `y` is a boolean as a key, too.
    let kubectl = json!({"base": {"x": 1, "true": 2}, "other": {"true": 3, "z": 4}, "one": {"x": 9, "true": 2}, "both": {"x": 1, "true": 2, "z": 4}});
    check(text, kubectl, value);
}

#[test]
fn the_last_duplicate_wins_for_kubectl_and_is_an_error_for_kyaml() {
    let text = "a: 1\nb: 2\na: 3\n";
    assert_eq!(parse(text, Resolver::Kubectl), Ok(json!({"a": 3, "b": 2})));
    let error = parse(text, Resolver::Kyaml).unwrap_err();
    assert_eq!(error.to_string(), "yaml: line 3: mapping key \"a\" already defined at line 1");
}

#[test]
fn byte_order_mark_and_carriage_returns() {
    check(
        "\u{feff}a: 1\r\nb: |\r\n  x\r\n  y\r\n",
        json!({"a": 1, "b": "x\ny\n"}),
        json!({"a": 1, "b": "x\ny\n"}),
    );
}

#[test]
fn json_reads_only_what_json_has() {
    let text = "[yes, 0644, 1_000, true, 12, 1.5, null, .inf]";
    assert_eq!(parse(text, Resolver::Json), Ok(json!(["yes", "0644", "1_000", true, 12, 1.5, null, ".inf"])));
    assert_eq!(parse("{\"a\": \"b\\u00e9\\/\"}", Resolver::Json), Ok(json!({"a": "bé/"})));
}

#[test]
fn documents() {
    let text = "# only a comment\n---\n---\na: 1\n...\n---\nnull\n--- {b: 2}\n";
    assert_eq!(parse_documents(text, Resolver::Kubectl), Ok(vec![json!({"a": 1}), json!({"b": 2})]));
    assert_eq!(parse("", Resolver::Kubectl), Ok(Value::Null));
    assert_eq!(parse("a: 1\n---\nb: 2\n", Resolver::Kubectl).unwrap_err().line, 3);
}

#[test]
fn errors_name_the_line() {
    let error = parse("a: 1\nb: [1, 2\nc: 3\n", Resolver::Kubectl).unwrap_err();
    assert_eq!((error.line, error.message.is_empty()), (3, false), "{error}");
    assert_eq!(
        parse("a: *x\n", Resolver::Kubectl).unwrap_err().to_string(),
        "yaml: line 1: unknown anchor 'x' referenced"
    );
    assert_eq!(
        parse("a: .inf\n", Resolver::Kubectl).unwrap_err().to_string(),
        "yaml: line 1: .inf has no form in JSON"
    );
}

#[test]
fn limits_hold() {
    let deep = "[".repeat(5000);
    assert!(parse(&deep, Resolver::Kubectl).unwrap_err().message.contains("nested deeper"));
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let alias = format!("*a{}", level - 1);
        bomb += &format!("a{level}: &a{level} [{}]\n", vec![alias; 10].join(", "));
    }
    assert!(parse(&bomb, Resolver::Kubectl).unwrap_err().message.contains("aliases expand to more than"));
}

#[test]
fn a_malformed_tag_is_an_error() {
    for text in ["a: 1\nb: [!tag,x]", "a: 1\nb: !%ff x"] {
        let error = parse(text, Resolver::Kyaml).unwrap_err();
        assert_eq!((error.line, error.message.is_empty()), (2, false), "{text:?}: {error}");
    }
}

#[test]
fn the_grammar_is_that_of_libyaml() {
    // What is more indented is not folded, and a block may end with the text.
    check("a: >\n  b\n    c\n  d\n", json!({"a": "b\n  c\nd\n"}), json!({"a": "b\n  c\nd\n"}));
    check("a: |+\n  b", json!({"a": "b"}), json!({"a": "b"}));
    check("a: \"x\\\n  y\n\n  z\"", json!({"a": "xy\nz"}), json!({"a": "xy\nz"}));
    // Comments may have tabs before them where other things may not.
    check("a:\n  # b\n\t# c\n  d", json!({"a": "d"}), json!({"a": "d"}));
    check(
        "{a, b: c, ? d : e}",
        json!({"a": null, "b": "c", "d": "e"}),
        json!({"a": null, "b": "c", "d": "e"}),
    );
    check("[a: b, c]", json!([{"a": "b"}, "c"]), json!([{"a": "b"}, "c"]));
    for text in [
        "a: b: c",
        "a: - b",
        "a:\n\tb: c",
        "- a\nb: c",
        "a: \"b\" c",
        "%YAML 1.2\n---\na",
        "a: !x!y z",
        "a: 'b",
    ] {
        assert!(parse(text, Resolver::Kyaml).is_err(), "{text:?}");
    }
}

#[test]
fn a_key_may_not_be_too_long() {
    assert!(parse(&format!("{}: b", "a".repeat(1024)), Resolver::Kyaml).is_ok());
    assert!(parse(&format!("{}: b", "a".repeat(1025)), Resolver::Kyaml).is_err());
}
