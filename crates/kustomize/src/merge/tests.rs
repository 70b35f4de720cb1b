//! Merges, one quirk of the reference in each.

#![allow(clippy::unwrap_used, reason = "in a test, whatever goes wrong ends it")]

use super::apply;
use crate::node::{Node, read_documents, to_yaml};
use crate::schema::Schema;

fn node(text: &str) -> Node {
    read_documents(text).unwrap().remove(0)
}

fn merged(target: &str, patch: &str) -> Result<Option<String>, String> {
    let merged = apply(&Schema::default(), &node(target), &node(patch))?;
    Ok(merged.map(|merged| to_yaml(&merged).unwrap()))
}

#[track_caller]
fn check(target: &str, patch: &str, expected: &str) {
    assert_eq!(merged(target, patch).unwrap().unwrap(), to_yaml(&node(expected)).unwrap());
}

/// A Deployment with these fields of its pod.
fn pod(fields: &str) -> String {
    format!("{{apiVersion: apps/v1, kind: Deployment, spec: {{template: {{spec: {{{fields}}}}}}}}}")
}

#[track_caller]
fn check_pod(target: &str, patch: &str, expected: &str) {
    check(&pod(target), &pod(patch), &pod(expected));
}

#[test]
fn null_deletes_and_nulls_of_the_target_stay_if_written() {
    check("{a: 1, b: {c: 2}}", "{a: null, b: {c: ~}, d: null}", "{b: {}}");
    check("a:\nb: null\nc: ~\nd: {e: }\n", "{x: {y: null, z: 1}}", "{b: null, c: null, d: {}, x: {z: 1}}");
    check("{a: {b: 1}, c: [1]}", "{a: {}, c: []}", "{a: {b: 1}, c: []}");
}

#[test]
fn a_value_over_a_quoted_one_is_a_string() {
    check(
        "{a: \"80\", b: abc, c: 'x', d: 5}",
        "{a: 81, b: 81, c: true, d: \"6\"}",
        "{a: '81', b: 81, c: 'true', d: '6'}",
    );
}

#[test]
fn directives_of_maps() {
    check("{a: {b: 1, c: 2}}", "{a: {$patch: replace, d: 3}}", "{a: {d: 3}}");
    check("{a: {b: 1}, e: 1}", "{a: {$patch: delete}}", "{e: 1}");
    check(
        "{a: {b: 1}}",
        "{a: {$patch: merge, d: 3}, n: {m: {$patch: delete}, x: 1}}",
        "{a: {b: 1, d: 3}, n: {x: 1}}",
    );
    assert_eq!(merged("{a: 1}", "{$patch: delete}").unwrap(), None);
    check("{a: 1}", "{$patch: replace, b: 1}", "{a: 1}");
    assert_eq!(merged("{a: {}}", "{a: {$patch: x}}").unwrap_err(), "unknown patch strategy 'x'");
    // Where the target has no such map, what is not known is data.
    check("{b: 1}", "{a: {$patch: x}}", "{a: {$patch: x}, b: 1}");
}

#[test]
fn lists_without_a_schema_are_replaced() {
    check("{a: [{name: x, v: 1}]}", "{a: [{name: x, w: 2}]}", "{a: [{name: x, w: 2}]}");
    let error = merged("{a: [1]}", "{a: {b: 1}}").unwrap_err();
    assert!(error.starts_with("wrong node kind: expected SequenceNode but got MappingNode"), "{error}");
}

#[test]
fn items_with_keys_are_merged_and_those_of_the_patch_come_first() {
    check_pod(
        "containers: [{name: a, image: x, env: [{name: A, value: '1'}]}, {name: c}]",
        "containers: [{name: b}, {name: a, env: [{name: B, value: '2'}]}]",
        "containers: [{name: b}, {name: a, image: x, env: [{name: B, value: '2'}, {name: A, value: '1'}]}, {name: c}]",
    );
    check_pod(
        "containers: [{name: a}, {name: b}]",
        "containers: [{name: a, $patch: delete}]",
        "containers: [{name: b}]",
    );
    check_pod(
        "containers: [{name: a}]",
        "containers: [{$patch: replace}, {name: b}]",
        "containers: [{name: b}]",
    );
    check_pod("containers: [{name: a}]", "containers: [{$patch: delete}]", "");
    check_pod("containers: [{name: a}]", "containers: []", "containers: [{name: a}]");
    check_pod("tolerations: [{key: a}]", "tolerations: [{key: b}]", "tolerations: [{key: b}]");
    // Replacing an item has no effect: the target's own comes back.
    check_pod(
        "containers: [{name: a, image: x}]",
        "containers: [{name: a, $patch: replace}]",
        "containers: [{name: a, image: x}]",
    );
}

#[test]
fn ports_are_told_apart_by_number_and_protocol() {
    let ports = |ports: &str| format!("containers: [{{name: a, ports: {ports}}}]");
    let check = |target: &str, patch: &str, expected: &str| {
        check_pod(&ports(target), &ports(patch), &ports(expected));
    };
    check(
        "[{containerPort: 80, protocol: TCP}, {containerPort: 80, protocol: UDP}]",
        "[{containerPort: 80, protocol: UDP, name: u}]",
        // With several keys the target's items come behind the patch's own, in the target's order.
        "[{containerPort: 80, protocol: TCP}, {containerPort: 80, name: u, protocol: UDP}]",
    );
    check(
        "[{containerPort: 80}]",
        "[{containerPort: 80, name: http}, {containerPort: 81}]",
        "[{containerPort: 80, name: http}, {containerPort: 81}]",
    );
}

#[test]
fn finalizers_are_a_set() {
    let object = |list: &str| format!("{{apiVersion: v1, kind: Pod, metadata: {{finalizers: {list}}}}}");
    check(&object("[a, b]"), &object("[c, b]"), &object("[c, b, a]"));
}

#[test]
fn an_item_without_a_key_drops_those_before_it() {
    check_pod(
        "containers: [{name: a}, {image: x}, {name: b}]",
        "nodeName: n",
        "containers: [{image: x}], nodeName: n",
    );
}

#[test]
fn an_object_inside_another_has_the_facts_of_its_kind() {
    let outer = |containers: &str| {
        format!("{{template: {{apiVersion: v1, kind: Pod, spec: {{containers: {containers}}}}}}}")
    };
    check(&outer("[{name: a}]"), &outer("[{name: b}]"), &outer("[{name: b}, {name: a}]"));
}

#[test]
fn what_a_patch_does_not_touch_is_shared() {
    let target = node(&pod("containers: [{name: a, ports: [{containerPort: 80}]}], volumes: [{name: v}]"));
    let merged = apply(&Schema::default(), &target, &node("{spec: {replicas: 2}}")).unwrap().unwrap();
    let template = ["spec", "template"];
    assert!(merged.at(&template).unwrap().is_same(target.at(&template).unwrap()));
}
