//! Server-side apply: who owns which field of an object, in `metadata.managedFields`.
//!
//! `apply` is the apply patch, `update` every other write. Both are computed before admission. Semantics after
//! structured-merge-diff's `merge/update.go` and apimachinery's `pkg/util/managedfields`.
//! Entries of several API versions are compared as if the versions had the same fields.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::facts::Facts;
use crate::meta;

mod entry;
mod set;
mod typed;

use entry::Entry;
pub use entry::Operation;
pub use set::{FieldSet, FieldsError, Step};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Which part of the object the endpoint lets a writer change, and therefore own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Everything: kinds without a status subresource.
    #[default]
    Whole,
    /// Everything but `status`: the main endpoint of a kind with a status subresource.
    NotStatus,
    /// Only `status`: the status endpoint.
    StatusOnly,
}

/// An apply patch.
#[derive(Clone, Copy, Debug)]
pub struct Apply<'a> {
    /// The stored object; `None` creates.
    pub live: Option<&'a Value>,
    /// What the manager wants.
    pub config: &'a Value,
    /// `?fieldManager=`
    pub manager: &'a str,
    /// Take over fields of others.
    pub force: bool,
    /// RFC 3339, whole seconds.
    pub now: &'a str,
    /// `""` or for example `status`.
    pub subresource: &'a str,
    /// What the endpoint may change.
    pub scope: Scope,
    /// Merge facts of the kind.
    pub facts: Facts<'a>,
    /// Drop fields that the configuration sets to null from the result, as the typed built-in kinds do.
    pub drop_nulls: bool,
}

/// Any write that is not an apply.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// `?fieldManager=`, or the user agent up to its `/`.
    pub manager: &'a str,
    /// RFC 3339, whole seconds.
    pub now: &'a str,
    /// `""` or for example `status`.
    pub subresource: &'a str,
    /// What the endpoint may change.
    pub scope: Scope,
    /// Merge facts of the kind.
    pub facts: Facts<'a>,
}

/// Why an apply is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ApplyError {
    /// 409: others own fields with other values.
    #[error("{0}")]
    Conflict(Conflicts),
    /// 400: the configuration is not acceptable.
    #[error("{0}")]
    Invalid(String),
    /// 500 in Kubernetes: the configuration does not fit the schema.
    #[error("{0}")]
    Schema(String),
}

/// The fields in conflict. Display is the message of the 409.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conflicts(pub Vec<Conflict>);

/// One field that another manager owns with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The owner.
    pub manager: String,
    /// How the owner got it.
    pub operation: Operation,
    /// The version that the owner wrote.
    pub api_version: String,
    /// `""` or the subresource through which the owner wrote.
    pub subresource: String,
    /// For example `.spec.replicas`.
    pub path: String,
}

/// Merges a configuration into the live object and returns the new object with its managedFields.
/// An apply that changes nothing returns the live object unchanged, times included.
pub fn apply(request: &Apply<'_>) -> Result<Value, ApplyError> {
    check_config(request.config)?;
    match apply_with(request, request.force) {
        Err(ApplyError::Conflict(conflicts)) if request.manager == "kubectl" => {
            // kubectl's own client-side apply wrote these fields; it may migrate them without force.
            let rest = not_last_applied(request, conflicts);
            if rest.0.is_empty() { apply_with(request, true) } else { Err(ApplyError::Conflict(rest)) }
        }
        other => other,
    }
    .map(|new| finish_apply(request, new))
}

