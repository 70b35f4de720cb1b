//! From what a pipeline wants to what is written: names, labels, owners, references, what goes, and the conditions.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest;
use object::{Resource, meta};
use serde_json::{Value, json};

use crate::pipeline::State;

pub(super) const COMPOSITE: &str = "crossplane.io/composite";
pub(super) const RESOURCE_NAME: &str = "crossplane.io/composition-resource-name";
/// Names in a message; more are counted.
const NAMED: usize = 3;

pub(super) type Kinds = BTreeMap<(String, String), Resource>;

/// What to write.
pub(super) struct Plan {
    pub(super) delete: Vec<Gone>,
    pub(super) references: Vec<Value>,
    pub(super) apply: Vec<Wanted>,
    status: Value,
    ready: BTreeMap<String, bool>,
    blocked: BTreeSet<String>,
    warnings: Vec<String>,
}

/// An object that is no longer wanted.
pub(super) struct Gone {
    pub(super) object: Value,
}

/// An object that is.
pub(super) struct Wanted {
    /// Its name in the composition.
    pub(super) name: String,
    pub(super) resource: Resource,
    pub(super) object: Value,
    /// The field owner.
    pub(super) owner: String,
}

/// What a reconcile comes to.
pub(super) struct Outcome {
    pub(super) status: Value,
    pub(super) conditions: Vec<Value>,
    pub(super) warnings: Vec<String>,
    /// Not in order yet for a reason that no watch will report.
    pub(super) retry: bool,
}

/// A condition without its time.
pub(super) fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    let mut condition = json!({"type": kind, "status": status, "reason": reason});
    if !message.is_empty() {
        condition["message"] = message.into();
    }
    condition
}

/// Plans; an error is a mistake in the composition.
pub(super) fn plan(
    composite: &Value,
    composite_resource: &Resource,
    observed: &BTreeMap<String, Value>,
    state: State,
    kinds: &Kinds,
) -> Result<Plan, String> {
    let owner = field_owner(composite, composite_resource);
    let mut apply = vec![];
    for (name, desired) in &state.desired {
        let kind = (meta::api_version(&desired.object).to_owned(), meta::kind(&desired.object).to_owned());
        let Some(resource) = kinds.get(&kind) else {
            return Err(format!("cannot compose resources: no kind {kind:?}"));
        };
        let mut object = desired.object.clone();
        object.as_object_mut().map(|map| map.shift_remove("status"));
        identify(&mut object, composite, name, resource, observed.get(name))?;
        apply.push(Wanted { name: name.clone(), resource: resource.clone(), object, owner: owner.clone() });
    }
    // A resource that is held back but exists is kept, with its reference.
    let kept = |name: &str| state.blocked.contains(name) && !state.desired.contains_key(name);
    let mut references: Vec<Value> =
        apply.iter().map(|wanted| reference(&wanted.object, composite)).collect();
    references.extend(observed.iter().filter(|(n, _)| kept(n)).map(|(_, o)| reference(o, composite)));
    references.sort_by_cached_key(Value::to_string);
    let mut delete = vec![];
    for (name, object) in observed {
        let replaced = apply.iter().find(|w| w.name == *name).is_some_and(|w| !is_same(&w.object, object));
        let unwanted = !state.desired.contains_key(name) && !kept(name);
        if (unwanted || replaced) && meta::is_controlled_by(object, meta::uid(composite)) {
            delete.push(Gone { object: object.clone() });
        }
    }
    let mut ready: BTreeMap<String, bool> =
        state.desired.iter().map(|(name, d)| (name.clone(), d.ready == Some(true))).collect();
    ready.extend(state.blocked.iter().map(|name| (name.clone(), false)));
    let status =
        state.composite.get("status").filter(|s| s.is_object()).cloned().unwrap_or_else(|| json!({}));
    Ok(Plan { delete, references, apply, status, ready, blocked: state.blocked, warnings: state.warnings })
}

fn is_same(a: &Value, b: &Value) -> bool {
    let group = |o: &Value| meta::split_api_version(meta::api_version(o)).0.to_owned();
    meta::key(a) == meta::key(b) && meta::kind(a) == meta::kind(b) && group(a) == group(b)
}

