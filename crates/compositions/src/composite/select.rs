//! Which Composition, and which of its revisions, a composite uses. Pure.

use std::sync::Arc;

use object::selector::LabelSelector;
use object::{Resource, meta};
use serde_json::Value;

use crate::api::composite::fields;
use crate::revision::{COMPOSITION_NAME, number};

/// The enforced one, the one it has, one that its selector matches, the default, or any that fits.
pub(super) fn composition(
    composite: &Value,
    legacy: bool,
    resource: &Resource,
    definition: &Value,
    compositions: &[Arc<Value>],
) -> Result<String, String> {
    if let Some(name) = definition["spec"]["enforcedCompositionRef"]["name"].as_str() {
        return Ok(name.to_owned());
    }
    let fields = fields(composite, legacy);
    if let Some(name) = fields["compositionRef"]["name"].as_str() {
        return Ok(name.to_owned());
    }
    let target = |c: &Arc<Value>| {
        let wanted = &c["spec"]["compositeTypeRef"];
        wanted["kind"] == *resource.kind && wanted["apiVersion"] == resource.api_version()
    };
    let selector = &fields["compositionSelector"];
    if !selector.is_object()
        && let Some(name) = definition["spec"]["defaultCompositionRef"]["name"].as_str()
    {
        return Ok(name.to_owned());
    }
    let matches = |c: &Arc<Value>| {
        !selector.is_object()
            || LabelSelector::from_map(&selector["matchLabels"]).matches(&c["metadata"]["labels"])
    };
    // Several fit: the first by name, so that it does not depend on chance. It is stored, and so stays.
    let mut fitting = compositions.iter().filter(|c| target(c) && matches(c) && !meta::is_being_deleted(c));
    fitting
        .next()
        .map(|c| meta::name(c).to_owned())
        .ok_or_else(|| "no compatible Compositions found".to_owned())
}

/// The newest revision, or the pinned one.
pub(super) fn revision(fields: &Value, revisions: &[Arc<Value>]) -> Result<Arc<Value>, String> {
    let composition = fields["compositionRef"]["name"].as_str().unwrap_or_default();
    let of_it: Vec<&Arc<Value>> =
        revisions.iter().filter(|r| meta::label(r, COMPOSITION_NAME) == Some(composition)).collect();
    let pinned = fields["compositionRevisionRef"]["name"]
        .as_str()
        .filter(|_| fields["compositionUpdatePolicy"] == "Manual");
    if let Some(name) = pinned {
        let found = of_it.into_iter().find(|r| meta::name(r) == name);
        return found.cloned().ok_or_else(|| format!("CompositionRevision {name:?} not found"));
    }
    let selector = &fields["compositionRevisionSelector"];
    let matches = |r: &&Arc<Value>| {
        !selector.is_object()
            || LabelSelector::from_map(&selector["matchLabels"]).matches(&r["metadata"]["labels"])
    };
    let newest = of_it.into_iter().filter(matches).max_by_key(|r| number(r));
    newest
        .cloned()
        .ok_or_else(|| format!("no compatible CompositionRevisions found of Composition {composition:?}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named(name: &str, labels: Value) -> Arc<Value> {
        Arc::new(json!({"metadata": {"name": name, "labels": labels},
            "spec": {"compositeTypeRef": {"apiVersion": "platform.io/v1", "kind": "XNodeApp"}}}))
    }

    #[test]
    fn the_order_of_choice() {
        let resource = Resource::new("platform.io", "v1", "xnodeapps", "XNodeApp", true);
        let compositions = [named("a", json!({"tier": "small"})), named("b", json!({"tier": "big"}))];
        let check = |crossplane: Value, definition: Value, expected: Result<&str, &str>| {
            let composite = json!({"spec": {"crossplane": crossplane}});
            let actual =
                composition(&composite, false, &resource, &json!({"spec": definition}), &compositions);
            assert_eq!(actual, expected.map(str::to_owned).map_err(str::to_owned));
        };
        let by_label = json!({"compositionSelector": {"matchLabels": {"tier": "big"}}});
        check(json!({}), json!({}), Ok("a"));
        check(by_label.clone(), json!({"defaultCompositionRef": {"name": "d"}}), Ok("b"));
        check(json!({}), json!({"defaultCompositionRef": {"name": "d"}}), Ok("d"));
        check(json!({"compositionRef": {"name": "c"}}), json!({}), Ok("c"));
        check(
            json!({"compositionRef": {"name": "c"}}),
            json!({"enforcedCompositionRef": {"name": "e"}}),
            Ok("e"),
        );
        let nothing = json!({"compositionSelector": {"matchLabels": {"tier": "none"}}});
        check(nothing, json!({}), Err("no compatible Compositions found"));
    }

    #[test]
    fn the_newest_revision_unless_pinned() {
        let revision_of = |name: &str, number: i64| {
            Arc::new(
                json!({"metadata": {"name": name, "labels": {COMPOSITION_NAME: "c"}}, "spec": {"revision": number}}),
            )
        };
        let revisions = [revision_of("c-1", 3), revision_of("c-2", 2)];
        let check = |extra: Value, expected: Result<&str, &str>| {
            let fields = object::patch::merge::apply(&json!({"compositionRef": {"name": "c"}}), &extra);
            let actual = revision(&fields, &revisions).map(|r| meta::name(&r).to_owned());
            assert_eq!(actual, expected.map(str::to_owned).map_err(str::to_owned));
        };
        check(json!({}), Ok("c-1"));
        let pin = |name: &str| json!({"compositionUpdatePolicy": "Manual", "compositionRevisionRef": {"name": name}});
        check(pin("c-2"), Ok("c-2"));
        check(pin("c-9"), Err("CompositionRevision \"c-9\" not found"));
        check(
            json!({"compositionRef": {"name": "other"}}),
            Err("no compatible CompositionRevisions found of Composition \"other\""),
        );
    }
}
