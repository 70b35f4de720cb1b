//! Between stored bytes and objects: the cut for the resource version on the way in, the served version on the way out.
//!
//! Stored bytes always begin with `apiVersion`, `kind` and `metadata`, whose first fields are name, namespace, uid and resource version.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::catalog::{EVENTS_EVENT, Kind};
use crate::store::Cut;

/// Fields of the metadata that come before the resource version.
const FIRST: [&str; 4] = ["name", "generateName", "namespace", "uid"];

/// An object as it is stored, cut where the resource version goes.
pub(crate) fn cut(object: &Value) -> Cut {
    let empty = Map::new();
    let metadata = object["metadata"].as_object().unwrap_or(&empty);
    let mut before =
        format!("{{\"apiVersion\":{},\"kind\":{},\"metadata\":{{", object["apiVersion"], object["kind"]);
    for field in FIRST {
        if let Some(value) = metadata.get(field) {
            before.push_str(&format!("\"{field}\":{value},"));
        }
    }
    before.push_str("\"resourceVersion\":\"");
    let mut after = String::from("\"");
    for (field, value) in metadata {
        if field != "resourceVersion" && !FIRST.contains(&field.as_str()) {
            after.push_str(&format!(",{}:{value}", Value::from(field.as_str())));
        }
    }
    after.push('}');
    for (field, value) in object.as_object().unwrap_or(&empty) {
        if !matches!(field.as_str(), "apiVersion" | "kind" | "metadata") {
            after.push_str(&format!(",{}:{value}", Value::from(field.as_str())));
        }
    }
    after.push('}');
    Cut { before: before.into_bytes(), after: after.into_bytes() }
}

/// Stored bytes as an object; what is not JSON (it always is) reads as null.
pub(crate) fn parse(value: &[u8]) -> Value {
    serde_json::from_slice(value).unwrap_or(Value::Null)
}

/// Stored bytes in the version that `kind` serves, without parsing where the version is the stored one.
pub(crate) fn outgoing(kind: &Kind, value: &Bytes) -> Bytes {
    if !needs_conversion(kind) || stored_version(value) == kind.resource.api_version().as_bytes() {
        return value.clone();
    }
    serde_json::to_vec(&parse_outgoing(kind, value)).unwrap_or_default().into()
}

/// Stored bytes as an object in the version that `kind` serves.
pub(crate) fn parse_outgoing(kind: &Kind, value: &[u8]) -> Value {
    let mut object = parse(value);
    to_served(kind, &mut object);
    object
}

/// Turns a stored object into the version that `kind` serves.
pub(crate) fn to_served(kind: &Kind, object: &mut Value) {
    if !needs_conversion(kind) {
        return;
    }
    if kind.is(&EVENTS_EVENT) {
        rename_event(object, EVENT_FIELDS.iter().map(|(core, new)| (*core, *new)));
    }
    object["apiVersion"] = kind.resource.api_version().into();
}

/// Turns an object of the served version into the one that is stored.
pub(crate) fn to_stored(kind: &Kind, object: &mut Value) {
    if kind.is(&EVENTS_EVENT) {
        rename_event(object, EVENT_FIELDS.iter().map(|(core, new)| (*new, *core)));
        object["apiVersion"] = "v1".into();
    } else if let Some(custom) = &kind.custom {
        object["apiVersion"] = json!(format!("{}/{}", kind.resource.group, custom.storage_version));
    }
}

/// Core events' fields and their names in `events.k8s.io`.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("count", "deprecatedCount"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("source", "deprecatedSource"),
];

fn rename_event<'a>(object: &mut Value, names: impl Iterator<Item = (&'a str, &'a str)>) {
    let Some(fields) = object.as_object_mut() else { return };
    for (from, to) in names {
        if let Some(value) = fields.shift_remove(from) {
            fields.insert(to.to_owned(), value);
        }
    }
}

fn needs_conversion(kind: &Kind) -> bool {
    kind.custom.is_some() || kind.is(&EVENTS_EVENT)
}

/// The text of `apiVersion` in stored bytes.
fn stored_version(value: &[u8]) -> &[u8] {
    let rest = value.strip_prefix(b"{\"apiVersion\":\"").unwrap_or_default();
    rest.split(|b| *b == b'"').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_object_is_the_same_object_with_the_version_filled_in() {
        let object = json!({
            "spec": {"a": "\"x\""}, "kind": "K", "apiVersion": "g/v1",
            "metadata": {"labels": {"resourceVersion": "no"}, "resourceVersion": "3", "name": "n", "uid": "u"},
        });
        let text = cut(&object).fill(42);
        assert_eq!(stored_version(&text), b"g/v1");
        let mut expected = object;
        expected["metadata"]["resourceVersion"] = "42".into();
        assert_eq!(parse(&text), expected);
    }
}
