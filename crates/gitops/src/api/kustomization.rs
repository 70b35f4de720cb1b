//! `Kustomization` of kustomize.toolkit.fluxcd.io/v1: what of a source is applied, and how.

use std::collections::BTreeMap;
use std::time::Duration;

use object::Resource;
use serde::Deserialize;
use serde_json::{Value, json};

use super::duration;
use super::schema::{self, flag, list, local_reference, object, one_of, selector, text, text_map, texts};

/// The kind.
pub const KUSTOMIZATION: Resource =
    Resource::fixed("kustomize.toolkit.fluxcd.io", "v1", "kustomizations", "Kustomization", true);
/// The finalizer that lets the controller prune before an object goes.
pub const FINALIZER: &str = "finalizers.fluxcd.io";

/// `spec`. Fields that this version does not act on are named in [`Spec::unsupported`].
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Where the manifests come from.
    pub source_ref: SourceReference,
    /// Directory in the source; the root without it.
    #[serde(default)]
    pub path: String,
    /// Whether objects that left the source are deleted.
    #[serde(default)]
    pub prune: bool,
    /// How often to check.
    #[serde(default, deserialize_with = "duration")]
    pub interval: Option<Duration>,
    /// How soon to try again after a failure; `interval` without it.
    #[serde(default, deserialize_with = "duration")]
    pub retry_interval: Option<Duration>,
    /// How long health may take.
    #[serde(default, deserialize_with = "duration")]
    pub timeout: Option<Duration>,
    /// Ready only when everything applied is healthy.
    #[serde(default)]
    pub wait: bool,
    /// Ready only when these are healthy; `wait` goes before.
    #[serde(default)]
    pub health_checks: Vec<HealthCheck>,
    /// Recreate objects whose change the server refuses.
    #[serde(default)]
    pub force: bool,
    /// Do nothing while it is set.
    #[serde(default)]
    pub suspend: bool,
    /// Namespace of everything that has one.
    pub target_namespace: Option<String>,
    /// Before every name.
    pub name_prefix: Option<String>,
    /// After every name.
    pub name_suffix: Option<String>,
    /// Kustomizations that have to be ready first.
    #[serde(default)]
    pub depends_on: Vec<Dependency>,
    /// Substitution of variables after the build.
    #[serde(default)]
    pub post_build: PostBuild,
    /// Labels and annotations of everything.
    #[serde(default)]
    pub common_metadata: CommonMetadata,
    /// `MirrorPrune`, `Delete`, `WaitForTermination` or `Orphan`.
    pub deletion_policy: Option<String>,
    /// As in a kustomization.yaml.
    #[serde(default)]
    pub images: Vec<Value>,
    /// As in a kustomization.yaml.
    #[serde(default)]
    pub patches: Vec<Value>,
    /// Paths of components.
    #[serde(default)]
    pub components: Vec<String>,
    /// Leave out components that are not there.
    #[serde(default)]
    pub ignore_missing_components: bool,
    decryption: Option<Value>,
    kube_config: Option<Value>,
    service_account_name: Option<String>,
    #[serde(default)]
    health_check_exprs: Vec<Value>,
    #[serde(default)]
    ignore: Vec<Value>,
    #[serde(default)]
    build_metadata: Vec<Value>,
}

/// `spec.sourceRef`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SourceReference {
    /// `GitRepository` is the kind that is served.
    pub kind: String,
    /// Name of the source.
    pub name: String,
    /// Its namespace; the object's own without it.
    #[serde(default)]
    pub namespace: String,
}

/// An entry of `spec.healthChecks`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// Group and version.
    #[serde(default)]
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace; none for cluster scope.
    #[serde(default)]
    pub namespace: String,
}

/// An entry of `spec.dependsOn`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// Name of the other Kustomization.
    pub name: String,
    /// Its namespace; the object's own without it.
    #[serde(default)]
    pub namespace: String,
    ready_expr: Option<String>,
}

