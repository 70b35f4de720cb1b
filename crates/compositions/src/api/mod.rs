//! Crossplane's kinds: their addresses, and their CustomResourceDefinitions as data.

pub(crate) mod composite;

use object::Resource;
use serde_json::{Value, json};

/// `CompositeResourceDefinition`, stored as v1; v2 differs in its default scope only.
pub const DEFINITION: Resource = Resource::fixed(
    "apiextensions.crossplane.io",
    "v1",
    "compositeresourcedefinitions",
    "CompositeResourceDefinition",
    false,
);
/// `Composition`
pub const COMPOSITION: Resource =
    Resource::fixed("apiextensions.crossplane.io", "v1", "compositions", "Composition", false);
/// `CompositionRevision`
pub const REVISION: Resource = Resource::fixed(
    "apiextensions.crossplane.io",
    "v1",
    "compositionrevisions",
    "CompositionRevision",
    false,
);
/// `Function`
pub const FUNCTION: Resource = Resource::fixed("pkg.crossplane.io", "v1", "functions", "Function", false);

/// The CustomResourceDefinitions to install before [`crate::run`].
pub fn crds() -> Vec<Value> {
    let yes_no = |name: &str, condition: &str| column(name, &condition_path(condition));
    vec![
        crd(
            &DEFINITION,
            &["xrd", "xrds"],
            vec![
                version(
                    "v1",
                    true,
                    definition_schema("LegacyCluster", &["LegacyCluster", "Namespaced", "Cluster"]),
                ),
                version("v2", false, definition_schema("Namespaced", &["Namespaced", "Cluster"])),
            ],
            &[yes_no("ESTABLISHED", "Established"), yes_no("OFFERED", "Offered")],
        ),
        crd(
            &COMPOSITION,
            &["comp"],
            vec![version("v1", true, composition_schema())],
            &[
                column("XR-KIND", ".spec.compositeTypeRef.kind"),
                column("XR-APIVERSION", ".spec.compositeTypeRef.apiVersion"),
            ],
        ),
        crd(
            &REVISION,
            &["comprev"],
            vec![version("v1", true, revision_schema())],
            &[
                column("REVISION", ".spec.revision"),
                column("XR-KIND", ".spec.compositeTypeRef.kind"),
                column("XR-APIVERSION", ".spec.compositeTypeRef.apiVersion"),
            ],
        ),
        crd(
            &FUNCTION,
            &[],
            vec![version("v1", true, function_schema())],
            &[
                yes_no("INSTALLED", "Installed"),
                yes_no("HEALTHY", "Healthy"),
                column("PACKAGE", ".spec.package"),
            ],
        ),
    ]
}

fn crd(resource: &Resource, short: &[&str], mut versions: Vec<Value>, columns: &[Value]) -> Value {
    let age = json!({"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"});
    let columns: Vec<Value> = columns.iter().cloned().chain([age]).collect();
    for version in &mut versions {
        version["additionalPrinterColumns"] = columns.clone().into();
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{}.{}", resource.plural, resource.group)},
        "spec": {
            "group": resource.group,
            "names": {
                "plural": resource.plural, "kind": resource.kind, "listKind": format!("{}List", resource.kind),
                "singular": resource.kind.to_lowercase(), "shortNames": short, "categories": ["crossplane"],
            },
            "scope": "Cluster",
            "versions": versions,
        },
    })
}

fn version(name: &str, storage: bool, spec: Value) -> Value {
    let schema = json!({
        "type": "object",
        "properties": {"spec": spec, "status": status_schema(json!({}))},
        "required": ["spec"],
    });
    json!({
        "name": name, "served": true, "storage": storage,
        "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}},
    })
}

fn column(name: &str, path: &str) -> Value {
    let kind = if name == "REVISION" { "integer" } else { "string" };
    json!({"name": name, "type": kind, "jsonPath": path})
}

fn condition_path(condition: &str) -> String {
    format!(".status.conditions[?(@.type=='{condition}')].status")
}

