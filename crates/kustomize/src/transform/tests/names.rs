//! Prefixes, suffixes and hashes.

use super::*;
use crate::transform::hash::HashTransformer;
use crate::transform::prefix::PrefixTransformer;
use crate::transform::suffix::SuffixTransformer;

const NAME: &str = "fieldSpecs: [{path: metadata/name}]";

#[test]
fn names_get_a_prefix_and_a_suffix() {
    let input = "{kind: A, metadata: {name: a}}\n---\n{kind: B, metadata: {name: \"5\"}}\n---\n{kind: C, metadata: {name: e5}}";
    check::<PrefixTransformer>(
        &format!("{{prefix: \"1\", {NAME}}}"),
        input,
        "{kind: A, metadata: {name: 1a}}\n---\n{kind: B, metadata: {name: \"15\"}}\n---\n{kind: C, metadata: {name: 1e5}}",
    );
    check::<SuffixTransformer>(
        &format!("{{suffix: -x, {NAME}}}"),
        "{kind: A, metadata: {name: a}}\n---\n{kind: B, metadata: {}}",
        "{kind: A, metadata: {name: a-x}}\n---\n{kind: B, metadata: {}}",
    );
}

#[test]
fn some_kinds_keep_their_names() {
    let input = "{apiVersion: v1, kind: Namespace, metadata: {name: a}}\n---\n\
                 {apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: a}}\n---\n\
                 {apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: a}}";
    check::<PrefixTransformer>(&format!("{{prefix: p-, {NAME}}}"), input, input);
    check::<PrefixTransformer>(
        &format!("{{prefix: p-, {NAME}}}"),
        "{apiVersion: else/v1, kind: APIService, metadata: {name: a}}",
        "{apiVersion: else/v1, kind: APIService, metadata: {name: p-a}}",
    );
}

#[test]
fn names_and_prefixes_are_remembered() {
    let mut all = resources("{kind: A, metadata: {name: a}, spec: {ref: r}}");
    let specs = "fieldSpecs: [{path: metadata/name}, {path: spec/ref, kind: A}, {path: spec/ref, kind: B}]";
    run::<PrefixTransformer>(&format!("{{prefix: p-, {specs}}}"), &mut all).unwrap();
    run::<SuffixTransformer>(&format!("{{suffix: -s, {NAME}}}"), &mut all).unwrap();
    run::<SuffixTransformer>(&format!("{{suffix: '', {NAME}}}"), &mut all).unwrap();
    let resource = all.get(0).unwrap();
    assert_eq!((resource.name(), resource.node.text_at(&["spec", "ref"])), ("p-a-s", "p-r"));
    assert_eq!(
        (resource.prefixes.join(","), resource.suffixes.join(",")),
        ("p-".to_owned(), "-s".to_owned())
    );
    let names: Vec<&str> = resource.previous.iter().map(|previous| &*previous.name).collect();
    assert_eq!(names, ["a", "p-a"]);
    fails::<PrefixTransformer>("{prefix: p-}", "{kind: A}", &["fieldSpecs is not expected to be nil"]);
}

#[test]
fn hashes_are_added_where_they_are_asked_for() {
    let mut all = resources(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}",
    );
    all.get_mut(0).unwrap().needs_hash = true;
    run::<HashTransformer>("{}", &mut all).unwrap();
    let names: Vec<&str> = all.iter().map(Resource::name).collect();
    assert_eq!(names, ["a-6ct58987ht", "b"]);
    assert_eq!(&*all.get(0).unwrap().previous[0].name, "a");
}