/// `spec.postBuild`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PostBuild {
    /// Variables; win over `substitute_from`.
    pub substitute: BTreeMap<String, String>,
    /// ConfigMaps and Secrets with variables; the later wins.
    pub substitute_from: Vec<SubstituteFrom>,
    /// `Always`, or only with variables.
    pub substitute_strategy: Option<String>,
}

/// An entry of `spec.postBuild.substituteFrom`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SubstituteFrom {
    /// `ConfigMap` or `Secret`.
    pub kind: String,
    /// Its name, in the object's namespace.
    pub name: String,
    /// Whether it may be missing.
    #[serde(default)]
    pub optional: bool,
}

/// `spec.commonMetadata`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CommonMetadata {
    /// Over labels of the same key.
    pub labels: BTreeMap<String, String>,
    /// Over annotations of the same key.
    pub annotations: BTreeMap<String, String>,
}

/// Interval when none can be read.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(600);
/// Shortest time that health checks get.
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(30);

impl Spec {
    /// Reads `spec` of an object.
    pub fn of(object: &Value) -> Result<Self, serde_json::Error> {
        Spec::deserialize(&object["spec"])
    }

    /// How often to reconcile.
    pub fn interval(&self) -> Duration {
        self.interval.unwrap_or(DEFAULT_INTERVAL)
    }

    /// How soon to try again.
    pub fn retry_interval(&self) -> Duration {
        self.retry_interval.unwrap_or_else(|| self.interval())
    }

    /// `timeout`, or the interval less 30 s, and at least 30 s.
    pub fn timeout(&self) -> Duration {
        let default = self.interval().saturating_sub(SHORTEST_TIMEOUT).max(SHORTEST_TIMEOUT);
        self.timeout.unwrap_or(default)
    }

    /// Whether deleting the Kustomization deletes what it applied.
    pub fn deletes(&self) -> bool {
        match self.deletion_policy.as_deref() {
            None | Some("MirrorPrune") => self.prune,
            Some("Delete" | "WaitForTermination") => true,
            Some(_) => false,
        }
    }

    /// A field that is set but not acted on: better refused than ignored.
    pub fn unsupported(&self) -> Option<&'static str> {
        let set = [
            (self.decryption.is_some(), "decryption"),
            (self.kube_config.is_some(), "kubeConfig"),
            (self.service_account_name.is_some(), "serviceAccountName"),
            (!self.health_check_exprs.is_empty(), "healthCheckExprs"),
            (!self.ignore.is_empty(), "ignore"),
            (!self.build_metadata.is_empty(), "buildMetadata"),
            (self.depends_on.iter().any(|d| d.ready_expr.is_some()), "dependsOn.readyExpr"),
        ];
        set.iter().find(|(set, _)| *set).map(|(_, field)| *field)
    }
}

pub(super) fn crd() -> Value {
    let mut spec = object(&["interval", "prune", "sourceRef"], spec_properties());
    if let (Some(properties), Value::Object(more)) = (spec["properties"].as_object_mut(), more_properties()) {
        properties.extend(more);
    }
    let status = schema::status(json!({
        "lastAppliedRevision": text("Revision of the last success."),
        "lastAppliedOriginRevision": text("Origin of that revision, for sources that have one."),
        "lastAttemptedRevision": text("Revision of the last attempt."),
        "inventory": object(&["entries"], json!({
            "entries": list(object(&["id", "v"], json!({
                "id": text("<namespace>_<name>_<group>_<kind>"),
                "v": text("Version of the kind."),
            }))),
        })),
        "history": list(object(
            &["digest", "firstReconciled", "lastReconciled", "lastReconciledDuration", "lastReconciledStatus", "totalReconciliations"],
            json!({
                "digest": {"type": "string"},
                "firstReconciled": {"type": "string", "format": "date-time"},
                "lastReconciled": {"type": "string", "format": "date-time"},
                "lastReconciledDuration": {"type": "string"},
                "lastReconciledStatus": {"type": "string"},
                "totalReconciliations": {"type": "integer", "format": "int64"},
                "metadata": text_map(),
            }),
        )),
    }));
    schema::crd(schema::Definition {
        resource: KUSTOMIZATION,
        singular: "kustomization",
        short: &["ks"],
        categories: &["all", "fluxcd", "fluxcd-appliers"],
        columns: &[],
        description: "Manifests of a source, built by kustomize and kept applied.",
        spec,
        status,
    })
}

