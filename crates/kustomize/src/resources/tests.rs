//! How generated resources are added to those that are there.

#![allow(clippy::unwrap_used, reason = "in a test, whatever goes wrong ends it")]

use super::*;
use crate::node::{read_documents, to_yaml};

const OLD: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: p-a, labels: {l: 1, k: o}}, \
                   immutable: true, data: {x: 1, y: ~}, binaryData: {b: YQ==}}";
const NEW: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, labels: {l: two}}, data: {x: new}}";

fn resource(text: &str, behavior: Behavior) -> Resource {
    let mut resource = Resource::new(read_documents(text).unwrap().remove(0));
    resource.behavior = behavior;
    resource.needs_hash = true;
    resource
}

/// One resource that was called `a` and is called `p-a`.
fn renamed(needs_hash: bool) -> Resources {
    let mut old = resource(OLD, Behavior::Create);
    let schema = Schema::default();
    old.set_name("a");
    old.remember_id(&schema);
    old.set_name("p-a");
    old.needs_hash = needs_hash;
    Resources::from_list(vec![old])
}

#[test]
fn merging_keeps_the_old_name_and_data() {
    let mut all = renamed(true);
    all.absorb(resource(NEW, Behavior::Merge), &Schema::default()).unwrap();
    let merged = all.get(0).unwrap();
    let expected = "apiVersion: v1\nbinaryData:\n  b: YQ==\ndata:\n  x: new\n  \"y\": \"\"\nkind: ConfigMap\nmetadata:\n  \
                    labels:\n    k: o\n    l: two\n  name: p-a\n";
    assert_eq!(to_yaml(&merged.node).unwrap(), expected);
    assert_eq!((merged.behavior, merged.needs_hash, merged.previous.len()), (Behavior::Create, true, 1));
}

#[test]
fn replacing_keeps_the_old_name_only() {
    let mut all = renamed(false);
    all.absorb(resource(NEW, Behavior::Replace), &Schema::default()).unwrap();
    let replaced = all.get(0).unwrap();
    let expected = "apiVersion: v1\ndata:\n  x: new\nkind: ConfigMap\nmetadata:\n  labels:\n    k: o\n    l: two\n  \
                    name: p-a\n";
    assert_eq!(to_yaml(&replaced.node).unwrap(), expected);
    assert!(!replaced.needs_hash, "what had no hash gets none");
}

#[test]
fn behaviors_that_do_not_fit() {
    let check = |mut all: Resources, behavior: Behavior, part: &str| {
        let error = all.absorb(resource(NEW, behavior), &Schema::default()).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    check(Resources::default(), Behavior::Merge, "does not exist; cannot merge or replace");
    check(renamed(true), Behavior::Create, "behavior: 'create', behavior must be merge or replace");
    check(renamed(true), Behavior::Unspecified, "behavior: 'unspecified'");
    let twice = renamed(true).into_list().into_iter().chain(renamed(true).into_list()).collect();
    check(Resources::from_list(twice), Behavior::Merge, "found multiple objects");
    let mut all = Resources::default();
    all.absorb(resource(NEW, Behavior::Unspecified), &Schema::default()).unwrap();
    assert_eq!(all.len(), 1);
}