/// Name, namespace, owner, labels and annotation of a composed resource.
fn identify(
    object: &mut Value,
    composite: &Value,
    name: &str,
    resource: &Resource,
    observed: Option<&Value>,
) -> Result<(), String> {
    let own_namespace = meta::namespace(composite);
    if !own_namespace.is_empty() && !resource.namespaced {
        return Err(format!(
            "cannot compose resources: {name:?} is a cluster scoped {}, which a namespaced composite cannot compose",
            resource.kind
        ));
    }
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    if resource.namespaced {
        if !own_namespace.is_empty() {
            object["metadata"]["namespace"] = own_namespace.into();
        }
        if meta::namespace(object).is_empty() {
            return Err(format!("cannot compose resources: {name:?} is namespaced and has no namespace"));
        }
    } else if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.shift_remove("namespace");
    }
    let root = meta::label(composite, COMPOSITE).unwrap_or_else(|| meta::name(composite)).to_owned();
    if let Some(observed) = observed.filter(|o| meta::kind(o) == resource.kind) {
        object["metadata"]["name"] = meta::name(observed).into();
    } else if meta::name(object).is_empty() {
        object["metadata"]["name"] = child_name(&format!("{root}-"), meta::uid(composite), name).into();
    }
    meta::set_annotation(object, RESOURCE_NAME, name);
    meta::set_label(object, COMPOSITE, &root);
    for label in ["crossplane.io/claim-name", "crossplane.io/claim-namespace"] {
        if let Some(value) = meta::label(composite, label) {
            meta::set_label(object, label, value);
        }
    }
    object["metadata"]["ownerReferences"] = json!([meta::controller_reference(composite)]);
    Ok(())
}

/// The same for the same composite and resource: prefix, and twelve hex digits of a hash.
fn child_name(prefix: &str, owner_uid: &str, resource_name: &str) -> String {
    let hash = hex(format!("{owner_uid}{resource_name}").as_bytes());
    let room = 63 - 12;
    let prefix: String = prefix.chars().take(room).collect();
    format!("{prefix}{}", &hash[..12])
}

