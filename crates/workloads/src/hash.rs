//! The short hashes and random endings in names of pods and ReplicaSets.

use serde_json::Value;

/// Letters and digits that cannot form words (`apimachinery/pkg/util/rand`).
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The `pod-template-hash` of a template: stable, does not depend on key order or nulls, safe in names.
/// FNV-1a of 32 bits as Kubernetes has, over JSON instead of Go's dump, so the values differ from a real cluster's;
/// nobody may depend on them.
pub(crate) fn template_hash(template: &Value, collisions: Option<i64>) -> String {
    let mut hash = Fnv(2_166_136_261);
    feed(&mut hash, template);
    if let Some(count) = collisions {
        hash.bytes(&count.to_le_bytes());
    }
    safe(&hash.0.to_string())
}

/// Five random characters, as `generateName` appends.
pub(crate) fn random_suffix() -> String {
    (0..5).map(|_| ALPHABET[rand::random_range(0..ALPHABET.len())] as char).collect()
}

/// Whether two templates mean the same: the same JSON but for nulls and the label that the hash itself is kept in.
pub(crate) fn same_template(a: &Value, b: &Value) -> bool {
    normal(a) == normal(b)
}

fn normal(template: &Value) -> Value {
    let mut value = without_nulls(template);
    let Some(map) = value.as_object_mut() else { return value };
    if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
        if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
            labels.shift_remove("pod-template-hash");
        }
        metadata.retain(|_, entry| entry.as_object().is_none_or(|map| !map.is_empty()));
    }
    if map.get("metadata").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty) {
        map.shift_remove("metadata");
    }
    value
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            map.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), without_nulls(v))).collect()
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

fn safe(text: &str) -> String {
    text.bytes().map(|c| ALPHABET[usize::from(c) % ALPHABET.len()] as char).collect()
}

struct Fnv(u32);

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(16_777_619);
        }
    }
}

fn feed(hash: &mut Fnv, value: &Value) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().filter(|(_, v)| !v.is_null()).collect();
            entries.sort_by_key(|(key, _)| *key);
            hash.bytes(b"{");
            for (key, value) in entries {
                hash.bytes(key.as_bytes());
                hash.bytes(b":");
                feed(hash, value);
            }
            hash.bytes(b"}");
        }
        Value::Array(items) => {
            hash.bytes(b"[");
            items.iter().for_each(|item| feed(hash, item));
            hash.bytes(b"]");
        }
        scalar => {
            hash.bytes(scalar.to_string().as_bytes());
            hash.bytes(b";");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_hash_is_stable_and_safe() {
        let a =
            json!({"metadata": {"labels": {"a": "b", "c": "d"}}, "spec": {"containers": [{"name": "x"}]}});
        let b = json!({"spec": {"containers": [{"name": "x", "args": null}]}, "metadata": {"labels": {"c": "d", "a": "b"}}});
        assert_eq!(template_hash(&a, None), template_hash(&b, None));
        assert_ne!(template_hash(&a, None), template_hash(&a, Some(1)));
        let hash = template_hash(&a, None);
        assert!(hash.len() <= 10 && hash.bytes().all(|c| ALPHABET.contains(&c)), "{hash}");
    }

    #[test]
    fn templates_are_the_same_without_the_hash_label() {
        let check =
            |a: Value, b: Value, expected: bool| assert_eq!(same_template(&a, &b), expected, "{a} {b}");
        check(
            json!({"metadata": {"labels": {"pod-template-hash": "x"}}, "spec": 1}),
            json!({"spec": 1}),
            true,
        );
        check(json!({"metadata": {"creationTimestamp": null}, "spec": 1}), json!({"spec": 1}), true);
        check(json!({"spec": {"volumes": [{"emptyDir": {}}]}}), json!({"spec": {"volumes": [{}]}}), false);
        check(
            json!({"metadata": {"labels": {"a": "b"}}}),
            json!({"metadata": {"labels": {"a": "c"}}}),
            false,
        );
    }
}
