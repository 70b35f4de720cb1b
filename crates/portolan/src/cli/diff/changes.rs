//! Two lists of objects, compared: which belong together, and in which fields they differ.

use std::collections::BTreeSet;

use serde_json::Value;

/// An object before and after; both are there only if they differ.
pub(crate) struct Pair<'o> {
    pub(crate) name: String,
    pub(crate) before: Option<&'o Value>,
    pub(crate) after: Option<&'o Value>,
}

/// A field that differs.
pub(crate) struct Change<'o> {
    /// Such as `spec.containers[name=web].image`.
    pub(crate) path: String,
    pub(crate) difference: Difference<'o>,
}

#[derive(Clone, Copy)]
pub(crate) enum Difference<'o> {
    Added(&'o Value),
    Removed(&'o Value),
    Changed(&'o Value, &'o Value),
}

/// Fields that tell the items of a list apart, where every item has one and no two are the same.
const KEYS: [&str; 8] = ["name", "mountPath", "containerPort", "port", "key", "ip", "host", "path"];
/// kustomize's hashes: so many characters after a dash.
const HASH_LENGTH: usize = 10;

fn text<'o>(object: &'o Value, pointer: &str) -> &'o str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// What stays the same of an object when its version changes.
fn key(object: &Value) -> (&str, &str, &str, &str) {
    let (group, _) = text(object, "/apiVersion").split_once('/').unwrap_or_default();
    (group, text(object, "/kind"), text(object, "/metadata/namespace"), text(object, "/metadata/name"))
}

fn shown(object: &Value) -> String {
    let (_, kind, namespace, name) = key(object);
    if namespace.is_empty() { format!("{kind} {name}") } else { format!("{kind} {namespace}/{name}") }
}

/// Ways in which two objects may belong together, the surest first.
const TIES: [fn(&Value, &Value) -> bool; 5] = [
    |a, b| key(a) == key(b),
    // Generated objects whose content, and so whose hash, changed.
    |a, b| same_kind(a, b) && namespace(a) == namespace(b) && is_hashed(a) && stem(a) == stem(b),
    // Environments often differ in their namespace, or in a prefix or suffix of all names.
    |a, b| same_kind(a, b) && stem(a) == stem(b),
    |a, b| same_kind(a, b) && namespace(a) == namespace(b) && is_part(stem(a), stem(b)),
    |a, b| same_kind(a, b) && is_part(stem(a), stem(b)),
];

fn same_kind(a: &Value, b: &Value) -> bool {
    let ((group, kind, ..), (other_group, other_kind, ..)) = (key(a), key(b));
    (group, kind) == (other_group, other_kind)
}

fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

fn is_hashed(object: &Value) -> bool {
    stem(object) != text(object, "/metadata/name")
}

/// The name without the hash at its end.
fn stem(object: &Value) -> &str {
    let name = text(object, "/metadata/name");
    let Some((stem, hash)) = name.rsplit_once('-') else { return name };
    let is_hash = hash.len() == HASH_LENGTH
        && hash.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if is_hash { stem } else { name }
}

/// Whether one name is the other with something before or after it.
fn is_part(a: &str, b: &str) -> bool {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    let rest = long.strip_prefix(short).map(|rest| rest.starts_with('-'));
    let before = long.strip_suffix(short).map(|rest| rest.ends_with('-'));
    !short.is_empty() && (rest == Some(true) || before == Some(true))
}

/// The objects that differ, in the order in which they were; what is new comes where it stands among its neighbours.
pub(crate) fn pairs<'o>(before: &'o [Value], after: &'o [Value]) -> Vec<Pair<'o>> {
    let mut free: BTreeSet<usize> = (0..after.len()).collect();
    let mut partner: Vec<Option<usize>> = vec![None; before.len()];
    for fits in TIES {
        for (at, object) in
            before.iter().enumerate().filter(|(at, _)| partner[*at].is_none()).collect::<Vec<_>>()
        {
            let found = free.iter().copied().find(|other| fits(object, &after[*other]));
            if let Some(found) = found {
                free.remove(&found);
                partner[at] = Some(found);
            }
        }
    }
    let mut pairs = vec![];
    for (object, partner) in before.iter().zip(&partner) {
        let end = partner.unwrap_or(0);
        let new: Vec<usize> = free.range(..end).copied().collect();
        for at in new {
            free.remove(&at);
            pairs.push(Pair { name: shown(&after[at]), before: None, after: Some(&after[at]) });
        }
        let other = partner.map(|at| &after[at]);
        if other != Some(object) {
            pairs.push(Pair { name: shown(object), before: Some(object), after: other });
        }
    }
    pairs.extend(free.iter().map(|at| Pair {
        name: shown(&after[*at]),
        before: None,
        after: Some(&after[*at]),
    }));
    pairs
}