/// The field owner of composed resources, one for each composite.
fn field_owner(composite: &Value, resource: &Resource) -> String {
    let seed = format!("{}{}.{}", meta::name(composite), resource.kind, resource.group);
    format!("apiextensions.crossplane.io/composed/{}", hex(seed.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    let sum = digest::digest(&digest::SHA256, bytes);
    sum.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

fn reference(object: &Value, composite: &Value) -> Value {
    let mut reference = json!({
        "apiVersion": meta::api_version(object), "kind": meta::kind(object), "name": meta::name(object),
    });
    // Those of a namespaced composite are in its own namespace.
    if meta::namespace(composite).is_empty() && !meta::namespace(object).is_empty() {
        reference["namespace"] = meta::namespace(object).into();
    }
    reference
}

impl Plan {
    /// The status, given what the API server refused.
    pub(super) fn outcome(self, composite: &Value, refused: &BTreeMap<String, String>) -> Outcome {
        let synced = if refused.is_empty() {
            condition("Synced", "True", "ReconcileSuccess", "")
        } else {
            let details: Vec<String> =
                refused.iter().map(|(name, error)| format!("{name}: {error}")).collect();
            let text = format!("Invalid resources: {}", details.join("; "));
            condition("Synced", "False", "ReconcileError", &text)
        };
        let unready: Vec<&str> = self
            .ready
            .iter()
            .filter(|(name, ready)| !**ready || refused.contains_key(*name))
            .map(|(name, _)| name.as_str())
            .collect();
        let ready = if unready.is_empty() {
            condition("Ready", "True", "Available", "")
        } else {
            condition("Ready", "False", "Creating", &format!("Unready resources: {}", some_of(&unready)))
        };
        tracing::debug!(composite = %meta::key(composite), unready = unready.len(), "composed");
        let retry = !refused.is_empty() || !self.blocked.is_empty();
        Outcome { status: self.status, conditions: vec![synced, ready], warnings: self.warnings, retry }
    }
}

/// `a, b, c, and 2 more`
fn some_of(names: &[&str]) -> String {
    if names.len() <= NAMED {
        return names.join(", ");
    }
    format!("{}, and {} more", names[..NAMED].join(", "), names.len() - NAMED)
}

#[cfg(test)]
mod tests {
    use object::kinds;

    use super::*;
    use crate::pipeline::Desired;

    fn composite() -> Value {
        json!({"apiVersion": "platform.io/v1", "kind": "XNodeApp",
            "metadata": {"name": "shop", "namespace": "n", "uid": "u", "labels": {COMPOSITE: "shop"}}})
    }

    fn desired(ready: Option<bool>, metadata: Value) -> Desired {
        Desired {
            object: json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "status": {}}),
            ready,
        }
    }

    fn existing(name: &str) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "n", "uid": name,
            "ownerReferences": [{"uid": "u", "controller": true}]}})
    }

    fn planned(wanted: &[(&str, Desired)], observed: &[(&str, Value)]) -> Result<Plan, String> {
        let state = State {
            desired: wanted.iter().map(|(n, d)| ((*n).into(), d.clone())).collect(),
            ..State::default()
        };
        let observed = observed.iter().map(|(n, o)| ((*n).into(), o.clone())).collect();
        let kinds = [
            (("apps/v1".into(), "Deployment".into()), kinds::DEPLOYMENT),
            (("v1".into(), "Namespace".into()), kinds::NAMESPACE),
        ]
        .into();
        let resource = Resource::new("platform.io", "v1", "xnodeapps", "XNodeApp", true);
        plan(&composite(), &resource, &observed, state, &kinds)
    }

    #[test]
    fn composed_resources_are_named_and_owned() {
        let plan = planned(&[("web", desired(None, Value::Null))], &[]).unwrap();
        let object = &plan.apply[0].object;
        let name = meta::name(object);
        assert!(name.starts_with("shop-") && name.len() == 17, "{name}");
        assert_eq!(meta::namespace(object), "n");
        assert_eq!(meta::annotation(object, RESOURCE_NAME), Some("web"));
        assert_eq!(meta::label(object, COMPOSITE), Some("shop"));
        assert!(meta::is_controlled_by(object, "u") && object.get("status").is_none());
        assert_eq!(plan.references, [json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name})]);
        assert!(plan.apply[0].owner.starts_with("apiextensions.crossplane.io/composed/"));
        let again = planned(&[("web", desired(None, Value::Null))], &[]).unwrap();
        assert_eq!(meta::name(&again.apply[0].object), name, "the name is derived, not random");
        let named = planned(&[("web", desired(None, json!({"name": "front"})))], &[]).unwrap();
        assert_eq!(meta::name(&named.apply[0].object), "front");
    }

    #[test]
    fn what_is_no_longer_wanted_goes() {
        let web = || ("web", desired(None, json!({"name": "web"})));
        let foreign = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "f", "namespace": "n"}});
        let plan =
            planned(&[web()], &[("web", existing("web")), ("old", existing("old")), ("foreign", foreign)])
                .unwrap();
        let gone: Vec<&str> = plan.delete.iter().map(|g| meta::name(&g.object)).collect();
        assert_eq!(gone, ["old"], "what has another controller or none is never deleted");
    }

    #[test]
    fn conditions_tell_what_is_missing() {
        let wanted = |ready: &[Option<bool>]| -> Vec<(String, Desired)> {
            ready.iter().enumerate().map(|(i, r)| (format!("r{i}"), desired(*r, Value::Null))).collect()
        };
        let check = |ready: &[Option<bool>], refused: &[(&str, &str)], expected: [&str; 2]| {
            let wanted = wanted(ready);
            let wanted: Vec<(&str, Desired)> = wanted.iter().map(|(n, d)| (n.as_str(), d.clone())).collect();
            let refused = refused.iter().map(|(n, e)| ((*n).to_owned(), (*e).to_owned())).collect();
            let outcome = planned(&wanted, &[]).unwrap().outcome(&composite(), &refused);
            let text = |c: &Value| {
                let field = |name: &str| c[name].as_str().unwrap_or_default().to_owned();
                format!("{} {} {}", field("status"), field("reason"), field("message"))
            };
            assert_eq!(outcome.conditions.iter().map(text).collect::<Vec<_>>(), expected);
        };
        check(&[Some(true)], &[], ["True ReconcileSuccess ", "True Available "]);
        check(&[None, Some(true)], &[], ["True ReconcileSuccess ", "False Creating Unready resources: r0"]);
        let five = [None, None, None, None, None];
        check(
            &five,
            &[],
            ["True ReconcileSuccess ", "False Creating Unready resources: r0, r1, r2, and 2 more"],
        );
        check(
            &[Some(true)],
            &[("r0", "spec.selector: Required value")],
            [
                "False ReconcileError Invalid resources: r0: spec.selector: Required value",
                "False Creating Unready resources: r0",
            ],
        );
    }

    #[test]
    fn a_namespaced_composite_stays_in_its_namespace() {
        let elsewhere = planned(&[("web", desired(None, json!({"namespace": "other"})))], &[]).unwrap();
        assert_eq!(meta::namespace(&elsewhere.apply[0].object), "n");
        let object = json!({"apiVersion": "v1", "kind": "Namespace"});
        let error = planned(&[("ns", Desired { object, ready: None })], &[]).err().unwrap();
        assert!(error.contains("cluster scoped Namespace"), "{error}");
    }
}
