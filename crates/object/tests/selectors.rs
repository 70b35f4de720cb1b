//! Label and field selectors: what they match, and the texts of their errors.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says when it skips"
)]

use object::selector::{FieldSelector, LabelSelector};
use serde_json::{Value, json};

fn check(selector: &str, labels: Value, expected: bool) {
    let parsed = LabelSelector::parse(selector).unwrap();
    assert_eq!(parsed.matches(&labels), expected, "{selector} on {labels}");
}

#[test]
fn label_selectors_match() {
    let labels = || json!({"app": "web", "tier": "3", "in": "x"});
    for (selector, expected) in [
        ("", true),
        ("app=web", true),
        ("app==web,tier=3", true),
        ("app=web,tier=4", false),
        ("app!=web", false),
        ("other!=web", true),
        ("app in (web, api)", true),
        ("app in (api,)", false),
        ("other notin (web)", true),
        ("app notin (web)", false),
        ("app", true),
        ("!app", false),
        ("! other", true),
        ("tier>2", true),
        ("tier<2", false),
        ("app>2", false),
        ("in in (x)", true),
        ("other=", false),
    ] {
        check(selector, labels(), expected);
    }
}

#[test]
fn label_selector_errors_have_kubernetes_texts() {
    for (selector, expected) in [
        ("a=b,", "found '', expected: identifier after ','"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        (",a", "found ',', expected: !, identifier, or 'end of string'"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        (
            "a in ()",
            "unable to parse requirement: values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty",
        ),
        (
            "a>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
    ] {
        assert_eq!(LabelSelector::parse(selector).unwrap_err().to_string(), expected, "{selector}");
    }
}

#[test]
fn selector_objects() {
    let labels = json!({"app": "web"});
    for (selector, expected) in [
        (json!(null), false),
        (json!({}), true),
        (json!({"matchLabels": {"app": "web"}}), true),
        (json!({"matchLabels": {"app": "api"}}), false),
        (json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["api"]}]}), true),
        (json!({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}), false),
    ] {
        assert_eq!(LabelSelector::from_object(&selector).unwrap().matches(&labels), expected, "{selector}");
    }
    let error = LabelSelector::from_object(&json!({"matchExpressions": [{"key": "a", "operator": "Is"}]}));
    assert_eq!(error.unwrap_err().to_string(), "\"Is\" is not a valid label selector operator");
    assert!(!LabelSelector::from_map(&json!(null)).matches(&labels));
    let text = LabelSelector::from_object(&json!({"matchLabels": {"b": "2", "a": "1"}})).unwrap().to_string();
    assert_eq!(text, "a=1,b=2");
}

#[test]
fn field_selectors() {
    let pod = json!({"metadata": {"name": "a,b"}, "spec": {"nodeName": "n1", "hostNetwork": true}});
    for (selector, expected) in [
        ("", true),
        ("spec.nodeName=n1", true),
        ("spec.nodeName==n1,status.phase!=Failed", true),
        ("spec.nodeName!=n1", false),
        (r"metadata.name=a\,b", true),
        ("spec.hostNetwork=true", true),
        ("status.phase=", true),
    ] {
        assert_eq!(FieldSelector::parse(selector).unwrap().matches_object(&pod), expected, "{selector}");
    }
    for (selector, expected) in [
        ("spec", "invalid selector: 'spec'; can't understand 'spec'"),
        (r"a=\x", r"invalid field selector: invalid escape sequence: \x"),
    ] {
        assert_eq!(FieldSelector::parse(selector).unwrap_err().to_string(), expected);
    }
}
