//! From a CompositeResourceDefinition to the CustomResourceDefinition of its composites
//! (`crossplane-runtime/pkg/xcrd`), and where a composite keeps Crossplane's own fields. Pure.

use object::{Resource, meta};
use serde_json::{Map, Value, json};

use super::{condition_path, conditions_schema};

/// Kinds of composites of the first generation keep Crossplane's fields flat in `spec`, others under `spec.crossplane`.
pub(crate) fn is_legacy(definition: &Value) -> bool {
    definition["spec"]["scope"].as_str().unwrap_or("LegacyCluster") == "LegacyCluster"
}

/// The address of the composites: the referenceable version.
pub(crate) fn resource(definition: &Value) -> Option<Resource> {
    let spec = &definition["spec"];
    let versions = spec["versions"].as_array()?;
    let version = versions.iter().find(|v| v["referenceable"] == true)?;
    let namespaced = spec["scope"] == "Namespaced";
    Some(Resource::new(
        spec["group"].as_str()?,
        version["name"].as_str()?,
        spec["names"]["plural"].as_str()?,
        spec["names"]["kind"].as_str()?,
        namespaced,
    ))
}

/// The CustomResourceDefinition; an error names what is wrong with the definition.
pub(crate) fn crd(definition: &Value) -> Result<Value, String> {
    let spec = &definition["spec"];
    let text = |value: &Value, what: &str| {
        value.as_str().map(str::to_owned).ok_or_else(|| format!("{what} is missing"))
    };
    let group = text(&spec["group"], "spec.group")?;
    let plural = text(&spec["names"]["plural"], "spec.names.plural")?;
    let kind = text(&spec["names"]["kind"], "spec.names.kind")?;
    let expected = format!("{plural}.{group}");
    if meta::name(definition) != expected {
        return Err(format!("metadata.name must be {expected:?}: spec.names.plural and spec.group"));
    }
    let listed = spec["versions"].as_array().map_or(&[][..], Vec::as_slice);
    if listed.iter().filter(|v| v["referenceable"] == true).count() != 1 {
        return Err("exactly one version must be referenceable".to_owned());
    }
    let versions: Result<Vec<Value>, String> = listed.iter().map(|v| version(definition, v)).collect();
    let mut names = spec["names"].clone();
    let mut categories = names["categories"].as_array().cloned().unwrap_or_default();
    categories.push("composite".into());
    names["categories"] = categories.into();
    for (field, value) in [("listKind", format!("{kind}List")), ("singular", kind.to_lowercase())] {
        if !names[field].is_string() {
            names[field] = value.into();
        }
    }
    let mut metadata = json!({"name": expected, "ownerReferences": [meta::controller_reference(definition)]});
    for field in ["labels", "annotations"] {
        if let Some(map) = spec["metadata"].get(field) {
            metadata[field] = map.clone();
        }
    }
    let scope = if spec["scope"] == "Namespaced" { "Namespaced" } else { "Cluster" };
    Ok(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": metadata,
        "spec": {"group": group, "names": names, "scope": scope, "versions": versions?},
    }))
}

fn version(definition: &Value, version: &Value) -> Result<Value, String> {
    let legacy = is_legacy(definition);
    let schema = &version["schema"]["openAPIV3Schema"];
    let user =
        |field: &str| schema["properties"].get(field).cloned().unwrap_or_else(|| json!({"type": "object"}));
    let mut spec = user("spec");
    let machinery = if legacy { legacy_fields() } else { json!({"crossplane": crossplane_field()}) };
    overlay(&mut spec, &machinery);
    let mut status = user("status");
    overlay(&mut status, &json!({"conditions": conditions_schema()}));
    let mut root = json!({
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"}, "kind": {"type": "string"},
            "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 63}}},
            "spec": spec, "status": status,
        },
    });
    for field in ["required", "description", "x-kubernetes-validations"] {
        if let Some(value) = schema.get(field) {
            root[field] = value.clone();
        }
    }
    let mut subresources = json!({"status": {}});
    if let Some(scale) = version["subresources"].get("scale").filter(|s| s.is_object()) {
        subresources["scale"] = scale.clone();
    }
    let mut out = json!({
        "name": version["name"], "served": version["served"], "storage": version["referenceable"],
        "schema": {"openAPIV3Schema": root}, "subresources": subresources,
        "additionalPrinterColumns": columns(version, legacy),
    });
    for field in ["deprecated", "deprecationWarning"] {
        if let Some(value) = version.get(field) {
            out[field] = value.clone();
        }
    }
    if !version["name"].is_string() { Err("a version has no name".to_owned()) } else { Ok(out) }
}

/// Crossplane's properties win over the user's of the same name.
fn overlay(schema: &mut Value, properties: &Value) {
    if !schema["type"].is_string() {
        schema["type"] = "object".into();
    }
    let mut all: Map<String, Value> = schema["properties"].as_object().cloned().unwrap_or_default();
    for (name, property) in properties.as_object().into_iter().flatten() {
        all.insert(name.clone(), property.clone());
    }
    schema["properties"] = all.into();
}

fn columns(version: &Value, legacy: bool) -> Vec<Value> {
    let base = if legacy { ".spec" } else { ".spec.crossplane" };
    let column = |name: &str, path: String, priority: i64| {
        let mut column = json!({"name": name, "type": "string", "jsonPath": path});
        if priority > 0 {
            column["priority"] = priority.into();
        }
        column
    };
    let mut columns = version["additionalPrinterColumns"].as_array().cloned().unwrap_or_default();
    columns.extend([
        column("SYNCED", condition_path("Synced"), 0),
        column("READY", condition_path("Ready"), 0),
        column("COMPOSITION", format!("{base}.compositionRef.name"), 0),
        column("COMPOSITIONREVISION", format!("{base}.compositionRevisionRef.name"), 1),
        json!({"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"}),
    ]);
    columns
}