fn spec_properties() -> Value {
    json!({
        "interval": schema::duration("How often to reconcile."),
        "retryInterval": schema::duration("How soon to try again after a failure."),
        "timeout": schema::duration("How long building, applying and health checks may take."),
        "path": text("Directory in the source."),
        "prune": flag("Delete what left the source."),
        "wait": flag("Wait for the health of everything applied."),
        "force": {"type": "boolean", "default": false, "description": "Recreate what cannot be changed."},
        "suspend": flag("Do nothing while it is true."),
        "targetNamespace": {"type": "string", "minLength": 1, "maxLength": 63},
        "namePrefix": {"type": "string", "minLength": 1, "maxLength": 200},
        "nameSuffix": {"type": "string", "minLength": 1, "maxLength": 200},
        "serviceAccountName": text("Account to act as."),
        "deletionPolicy": one_of(&["MirrorPrune", "Delete", "WaitForTermination", "Orphan"], "What deletion of this object does."),
        "sourceRef": object(&["kind", "name"], json!({
            "apiVersion": {"type": "string"},
            "kind": {"type": "string", "enum": ["OCIRepository", "GitRepository", "Bucket", "ExternalArtifact"]},
            "name": {"type": "string"},
            "namespace": {"type": "string"},
        })),
        "dependsOn": list(object(&["name"], json!({
            "name": {"type": "string"},
            "namespace": {"type": "string"},
            "readyExpr": {"type": "string"},
        }))),
        "healthChecks": list(object(&["kind", "name"], json!({
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "name": {"type": "string"},
            "namespace": {"type": "string"},
        }))),
        "healthCheckExprs": list(object(&["apiVersion", "current"], json!({
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "current": {"type": "string"},
            "failed": {"type": "string"},
            "inProgress": {"type": "string"},
        }))),
    })
}

fn more_properties() -> Value {
    json!({
        "commonMetadata": object(&[], json!({"labels": text_map(), "annotations": text_map()})),
        "components": texts(),
        "ignoreMissingComponents": flag("Leave out components that are not in the source."),
        "buildMetadata": texts(),
        "images": list(object(&["name"], json!({
            "name": {"type": "string"},
            "newName": {"type": "string"},
            "newTag": {"type": "string"},
            "digest": {"type": "string"},
        }))),
        "patches": list(object(&["patch"], json!({"patch": {"type": "string"}, "target": selector()}))),
        "ignore": list(object(&["paths"], json!({"paths": texts(), "target": selector()}))),
        "postBuild": object(&[], json!({
            "substitute": text_map(),
            "substituteFrom": list(object(&["kind", "name"], json!({
                "kind": {"type": "string", "enum": ["Secret", "ConfigMap"]},
                "name": {"type": "string", "minLength": 1, "maxLength": 253},
                "optional": {"type": "boolean", "default": false},
            }))),
            "substituteStrategy": one_of(&["WithVariables", "Always"], "Whether to substitute without any variable."),
        })),
        "decryption": object(&["provider"], json!({
            "provider": {"type": "string", "enum": ["sops"]},
            "secretRef": local_reference("Secret with the keys."),
            "serviceAccountName": {"type": "string"},
        })),
        "kubeConfig": object(&[], json!({
            "configMapRef": local_reference("ConfigMap that says which cluster."),
            "secretRef": object(&["name"], json!({"name": {"type": "string"}, "key": {"type": "string"}})),
        })),
    })
}