/// Returns `new` with managedFields kept up to date against `old`; `None` is a creation.
/// If only times would change, the old managedFields stay.
pub fn update(old: Option<&Value>, mut new: Value, request: &Update<'_>) -> Value {
    let entries = if request.subresource.is_empty() && entry::is_reset(&new) {
        Vec::new()
    } else {
        let from_new = entry::decode(&new).filter(|e| !e.is_empty() && request.subresource.is_empty());
        from_new.or_else(|| entry::decode(old?)).unwrap_or_default()
    };
    strip_entries(&mut new);
    if old.is_some() && entries.is_empty() {
        // Owners were never tracked, or have just been reset; they are again from the first apply on.
        return new;
    }
    let nothing = json!({});
    let before = old.map_or_else(|| nothing.clone(), without_entries);
    let mut entries = match after_update(&before, &new, entries, request) {
        Ok(entries) => entries,
        // An object that its own schema cannot walk (say, a keyed list without keys) is not tracked.
        Err(_) => return new,
    };
    entry::cap(&mut entries);
    entry::encode(&mut new, entries);
    keep_times_if_same(old, new)
}

fn check_config(config: &Value) -> Result<(), ApplyError> {
    match config["metadata"].get("managedFields") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Array(list)) if list.is_empty() => Ok(()),
        Some(_) => Err(ApplyError::Invalid("metadata.managedFields must be nil".to_owned())),
    }
}

fn apply_with(request: &Apply<'_>, force: bool) -> Result<Value, ApplyError> {
    let facts = request.facts;
    let mut config = request.config.clone();
    strip_entries(&mut config);
    let (live, mut entries) = live_with_entries(request)?;
    let mut merged =
        typed::merge(facts, Some(&live), &config).map_err(|e| failed("failed to merge config", e))?;
    if let Some(created) = live["metadata"].get("creationTimestamp") {
        // Generated manifests carry `creationTimestamp: null`; the field is the server's.
        if let Some(metadata) = merged.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("creationTimestamp".to_owned(), created.clone());
        }
    }
    let set = typed::fields_of(facts, &config).map_err(|e| failed("failed to get field set", e))?;
    let mut mine = Entry {
        manager: request.manager.to_owned(),
        operation: Operation::Apply,
        api_version: meta::api_version(&config).to_owned(),
        subresource: request.subresource.to_owned(),
        time: request.now.to_owned(),
        set: tracked(&set, request.scope),
    };
    let last = entries.iter().position(|e| e.same_writer(&mine)).map(|i| entries.remove(i));
    if let Some(last) = &last {
        merged = prune(facts, merged, &last.set, &entries, &mine.set)?;
    }
    if request.drop_nulls {
        drop_nulls(&mut merged);
    }
    restrict(&mut merged, &live, request.scope);
    let changes =
        typed::compare(facts, &live, &merged).map_err(|e| failed("failed to compare objects", e))?;
    let taken = tracked(&changes.modified.union(&changes.added), request.scope);
    let conflicts = conflicts_with(&entries, &taken);
    if !conflicts.0.is_empty() && !force {
        return Err(ApplyError::Conflict(conflicts));
    }
    for other in &mut entries {
        other.set = other.set.difference(&taken).difference(&changes.removed);
    }
    if let Some(last) = last.filter(|last| last.set == mine.set && typed::equal(&live, &merged)) {
        mine.time = last.time;
    }
    entries.push(mine);
    entry::encode(&mut merged, entries);
    Ok(merged)
}

/// The live object without managedFields, and its entries. An object that nobody's ownership was ever tracked for
/// gets one entry that owns all of it.
fn live_with_entries(request: &Apply<'_>) -> Result<(Value, Vec<Entry>), ApplyError> {
    let Some(live) = request.live else { return Ok((json!({"metadata": {}}), Vec::new())) };
    let entries = entry::decode(live).unwrap_or_default();
    let live = without_entries(live);
    if !entries.is_empty() {
        return Ok((live, entries));
    }
    let first = Update {
        manager: "before-first-apply",
        now: request.now,
        subresource: "",
        scope: Scope::Whole,
        facts: request.facts,
    };
    let entries = after_update(&json!({}), &live, Vec::new(), &first)
        .map_err(|e| failed("failed to compare objects", e))?;
    Ok((live, entries))
}