/// A status with conditions, `more` fields, and any others.
pub(crate) fn status_schema(more: Value) -> Value {
    let mut properties = json!({"conditions": conditions_schema()});
    for (name, schema) in more.as_object().into_iter().flatten() {
        properties[name] = schema.clone();
    }
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": properties})
}

/// Conditions, keyed by their type.
pub(crate) fn conditions_schema() -> Value {
    json!({
        "type": "array",
        "description": "Conditions of the resource.",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["lastTransitionTime", "reason", "status", "type"],
            "properties": {
                "type": {"type": "string"},
                "status": {"type": "string"},
                "reason": {"type": "string"},
                "message": {"type": "string"},
                "lastTransitionTime": {"type": "string", "format": "date-time"},
                "observedGeneration": {"type": "integer", "format": "int64"},
            },
        },
    })
}

fn free_object() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn names_schema() -> Value {
    let words = json!({"type": "array", "items": {"type": "string"}});
    json!({
        "type": "object",
        "required": ["kind", "plural"],
        "properties": {
            "kind": {"type": "string"}, "listKind": {"type": "string"}, "plural": {"type": "string"},
            "singular": {"type": "string"}, "shortNames": words, "categories": words,
        },
    })
}

fn definition_schema(default_scope: &str, scopes: &[&str]) -> Value {
    let name_ref =
        json!({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}});
    let version = json!({
        "type": "object",
        "required": ["name", "referenceable", "served"],
        "properties": {
            "name": {"type": "string"},
            "served": {"type": "boolean"},
            "referenceable": {"type": "boolean"},
            "deprecated": {"type": "boolean"},
            "deprecationWarning": {"type": "string"},
            "additionalPrinterColumns": {"type": "array", "items": free_object()},
            "schema": {"type": "object", "properties": {"openAPIV3Schema": free_object()}},
        },
        "x-kubernetes-preserve-unknown-fields": true,
    });
    json!({
        "type": "object",
        "required": ["group", "names", "versions"],
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "group": {"type": "string"},
            "names": names_schema(),
            "claimNames": names_schema(),
            "scope": {"type": "string", "enum": scopes, "default": default_scope},
            "versions": {"type": "array", "minItems": 1, "items": version},
            "defaultCompositionRef": name_ref,
            "enforcedCompositionRef": name_ref,
            "defaultCompositionUpdatePolicy": {"type": "string", "enum": ["Automatic", "Manual"], "default": "Automatic"},
            "metadata": free_object(),
        },
    })
}

fn composition_properties() -> Value {
    let step = json!({
        "type": "object",
        "required": ["step", "functionRef"],
        "properties": {
            "step": {"type": "string"},
            "functionRef": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
            "input": free_object(),
        },
        "x-kubernetes-preserve-unknown-fields": true,
    });
    json!({
        "compositeTypeRef": {
            "type": "object",
            "required": ["apiVersion", "kind"],
            "properties": {"apiVersion": {"type": "string"}, "kind": {"type": "string"}},
        },
        "mode": {"type": "string", "enum": ["Resources", "Pipeline"]},
        "pipeline": {
            "type": "array", "minItems": 1, "maxItems": 99, "items": step,
            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["step"],
        },
        "resources": {"type": "array", "items": free_object()},
        "patchSets": {"type": "array", "items": free_object()},
        "writeConnectionSecretsToNamespace": {"type": "string"},
    })
}

/// Both forms: `pipeline`, and `resources` of Crossplane before version 2.
fn composition_schema() -> Value {
    json!({
        "type": "object", "required": ["compositeTypeRef"], "x-kubernetes-preserve-unknown-fields": true,
        "properties": composition_properties(),
    })
}

fn revision_schema() -> Value {
    let mut properties = composition_properties();
    properties["revision"] = json!({"type": "integer", "format": "int64"});
    json!({
        "type": "object", "required": ["compositeTypeRef", "revision"], "x-kubernetes-preserve-unknown-fields": true,
        "properties": properties,
    })
}

fn function_schema() -> Value {
    json!({
        "type": "object", "required": ["package"], "x-kubernetes-preserve-unknown-fields": true,
        "properties": {"package": {"type": "string"}},
    })
}