fn crossplane_field() -> Value {
    json!({"type": "object", "description": "Configures how Crossplane will reconcile this composite resource",
        "properties": machinery()})
}

fn legacy_fields() -> Value {
    let mut fields = machinery();
    fields["claimRef"] = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    fields["writeConnectionSecretToRef"] = json!({
        "type": "object", "required": ["name", "namespace"],
        "properties": {"name": {"type": "string"}, "namespace": {"type": "string"}},
    });
    fields
}

fn machinery() -> Value {
    let named = json!({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}});
    let selector = json!({
        "type": "object", "required": ["matchLabels"],
        "properties": {"matchLabels": {"type": "object", "additionalProperties": {"type": "string"}}},
    });
    let reference = json!({
        "type": "object", "required": ["apiVersion", "kind"], "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "apiVersion": {"type": "string"}, "kind": {"type": "string"},
            "name": {"type": "string"}, "namespace": {"type": "string"},
        },
    });
    json!({
        "compositionRef": named, "compositionSelector": selector,
        "compositionRevisionRef": named, "compositionRevisionSelector": selector,
        "compositionUpdatePolicy": {"type": "string", "enum": ["Automatic", "Manual"]},
        "resourceRefs": {"type": "array", "items": reference, "x-kubernetes-list-type": "atomic"},
    })
}

/// Crossplane's fields of a composite, to read.
pub(crate) fn fields(composite: &Value, legacy: bool) -> &Value {
    if legacy { &composite["spec"] } else { &composite["spec"]["crossplane"] }
}

/// `{"spec": …}` that holds some of Crossplane's fields, to write.
pub(crate) fn fields_patch(fields: Value, legacy: bool) -> Value {
    if legacy { json!({ "spec": fields }) } else { json!({"spec": {"crossplane": fields}}) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(scope: &str) -> Value {
        json!({
            "apiVersion": "apiextensions.crossplane.io/v2", "kind": "CompositeResourceDefinition",
            "metadata": {"name": "xnodeapps.platform.io", "uid": "u"},
            "spec": {
                "group": "platform.io", "scope": scope, "names": {"kind": "XNodeApp", "plural": "xnodeapps"},
                "versions": [{"name": "v1", "served": true, "referenceable": true, "schema": {"openAPIV3Schema": {
                    "type": "object", "required": ["spec"], "properties": {"spec": {"type": "object", "required": ["team"],
                        "properties": {"team": {"type": "string"}, "crossplane": {"type": "string"}}}}}}}],
            },
        })
    }

    #[test]
    fn the_crd_holds_the_schema_and_crossplanes_fields() {
        let crd = crd(&definition("Namespaced")).unwrap();
        assert_eq!(crd["spec"]["scope"], "Namespaced");
        assert_eq!(crd["spec"]["names"]["categories"], json!(["composite"]));
        assert_eq!(crd["metadata"]["ownerReferences"][0]["uid"], "u");
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        assert_eq!(schema["properties"]["metadata"]["properties"]["name"]["maxLength"], 63);
        assert_eq!(schema["required"], json!(["spec"]));
        let spec = &schema["properties"]["spec"];
        assert_eq!(spec["required"], json!(["team"]));
        assert_eq!(spec["properties"]["crossplane"]["properties"]["resourceRefs"]["type"], "array");
        let columns = crd["spec"]["versions"][0]["additionalPrinterColumns"].as_array().unwrap();
        let names: Vec<&str> = columns.iter().filter_map(|c| c["name"].as_str()).collect();
        assert_eq!(names, ["SYNCED", "READY", "COMPOSITION", "COMPOSITIONREVISION", "AGE"]);
        assert_eq!(columns[2]["jsonPath"], ".spec.crossplane.compositionRef.name");
        assert!(resource(&definition("Namespaced")).unwrap().namespaced);
    }

    #[test]
    fn the_first_generation_is_flat_and_of_the_cluster() {
        let crd = crd(&definition("LegacyCluster")).unwrap();
        assert_eq!(crd["spec"]["scope"], "Cluster");
        let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        assert_eq!(spec["properties"]["compositionRef"]["type"], "object");
        assert_eq!(spec["properties"]["crossplane"]["type"], "string", "the user's own field");
    }

    #[test]
    fn wrong_definitions_are_named() {
        let check = |path: &str, value: Value, expected: &str| {
            let mut definition = definition("Cluster");
            *definition.pointer_mut(path).unwrap() = value;
            assert_eq!(crd(&definition).unwrap_err(), expected);
        };
        let text = "metadata.name must be \"xnodeapps.platform.io\": spec.names.plural and spec.group";
        check("/metadata/name", json!("other"), text);
        check("/spec/versions/0/referenceable", json!(false), "exactly one version must be referenceable");
    }

    #[test]
    fn our_own_kinds_have_a_status_subresource() {
        for crd in super::super::crds() {
            for version in crd["spec"]["versions"].as_array().unwrap() {
                assert!(version["subresources"]["status"].is_object(), "{crd}");
                assert!(version["schema"]["openAPIV3Schema"]["properties"]["spec"]["type"] == "object");
            }
        }
        assert!(super::super::status_schema(json!({"a": {"type": "string"}}))["properties"]["a"].is_object());
    }
}
