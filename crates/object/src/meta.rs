//! Reading and writing an object's envelope: names, labels, owners, finalizers, conditions.
//!
//! Every function takes the plain JSON value, because most objects that pass through Portolan are of
//! kinds it does not know. A missing or mistyped field reads as absent.

use serde_json::{Map, Value, json};

use crate::{Key, Resource};

/// `metadata.name`, or `""`.
pub fn name(object: &Value) -> &str {
    text(object, "name")
}

/// `metadata.namespace`, or `""` for cluster-scoped objects.
pub fn namespace(object: &Value) -> &str {
    text(object, "namespace")
}

/// `metadata.uid`, or `""`.
pub fn uid(object: &Value) -> &str {
    text(object, "uid")
}

/// `metadata.resourceVersion`, or `""`.
pub fn resource_version(object: &Value) -> &str {
    text(object, "resourceVersion")
}

/// `metadata.generation`, or 0 for kinds that have none.
pub fn generation(object: &Value) -> i64 {
    object["metadata"]["generation"].as_i64().unwrap_or(0)
}

/// `metadata.creationTimestamp` as it stands (RFC 3339), or `""`.
pub fn creation_timestamp(object: &Value) -> &str {
    text(object, "creationTimestamp")
}

/// Whether `metadata.deletionTimestamp` is set.
pub fn is_being_deleted(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// `apiVersion`, or `""`.
pub fn api_version(object: &Value) -> &str {
    object["apiVersion"].as_str().unwrap_or_default()
}

/// `kind`, or `""`.
pub fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap_or_default()
}

/// Namespace and name.
pub fn key(object: &Value) -> Key {
    Key::new(namespace(object), name(object))
}

/// Splits `apiVersion` into group (`""` for core) and version.
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// One label's value.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["labels"].get(key)?.as_str()
}

/// One annotation's value.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["annotations"].get(key)?.as_str()
}

/// Sets a label, creating the map when missing.
pub fn set_label(object: &mut Value, key: &str, value: &str) {
    entry_map(object, "labels").insert(key.to_owned(), value.into());
}

/// Sets an annotation, creating the map when missing.
pub fn set_annotation(object: &mut Value, key: &str, value: &str) {
    entry_map(object, "annotations").insert(key.to_owned(), value.into());
}

/// The finalizers in order.
pub fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Whether `finalizer` is among the finalizers.
pub fn has_finalizer(object: &Value, finalizer: &str) -> bool {
    finalizers(object).any(|f| f == finalizer)
}

/// The owner references in order.
pub fn owners(object: &Value) -> impl Iterator<Item = &Value> {
    object["metadata"]["ownerReferences"].as_array().into_iter().flatten()
}

/// The owner reference with `controller: true`, if any.
pub fn controller_of(object: &Value) -> Option<&Value> {
    owners(object).find(|o| o["controller"].as_bool() == Some(true))
}

/// Whether the owner with this uid is the controller.
pub fn is_controlled_by(object: &Value, owner_uid: &str) -> bool {
    controller_of(object).is_some_and(|o| o["uid"].as_str() == Some(owner_uid))
}

/// An owner reference to `owner` as its controller, which blocks foreground deletion.
pub fn controller_reference(owner: &Value) -> Value {
    json!({
        "apiVersion": api_version(owner),
        "kind": kind(owner),
        "name": name(owner),
        "uid": uid(owner),
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// An `ObjectReference` to `object`, as events and endpoints carry it.
pub fn reference(object: &Value) -> Value {
    json!({
        "apiVersion": api_version(object),
        "kind": kind(object),
        "namespace": namespace(object),
        "name": name(object),
        "uid": uid(object),
        "resourceVersion": resource_version(object),
    })
}

/// The `status.conditions` entry of one type.
pub fn condition<'a>(object: &'a Value, condition_type: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|c| c["type"].as_str() == Some(condition_type))
}

/// Whether a condition's status is `"True"`.
pub fn condition_is_true(object: &Value, condition_type: &str) -> bool {
    condition(object, condition_type).is_some_and(|c| c["status"].as_str() == Some("True"))
}

/// Inserts or replaces one condition in a list; `lastTransitionTime` moves only when the status does.
/// The list stays in the order in which its types first appeared.
pub fn set_condition(conditions: &mut Vec<Value>, mut new: Value, now: &str) {
    let Some(old) = conditions.iter_mut().find(|c| c["type"] == new["type"]) else {
        new["lastTransitionTime"] = now.into();
        conditions.push(new);
        return;
    };
    new["lastTransitionTime"] = match old.get("lastTransitionTime") {
        Some(since) if old["status"] == new["status"] => since.clone(),
        _ => now.into(),
    };
    *old = new;
}

/// The resource of `object` when its plural is already known.
pub fn is_of(object: &Value, resource: &Resource) -> bool {
    kind(object) == resource.kind && api_version(object) == resource.api_version()
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

fn entry_map<'a>(object: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    if !object["metadata"][field].is_object() {
        object["metadata"][field] = Value::Object(Map::new());
    }
    match &mut object["metadata"][field] {
        Value::Object(map) => map,
        _ => unreachable!("made an object just above"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_keeps_its_time_until_its_status_changes() {
        let mut conditions = vec![];
        set_condition(&mut conditions, json!({"type": "Ready", "status": "False", "reason": "A"}), "t1");
        set_condition(&mut conditions, json!({"type": "Ready", "status": "False", "reason": "B"}), "t2");
        assert_eq!(conditions[0]["lastTransitionTime"], "t1");
        assert_eq!(conditions[0]["reason"], "B");
        set_condition(&mut conditions, json!({"type": "Ready", "status": "True", "reason": "C"}), "t3");
        assert_eq!(conditions[0]["lastTransitionTime"], "t3");
        assert_eq!(conditions.len(), 1);
    }

    #[test]
    fn missing_fields_read_as_absent() {
        let empty = json!({});
        assert_eq!((name(&empty), namespace(&empty), generation(&empty)), ("", "", 0));
        assert!(controller_of(&empty).is_none() && !is_being_deleted(&empty));
    }
}
