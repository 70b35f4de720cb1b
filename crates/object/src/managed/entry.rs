//! `metadata.managedFields`: reading it, writing it sorted, and keeping it short.

use serde_json::{Map, Value};

use super::set::FieldSet;

/// More update entries than this are merged, oldest first: objects must not grow with the number of writers.
const UPDATE_ENTRIES_LIMIT: usize = 10;
/// The manager under which the oldest updates are merged.
const ANCIENT: &str = "ancient-changes";

/// One entry, decoded.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) manager: String,
    pub(super) operation: Operation,
    pub(super) api_version: String,
    pub(super) subresource: String,
    /// RFC 3339; empty if unknown.
    pub(super) time: String,
    pub(super) set: FieldSet,
}

/// Declared in the order in which entries are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// The manager applied a configuration.
    Apply,
    /// Any other write.
    Update,
}

impl Operation {
    /// As in an entry.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

impl Entry {
    /// Whether both are entries of the same writer: an applier's version does not count.
    pub(super) fn same_writer(&self, other: &Entry) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }
}

/// The entries of an object's metadata; `None` if they cannot be read.
pub(super) fn decode(object: &Value) -> Option<Vec<Entry>> {
    let Some(list) = object["metadata"]["managedFields"].as_array() else { return Some(Vec::new()) };
    list.iter().map(decode_one).collect()
}

fn decode_one(entry: &Value) -> Option<Entry> {
    let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let operation = match entry["operation"].as_str() {
        Some("Apply") => Operation::Apply,
        Some("Update") => Operation::Update,
        _ => return None,
    };
    if entry["fieldsType"].as_str().is_some_and(|t| t != "FieldsV1") {
        return None;
    }
    let set = match entry.get("fieldsV1") {
        Some(fields) if !fields.is_null() => FieldSet::from_fields_v1(fields).ok()?,
        _ => FieldSet::default(),
    };
    Some(Entry {
        manager: text("manager"),
        operation,
        api_version: text("apiVersion"),
        subresource: text("subresource"),
        time: text("time"),
        set,
    })
}

/// Whether a write asks to forget all owners: `[]` or `[{}]`.
pub(super) fn is_reset(object: &Value) -> bool {
    match object["metadata"].get("managedFields").and_then(Value::as_array) {
        Some(list) => list.is_empty() || (list.len() == 1 && list[0].as_object().is_some_and(Map::is_empty)),
        None => false,
    }
}

/// Writes the entries into an object's metadata in the order that Kubernetes prints them.
pub(super) fn encode(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|e| !e.set.is_empty());
    entries.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    metadata.shift_remove("managedFields");
    if !entries.is_empty() {
        metadata.insert("managedFields".to_owned(), entries.iter().map(encode_one).collect());
    }
}

fn sort_key(entry: &Entry) -> (Operation, &str, &str, &str, &str) {
    (entry.operation, &entry.time, &entry.manager, &entry.api_version, &entry.subresource)
}

fn encode_one(entry: &Entry) -> Value {
    let mut out = Map::new();
    out.insert("manager".to_owned(), entry.manager.clone().into());
    out.insert("operation".to_owned(), entry.operation.name().into());
    out.insert("apiVersion".to_owned(), entry.api_version.clone().into());
    if !entry.time.is_empty() {
        out.insert("time".to_owned(), entry.time.clone().into());
    }
    out.insert("fieldsType".to_owned(), "FieldsV1".into());
    out.insert("fieldsV1".to_owned(), entry.set.to_fields_v1());
    if !entry.subresource.is_empty() {
        out.insert("subresource".to_owned(), entry.subresource.clone().into());
    }
    Value::Object(out)
}

/// Merges the oldest update entries of a version into one until the limit holds.
pub(super) fn cap(entries: &mut Vec<Entry>) {
    let updates = |entries: &[Entry]| entries.iter().filter(|e| e.operation == Operation::Update).count();
    entries.sort_by(|a, b| (&a.time, &a.manager).cmp(&(&b.time, &b.manager)));
    while updates(entries) > UPDATE_ENTRIES_LIMIT {
        let Some((first, second)) = oldest_pair(entries) else { return };
        let newer = entries.remove(second);
        let bucket = &mut entries[first];
        ANCIENT.clone_into(&mut bucket.manager);
        bucket.subresource.clear();
        bucket.set = bucket.set.union(&newer.set);
        bucket.time = newer.time;
    }
}

/// The first two update entries of one version, in order of time.
fn oldest_pair(entries: &[Entry]) -> Option<(usize, usize)> {
    let is_update = |e: &Entry| e.operation == Operation::Update;
    for (second, entry) in entries.iter().enumerate().filter(|(_, e)| is_update(e)) {
        let same = |e: &Entry| is_update(e) && e.api_version == entry.api_version;
        if let Some(first) = entries[..second].iter().position(same) {
            return Some((first, second));
        }
    }
    None
}
