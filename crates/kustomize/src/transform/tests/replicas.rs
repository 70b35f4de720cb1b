//! Replica counts.

use super::*;
use crate::transform::replicas::ReplicaCountTransformer;

const SPECS: &str =
    "fieldSpecs: [{path: spec/replicas, kind: A, create: true}, {path: spec/replicas, kind: B}]";

#[test]
fn counts_are_numbers_unless_quoted() {
    check::<ReplicaCountTransformer>(
        &format!("{{replica: {{name: a, count: 3}}, {SPECS}}}"),
        "{kind: A, metadata: {name: a}}\n---\n{kind: A, metadata: {name: a}, spec: {replicas: '1'}}\n---\n\
         {kind: A, metadata: {name: a}, spec: {replicas: ~}}\n---\n{kind: A, metadata: {name: b}}\n---\n\
         {kind: B, metadata: {name: a}}\n---\n{kind: B, metadata: {name: a}, spec: {replicas: 1}}",
        "{kind: A, metadata: {name: a}, spec: {replicas: 3}}\n---\n\
         {kind: A, metadata: {name: a}, spec: {replicas: '3'}}\n---\n\
         {kind: A, metadata: {name: a}, spec: {replicas: 3}}\n---\n{kind: A, metadata: {name: b}}\n---\n\
         {kind: B, metadata: {name: a}}\n---\n{kind: B, metadata: {name: a}, spec: {replicas: 3}}",
    );
}

#[test]
fn earlier_names_count() {
    let mut all = resources("{kind: A, metadata: {name: a}}");
    let resource = all.get_mut(0).unwrap();
    resource.remember_id(&Schema::default());
    resource.set_name("p-a");
    run::<ReplicaCountTransformer>(&format!("{{replica: {{name: a, count: 0}}, {SPECS}}}"), &mut all)
        .unwrap();
    assert_eq!(all.get(0).unwrap().node.text_at(&["spec", "replicas"]), "0");
}

#[test]
fn a_name_that_nothing_has_is_an_error() {
    fails::<ReplicaCountTransformer>(
        &format!("{{replica: {{name: z}}, {SPECS}}}"),
        "{kind: A, metadata: {name: a}}\n---\n{kind: C, metadata: {name: z}}",
        &[
            "resource with name z does not match a config with the following GVK [A.[noVer].[noGrp] B.[noVer].[noGrp]]",
        ],
    );
}