/// Removes what this manager applied last time and not this time, unless anyone still owns it.
fn prune(
    facts: Facts<'_>,
    merged: Value,
    last: &FieldSet,
    others: &[Entry],
    mine: &FieldSet,
) -> Result<Value, ApplyError> {
    let fields = |value: &Value| {
        let set = typed::fields_of(facts, value).map_err(|e| failed("failed to create field set", e))?;
        Ok::<_, ApplyError>(set.with_declared_fields(facts))
    };
    let empty = || Value::Object(Map::new());
    let last = last.with_declared_fields(facts);
    let pruned = typed::without(facts, &merged, &last).unwrap_or_else(empty);
    let owned = others.iter().fold(mine.clone(), |all, e| all.union(&e.set)).with_declared_fields(facts);
    let merged_set = fields(&merged)?;
    let kept = fields(&pruned)?.union(&owned);
    let pruned = typed::without(facts, &merged, &merged_set.difference(&kept)).unwrap_or_else(empty);
    // Only what this manager owned may go.
    let gone = merged_set.difference(&fields(&pruned)?).intersection(&last);
    Ok(typed::without(facts, &merged, &gone).unwrap_or_else(empty))
}

fn conflicts_with(entries: &[Entry], taken: &FieldSet) -> Conflicts {
    let mut out = Vec::new();
    for other in entries {
        for path in other.set.intersection(taken).paths() {
            out.push(Conflict {
                manager: other.manager.clone(),
                operation: other.operation,
                api_version: other.api_version.clone(),
                subresource: other.subresource.clone(),
                path: path.iter().map(Step::to_string).collect(),
            });
        }
    }
    Conflicts(out)
}

/// The entries after a write that is not an apply: everyone loses what changed, the writer gains it.
fn after_update(
    before: &Value,
    after: &Value,
    mut entries: Vec<Entry>,
    request: &Update<'_>,
) -> Result<Vec<Entry>, String> {
    let changes = typed::compare(request.facts, before, after)?;
    let changed = tracked(&changes.modified.union(&changes.added), request.scope);
    let removed = tracked(&changes.removed, request.scope);
    for other in &mut entries {
        other.set = other.set.difference(&changed).difference(&removed);
    }
    if changed.is_empty() {
        return Ok(entries);
    }
    let mut mine = Entry {
        manager: request.manager.to_owned(),
        operation: Operation::Update,
        api_version: meta::api_version(after).to_owned(),
        subresource: request.subresource.to_owned(),
        time: request.now.to_owned(),
        set: changed,
    };
    if let Some(i) = entries.iter().position(|e| e.same_writer(&mine)) {
        mine.set = mine.set.union(&entries.remove(i).set);
    }
    entries.push(mine);
    Ok(entries)
}

/// The fields whose owner is recorded: not the server's own metadata, and nothing outside the endpoint's scope.
fn tracked(set: &FieldSet, scope: Scope) -> FieldSet {
    const METADATA: [&str; 8] = [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "generation",
        "managedFields",
        "resourceVersion",
    ];
    let mut out = match scope {
        Scope::Whole | Scope::NotStatus => set.clone(),
        Scope::StatusOnly => set.only_field("status"),
    };
    if scope == Scope::NotStatus {
        out.remove(&["status"]);
    }
    out.remove(&["apiVersion"]);
    out.remove(&["kind"]);
    for field in METADATA {
        out.remove(&["metadata", field]);
    }
    // `metadata` itself is everybody's.
    out.remove_member(&Step::Field("metadata".to_owned()));
    out
}

/// Puts back what the endpoint does not let a writer change.
fn restrict(merged: &mut Value, live: &Value, scope: Scope) {
    let Some(object) = merged.as_object_mut() else { return };
    match scope {
        Scope::Whole => {}
        Scope::NotStatus => match live.get("status") {
            Some(status) => {
                object.insert("status".to_owned(), status.clone());
            }
            None => {
                object.shift_remove("status");
            }
        },
        Scope::StatusOnly => {
            let status = object.get("status").cloned();
            let mut kept = live.as_object().cloned().unwrap_or_default();
            match status {
                Some(status) => kept.insert("status".to_owned(), status),
                None => kept.shift_remove("status"),
            };
            *object = kept;
        }
    }
}

