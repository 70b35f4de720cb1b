//! Labels and annotations.

use super::*;
use crate::transform::annotations::AnnotationsTransformer;
use crate::transform::labels::LabelTransformer;

#[test]
fn values_are_strings() {
    check::<LabelTransformer>(
        "{labels: {a: 1, b: true}, fieldSpecs: [{path: metadata/labels, create: true}]}",
        "{kind: A, metadata: {labels: {a: old, c: 3}}}\n---\n{kind: B}\n---\n{kind: C, metadata: {labels: ~}}",
        "{kind: A, metadata: {labels: {a: \"1\", b: \"true\", c: 3}}}\n---\n\
         {kind: B, metadata: {labels: {a: \"1\", b: \"true\"}}}\n---\n\
         {kind: C, metadata: {labels: {a: \"1\", b: \"true\"}}}",
    );
}

#[test]
fn maps_are_made_only_where_the_spec_says() {
    let specs = "fieldSpecs: [{path: spec/selector, kind: A}, {path: 'spec/list[]/labels', create: true}, \
                 {path: spec/made/here, create: true, group: apps, version: v1}]";
    check::<AnnotationsTransformer>(
        &format!("{{annotations: {{x: y}}, {specs}}}"),
        "{kind: A, spec: {selector: {}, list: [{labels: {}}, {}, ~]}}\n---\n{kind: A, spec: {selector: ~, list: ~}}\n---\n\
         {kind: B, apiVersion: apps/v1, spec: {selector: {}}}",
        "{kind: A, spec: {selector: {x: y}, list: [{labels: {x: y}}, {labels: {x: y}}, ~]}}\n---\n\
         {kind: A, spec: {selector: ~, list: []}}\n---\n\
         {kind: B, apiVersion: apps/v1, spec: {selector: {}, made: {here: {x: y}}}}",
    );
}

#[test]
fn fields_of_another_shape_are_errors() {
    let config = "{labels: {x: y}, fieldSpecs: [{path: spec/selector, create: true}]}";
    let parts =
        ["d/kustomization.yaml", "considering field 'spec/selector' of object A.[noVer].[noGrp]/n.[noNs]"];
    fails::<LabelTransformer>(config, "{kind: A, metadata: {name: n}, spec: {selector: text}}", &parts);
    fails::<LabelTransformer>(config, "{kind: A, metadata: {name: n}, spec: text}", &parts);
}

#[test]
fn what_is_there_is_not_copied() {
    let mut all = resources("{kind: A, metadata: {labels: {x: y}}}");
    let before = all.get(0).unwrap().node.clone();
    run::<LabelTransformer>(
        "{labels: {x: y}, fieldSpecs: [{path: metadata/labels, create: true}]}",
        &mut all,
    )
    .unwrap();
    assert!(all.get(0).unwrap().node.is_same(&before));
}
