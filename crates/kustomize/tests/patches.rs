//! Patches as a kustomization uses them: which resources they meet, and what stays as it is.

#![allow(clippy::unwrap_used, reason = "in a test, whatever goes wrong ends it")]

use bytes::Bytes;
use kustomize::{MemoryTree, Options, build};

const CONFIG_MAP: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels: {x: y}\ndata:\n  k: v\n";

fn built(files: &[(&str, &str)]) -> Result<String, String> {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), Bytes::from((*text).to_owned())));
    let built = build(&MemoryTree::new(files), "", Options::default());
    built.and_then(|built| built.to_yaml()).map_err(|error| error.to_string())
}

/// A ConfigMap `a` with this kustomization.
fn patched(kustomization: &str) -> Result<String, String> {
    let kustomization = format!("resources: [r.yaml]\n{kustomization}");
    built(&[("kustomization.yaml", &kustomization), ("r.yaml", CONFIG_MAP)])
}

#[track_caller]
fn check(kustomization: &str, expected: &str) {
    assert_eq!(patched(kustomization).unwrap(), expected);
}

#[track_caller]
fn check_error(kustomization: &str, expected: &str) {
    let error = patched(kustomization).unwrap_err();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn a_patch_keeps_name_and_kind_unless_it_may_change_them() {
    let patch = "patches:\n- patch: '{apiVersion: v1, kind: Secret, metadata: {name: b, namespace: n}, data: null}'\n  target: {name: a}\n";
    check(patch, "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  labels:\n    x: \"y\"\n  name: a\n");
    let options = format!("{patch}  options: {{allowNameChange: true, allowKindChange: true}}\n");
    check(&options, "apiVersion: v1\nkind: Secret\nmetadata:\n  labels:\n    x: \"y\"\n  name: b\n");
}

#[test]
fn a_patch_may_delete_a_resource() {
    check(
        "patches:\n- patch: '{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, $patch: delete}'\n",
        "",
    );
}

#[test]
fn with_a_target_null_is_the_text_of_a_label() {
    let patch = "patches:\n- patch: '{apiVersion: v1, kind: ConfigMap, metadata: {name: a, labels: {x: null}}, data: null}'\n";
    check(patch, "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  labels: {}\n  name: a\n");
    let target = format!("{patch}  target: {{kind: ConfigMap}}\n");
    check(&target, "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  labels:\n    x: \"null\"\n  name: a\n");
}

#[test]
fn a_json_patch_in_patches_finds_annotations() {
    let add = "- {op: add, path: /metadata/annotations/b, value: c}\n    - {op: remove, path: /data}";
    check(
        &format!("patches:\n- target: {{name: a.*}}\n  patch: |-\n    {add}\n"),
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  annotations:\n    b: c\n  labels:\n    x: \"y\"\n  name: a\n",
    );
    check_error(
        &format!(
            "patchesJson6902:\n- target: {{version: v1, kind: ConfigMap, name: a}}\n  patch: |-\n    {add}\n"
        ),
        "JSON patch of ConfigMap.v1.[noGrp]/a.[noNs]: add operation does not apply",
    );
}

/// A patch that names an object sets its name and namespace anew, as kustomize does it without a type.
#[test]
fn who_a_patched_object_is_has_no_type() {
    let text = |patch: &str| {
        let replacement = "replacements: [{source: {kind: Source, fieldPath: data.port}, \
            targets: [{select: {kind: Target}, fieldPaths: [metadata.namespace]}]}]";
        let objects = "apiVersion: v1\nkind: Target\nmetadata: {name: t, namespace: n}\n---\n\
            apiVersion: v1\nkind: Source\nmetadata: {name: s}\ndata: {port: 80}\n";
        let kustomization = format!("resources: [a.yaml]\n{replacement}\npatches: [{patch}]\n");
        built(&[("kustomization.yaml", &kustomization), ("a.yaml", objects)]).unwrap()
    };
    assert!(text("").contains("namespace: \"80\""));
    let patch = "{patch: '{apiVersion: v1, kind: Target, metadata: {name: t, namespace: n}, x: y}'}";
    assert!(text(patch).contains("namespace: 80\n"));
}

/// A name that was set without a type is the text of it, also where it looks like nothing.
#[test]
fn a_name_that_looks_like_null_is_a_name() {
    let replacement = "replacements: [{source: {fieldPath: data.k}, targets: [{select: {name: a}}]}]";
    let patch =
        r#"patches: [{patch: '{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: "null"}}'}]"#;
    check(
        &format!("{patch}\n{replacement}"),
        "apiVersion: v1\ndata:\n  k: \"null\"\nkind: ConfigMap\nmetadata:\n  labels:\n    x: \"y\"\n  name: null\n",
    );
}

#[test]
fn a_json_patch_needs_what_json_can_say() {
    let annotate = r#"{target: {kind: X}, patch: '[{"op": "add", "path": "/metadata/annotations", "value": {"1": "x"}}]'}"#;
    let forget = r#"{target: {kind: X}, patch: '[{"op": "remove", "path": "/metadata/annotations"}]'}"#;
    let kustomization = format!("resources: [a.yaml]\npatches: [{annotate}, {forget}]\n");
    let object = "apiVersion: v1\nkind: X\nmetadata: {name: x}\n";
    let error = built(&[("kustomization.yaml", &kustomization), ("a.yaml", object)]).unwrap_err();
    assert!(error.contains("patches[1]") && error.contains("the key \"1\" has to be a string"), "{error}");
}

#[test]
fn errors_say_which_patch_fails() {
    check_error(
        "patches:\n- patch: '{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}'\n",
        "kustomization.yaml: patches[0]: no resource matches strategic merge patch \"ConfigMap.v1.[noGrp]/b.[noNs]\": no matches for Id",
    );
    check_error("patches:\n- patch: 'x'\n", "unable to parse SM or JSON patch from [patch: \"x\"]");
    check_error("patches:\n- target: {name: a}\n", "must specify one of patch and path");
    check_error("patches:\n- patch: '[{\"op\": \"add\"}]'\n", "must specify a target for JSON patch");
    check_error("patches:\n- path: p.yaml\n", "failed to get the patch file from path(p.yaml)");
    check_error(
        "patches:\n- patch: '{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: [1]}'\n",
        "strategic merge patch of ConfigMap.v1.[noGrp]/a.[noNs]: wrong node kind: expected MappingNode but got SequenceNode",
    );
}
