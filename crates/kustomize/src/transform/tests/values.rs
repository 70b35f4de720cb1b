//! One value for many fields.

use super::*;
use crate::transform::value_add::ValueAddTransformer;

#[test]
fn values_are_set_where_targets_say() {
    check::<ValueAddTransformer>(
        "{value: v, targets: [{selector: {kind: A}, fieldPath: spec/made/here}, {fieldPath: metadata/namespace}, \
         {selector: {kind: B}, fieldPath: 'spec/list/[name=x]/image', filePathPosition: 2}, \
         {selector: {kind: B}, fieldPath: spec/list/0/image}]}",
        "{kind: A, spec: {x: y}}\n---\n{kind: B, spec: {list: [{name: w, image: \"1\"}, {name: x, image: /a/b}]}}",
        "{kind: A, metadata: {namespace: v}, spec: {x: y, made: {here: v}}}\n---\n\
         {kind: B, metadata: {namespace: v}, spec: {list: [{name: w, image: v}, {name: x, image: /a/v/b}]}}",
    );
}

#[test]
fn elements_are_made_and_the_directory_is_the_value() {
    check::<ValueAddTransformer>(
        "{targets: [{fieldPath: 'spec/list/[name=x]/a\\/b'}]}",
        "{kind: A, spec: {}}\n---\n{kind: B, spec: ~}",
        "{kind: A, spec: {list: [{name: x, a/b: d}]}}\n---\n{kind: B, spec: ~}",
    );
}

#[test]
fn bad_targets_are_errors() {
    let check = |config: &str, part: &str| {
        fails::<ValueAddTransformer>(config, "{kind: A, spec: text}", &["d/kustomization.yaml", part]);
    };
    check("{value: v}", "must specify at least one target");
    check("{targets: [{}]}", "fieldPath cannot be empty");
    check("{targets: [{fieldPath: a, filePathPosition: -1}]}", "FilePathPosition (-1) cannot be negative");
    check("{targets: [{fieldPath: spec/a}]}", "expected MappingNode but got ScalarNode");
    check("{targetFilePath: nope}", "nope");
}
