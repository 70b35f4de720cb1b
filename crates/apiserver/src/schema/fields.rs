//! Unknown fields of built-in kinds: they are dropped when an object is decoded, and named for the client.

use object::Resource;
use serde_json::Value;

use super::{Base, Field, Many, Type, Types, types};

/// Removes what the kind does not have; returns the paths of what went. Kinds without a table entry keep everything.
pub(crate) fn prune(resource: &Resource, object: &mut Value) -> Vec<String> {
    let types = types();
    let mut unknown = vec![];
    if let Some(root) = types.of_kind(&resource.group, &resource.version, &resource.kind) {
        prune_struct(types, root, object, "", true, &mut unknown);
    }
    unknown
}

fn prune_struct(
    types: &Types,
    of: &Type,
    value: &mut Value,
    path: &str,
    root: bool,
    unknown: &mut Vec<String>,
) {
    let Some(fields) = value.as_object_mut() else { return };
    let names: Vec<String> = fields.keys().cloned().collect();
    for name in names {
        if root && matches!(name.as_str(), "apiVersion" | "kind") {
            continue;
        }
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match find(types, of, &name) {
            None => {
                fields.shift_remove(&name);
                unknown.push(path);
            }
            Some(field) => {
                if let (Base::Struct(index), Some(child)) = (field.base, fields.get_mut(&name))
                    && let Some(of) = types.get(index)
                {
                    prune_field(types, field.many, of, child, &path, unknown);
                }
            }
        }
    }
}

fn prune_field(
    types: &Types,
    many: Many,
    of: &Type,
    value: &mut Value,
    path: &str,
    unknown: &mut Vec<String>,
) {
    match many {
        // ExtraValue: in JSON a plain list.
        _ if is_list_type(of) => {}
        Many::One => prune_struct(types, of, value, path, false, unknown),
        Many::List => {
            for (index, item) in value.as_array_mut().into_iter().flatten().enumerate() {
                prune_struct(types, of, item, &format!("{path}[{index}]"), false, unknown);
            }
        }
        Many::Map => {
            for (key, item) in value.as_object_mut().into_iter().flatten() {
                prune_struct(types, of, item, &format!("{path}.{key}"), false, unknown);
            }
        }
    }
}

/// A field by its JSON name, also among inlined ones.
pub(crate) fn find<'a>(types: &'a Types, of: &'a Type, name: &str) -> Option<&'a Field> {
    of.fields.iter().find_map(|field| match (field.inline, field.base) {
        (true, Base::Struct(index)) => find(types, types.get(index)?, name),
        _ => (field.name == name).then_some(field),
    })
}

/// Types that are a list under another name.
pub(crate) fn is_list_type(of: &Type) -> bool {
    matches!(of.fields.as_slice(), [only] if only.name == "items" && only.many == Many::List && only.base == Base::Text)
}

#[cfg(test)]
mod tests {
    use object::kinds;
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_fields_go_and_are_named() {
        let check = |resource: &Resource, mut object: Value, expected: &[&str], left: Value| {
            assert_eq!(prune(resource, &mut object), expected);
            assert_eq!(object, left);
        };
        check(
            &kinds::POD,
            json!({"kind": "Pod", "metadata": {"name": "a", "x": 1}, "spec": {"containers": [{"nam": "b", "livenessProbe": {"exec": {}}}]}}),
            &["metadata.x", "spec.containers[0].nam"],
            json!({"kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{"livenessProbe": {"exec": {}}}]}}),
        );
        let ingress = json!({"spec": {"rules": [{"host": "a", "http": {"paths": [{"path": "/", "backend": {"service": {"name": "s"}}}]}}]}});
        check(&kinds::INGRESS, ingress.clone(), &[], ingress);
        let sources = json!([{"downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "f"}}]}}]);
        let pod = json!({"spec": {"volumes": [{"name": "v", "projected": {"sources": sources}}]}});
        check(&kinds::POD, pod.clone(), &[], pod);
        let config_map = json!({"data": {"any": "thing"}});
        check(&kinds::CONFIG_MAP, config_map.clone(), &[], config_map);
    }
}
