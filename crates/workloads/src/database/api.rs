//! The kinds of `postgresql.cnpg.io/v1` and their CustomResourceDefinitions: the published fields as far as they are
//! used; others are kept and not read.

use object::Resource;
use serde_json::{Value, json};

/// `Cluster`
pub const CLUSTER: Resource = Resource::fixed("postgresql.cnpg.io", "v1", "clusters", "Cluster", true);
/// `Backup`
pub const BACKUP: Resource = Resource::fixed("postgresql.cnpg.io", "v1", "backups", "Backup", true);
/// `ScheduledBackup`
pub const SCHEDULED_BACKUP: Resource =
    Resource::fixed("postgresql.cnpg.io", "v1", "scheduledbackups", "ScheduledBackup", true);

/// The CustomResourceDefinitions to install before [`super::run`].
pub fn crds() -> Vec<Value> {
    let cluster_columns = [
        date("Age", ".metadata.creationTimestamp"),
        json!({"name": "Instances", "type": "integer", "jsonPath": ".status.instances", "description": "Number of instances"}),
        json!({"name": "Ready", "type": "integer", "jsonPath": ".status.readyInstances", "description": "Number of ready instances"}),
        column("Status", ".status.phase"),
        column("Primary", ".status.currentPrimary"),
    ];
    let backup_columns = [
        date("Age", ".metadata.creationTimestamp"),
        column("Cluster", ".spec.cluster.name"),
        column("Method", ".spec.method"),
        column("Phase", ".status.phase"),
        column("Error", ".status.error"),
    ];
    let scheduled_columns = [
        date("Age", ".metadata.creationTimestamp"),
        column("Cluster", ".spec.cluster.name"),
        date("Last Backup", ".status.lastScheduleTime"),
    ];
    let scale = json!({"specReplicasPath": ".spec.instances", "statusReplicasPath": ".status.instances"});
    vec![
        crd(&CLUSTER, &[], cluster_spec(), &cluster_columns, Some(scale)),
        crd(&BACKUP, &[], backup_spec(), &backup_columns, None),
        crd(&SCHEDULED_BACKUP, &[], scheduled_spec(), &scheduled_columns, None),
    ]
}

fn column(name: &str, path: &str) -> Value {
    json!({"name": name, "type": "string", "jsonPath": path})
}

fn date(name: &str, path: &str) -> Value {
    json!({"name": name, "type": "date", "jsonPath": path})
}

fn crd(resource: &Resource, short: &[&str], spec: Value, columns: &[Value], scale: Option<Value>) -> Value {
    let mut subresources = json!({"status": {}});
    if let Some(scale) = scale {
        subresources["scale"] = scale;
    }
    let schema = json!({
        "type": "object",
        "required": ["metadata", "spec"],
        "properties": {
            "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"},
            "spec": spec, "status": free(json!({})),
        },
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{}.{}", resource.plural, resource.group)},
        "spec": {
            "group": resource.group, "scope": "Namespaced",
            "names": {
                "kind": resource.kind, "listKind": format!("{}List", resource.kind), "plural": resource.plural,
                "singular": resource.kind.to_lowercase(), "shortNames": short,
            },
            "versions": [{
                "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                "subresources": subresources, "additionalPrinterColumns": columns,
            }],
        },
    })
}

/// An object with some known fields and any others.
fn free(properties: Value) -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": properties})
}

fn words() -> Value {
    json!({"type": "array", "items": {"type": "string"}})
}

fn named() -> Value {
    json!({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}})
}

fn cluster_spec() -> Value {
    let initdb = free(json!({
        "database": {"type": "string"}, "owner": {"type": "string"}, "secret": named(),
        "encoding": {"type": "string"}, "localeCollate": {"type": "string"}, "localeCType": {"type": "string"},
        "dataChecksums": {"type": "boolean"},
        "postInitSQL": words(), "postInitTemplateSQL": words(), "postInitApplicationSQL": words(),
    }));
    let quantity = json!({"x-kubernetes-int-or-string": true});
    let mut spec = free(json!({
        "instances": {"type": "integer", "minimum": 1, "default": 1},
        "imageName": {"type": "string"},
        "imagePullPolicy": {"type": "string"},
        "postgresUID": {"type": "integer", "format": "int64", "default": 26},
        "postgresGID": {"type": "integer", "format": "int64", "default": 26},
        "bootstrap": free(json!({"initdb": initdb})),
        "storage": free(json!({"size": quantity, "storageClass": {"type": "string"}})),
        "enableSuperuserAccess": {"type": "boolean", "default": false},
        "superuserSecret": named(),
        "postgresql": free(json!({
            "parameters": {"type": "object", "additionalProperties": {"type": "string"}},
            "pg_hba": words(),
        })),
        "resources": free(json!({})),
        "stopDelay": {"type": "integer", "default": 1800},
        "primaryUpdateStrategy": {"type": "string", "enum": ["unsupervised", "supervised"], "default": "unsupervised"},
        "primaryUpdateMethod": {"type": "string", "enum": ["switchover", "restart"], "default": "restart"},
    }));
    spec["required"] = json!(["instances"]);
    spec
}

fn backup_spec() -> Value {
    let mut spec = free(json!({
        "cluster": named(),
        "method": {"type": "string", "enum": ["barmanObjectStore", "volumeSnapshot", "plugin"], "default": "barmanObjectStore"},
        "target": {"type": "string", "enum": ["primary", "prefer-standby"]},
    }));
    spec["required"] = json!(["cluster"]);
    spec
}

fn scheduled_spec() -> Value {
    let mut spec = free(json!({
        "cluster": named(),
        "schedule": {"type": "string"},
        "suspend": {"type": "boolean"},
        "immediate": {"type": "boolean"},
        "backupOwnerReference": {"type": "string", "enum": ["none", "self", "cluster"], "default": "none"},
        "method": {"type": "string", "enum": ["barmanObjectStore", "volumeSnapshot", "plugin"], "default": "barmanObjectStore"},
    }));
    spec["required"] = json!(["cluster", "schedule"]);
    spec
}