fn finish_apply(request: &Apply<'_>, mut new: Value) -> Value {
    if request.manager == "kubectl" && meta::annotation(&new, LAST_APPLIED).is_some() {
        let mut config = request.config.clone();
        strip_entries(&mut config);
        if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut)
        {
            annotations.shift_remove(LAST_APPLIED);
        }
        meta::set_annotation(&mut new, LAST_APPLIED, &format!("{config}\n"));
    }
    keep_times_if_same(request.live, new)
}

/// The conflicts that are not about fields with the value of kubectl's last-applied annotation.
fn not_last_applied(request: &Apply<'_>, conflicts: Conflicts) -> Conflicts {
    let live = request.live.map(without_entries).unwrap_or_default();
    let last: Option<Value> =
        meta::annotation(&live, LAST_APPLIED).and_then(|t| serde_json::from_str(t).ok());
    let Some(last) = last else { return conflicts };
    let (Ok(set), Ok(changes)) =
        (typed::fields_of(request.facts, &last), typed::compare(request.facts, &last, &live))
    else {
        return conflicts;
    };
    let allowed = set.difference(&changes.modified).difference(&changes.added).difference(&changes.removed);
    let allowed: Vec<String> =
        allowed.paths().iter().map(|p| p.iter().map(Step::to_string).collect()).collect();
    Conflicts(conflicts.0.into_iter().filter(|c| !allowed.contains(&c.path)).collect())
}

/// A write that changes nothing but times of managedFields changes nothing.
fn keep_times_if_same(old: Option<&Value>, new: Value) -> Value {
    let Some(old) = old else { return new };
    let timeless = |object: &Value| {
        let mut object = object.clone();
        let list = object.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut);
        for entry in list.into_iter().flatten() {
            if let Some(entry) = entry.as_object_mut() {
                entry.shift_remove("time");
            }
        }
        object
    };
    let same_entries = || {
        let sorted = |object: &Value| {
            let mut list: Vec<String> = object["metadata"]["managedFields"]
                .as_array()
                .into_iter()
                .flatten()
                .map(Value::to_string)
                .collect();
            list.sort();
            list
        };
        sorted(&timeless(old)) == sorted(&timeless(&new))
    };
    let same = typed::equal(&without_entries(old), &without_entries(&new)) && same_entries();
    if same { old.clone() } else { new }
}

fn without_entries(object: &Value) -> Value {
    let mut out = object.clone();
    strip_entries(&mut out);
    out
}

fn strip_entries(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("managedFields");
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, child| !child.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn failed(what: &str, error: String) -> ApplyError {
    ApplyError::Schema(format!("{what}: {error}"))
}

impl Conflicts {
    /// `details.causes` of the 409.
    pub fn causes(&self) -> Vec<Value> {
        let cause = |c: &Conflict| {
            json!({
                "reason": "FieldManagerConflict",
                "message": format!("conflict with {}", c.owner()),
                "field": c.path,
            })
        };
        self.0.iter().map(cause).collect()
    }
}

impl Conflict {
    fn owner(&self) -> String {
        let mut text = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }
}

impl fmt::Display for Conflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0.as_slice() {
            return write!(f, "Apply failed with 1 conflict: conflict with {}: {}", only.owner(), only.path);
        }
        let mut lines: Vec<String> = Vec::new();
        let mut owners: Vec<String> = self.0.iter().map(Conflict::owner).collect();
        owners.sort();
        owners.dedup();
        for owner in owners {
            lines.push(format!("conflicts with {owner}:"));
            lines.extend(self.0.iter().filter(|c| c.owner() == owner).map(|c| format!("- {}", c.path)));
        }
        write!(f, "Apply failed with {} conflicts: {}", self.0.len(), lines.join("\n"))
    }
}