/// The fields in which two objects differ.
pub(crate) fn changes<'o>(before: &'o Value, after: &'o Value) -> Vec<Change<'o>> {
    let mut changes = vec![];
    compare(before, after, &mut String::new(), &mut changes);
    changes
}

fn compare<'o>(before: &'o Value, after: &'o Value, path: &mut String, changes: &mut Vec<Change<'o>>) {
    if before == after {
        return;
    }
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                within(path, &field(path, name), old.get(name), new.get(name), changes);
            }
        }
        (Value::Array(old), Value::Array(new)) => list(old, new, path, changes),
        _ => changes.push(Change { path: path.clone(), difference: Difference::Changed(before, after) }),
    }
}

/// A name as a step of a path.
fn field(path: &str, name: &str) -> String {
    match name {
        name if name.contains(['.', '/', '[', ' ']) => format!("[{name}]"),
        name if path.is_empty() => name.to_owned(),
        name => format!(".{name}"),
    }
}

fn within<'o>(
    path: &mut String,
    step: &str,
    before: Option<&'o Value>,
    after: Option<&'o Value>,
    changes: &mut Vec<Change<'o>>,
) {
    let length = path.len();
    path.push_str(step);
    match (before, after) {
        (Some(before), Some(after)) => compare(before, after, path, changes),
        (Some(before), None) => {
            changes.push(Change { path: path.clone(), difference: Difference::Removed(before) });
        }
        (None, Some(after)) => {
            changes.push(Change { path: path.clone(), difference: Difference::Added(after) });
        }
        (None, None) => {}
    }
    path.truncate(length);
}

fn list<'o>(old: &'o [Value], new: &'o [Value], path: &mut String, changes: &mut Vec<Change<'o>>) {
    let keyed = KEYS.iter().find_map(|key| Some((key, names(old, key)?, names(new, key)?)));
    if let Some((key, old_names, new_names)) = keyed {
        for (item, name) in old.iter().zip(&old_names) {
            let other = new_names.iter().position(|other| other == name).and_then(|at| new.get(at));
            within(path, &format!("[{key}={name}]"), Some(item), other, changes);
        }
        for (item, name) in new.iter().zip(&new_names).filter(|(_, name)| !old_names.contains(name)) {
            within(path, &format!("[{key}={name}]"), None, Some(item), changes);
        }
        return;
    }
    let texts = |items: &[Value]| items.iter().map(Value::to_string).collect::<Vec<_>>();
    let operations = similar::capture_diff_slices(similar::Algorithm::Myers, &texts(old), &texts(new));
    for operation in operations.iter().filter(|operation| operation.tag() != similar::DiffTag::Equal) {
        let (from, to) = (operation.old_range(), operation.new_range());
        for offset in 0..from.len().max(to.len()) {
            let before = from.clone().nth(offset).and_then(|at| old.get(at));
            let after = to.clone().nth(offset).and_then(|at| new.get(at));
            let at = if after.is_some() { to.start + offset } else { from.start + offset };
            within(path, &format!("[{at}]"), before, after, changes);
        }
    }
}

/// What a field says in every item, if each has one and no two are the same.
fn names(items: &[Value], key: &str) -> Option<Vec<String>> {
    let name = |item: &Value| match item.get(key)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let names: Vec<String> = items.iter().map(name).collect::<Option<_>>()?;
    let different: BTreeSet<&String> = names.iter().collect();
    (different.len() == names.len()).then_some(names)
}
