//! `WorkflowRun` (`pipelines.portolan.dev/v1alpha1`): one run of one workflow, in the `platform` API server.
//!
//! The object is the interface: `spec.attempt` one higher asks for a re-run, `spec.cancel` for an end. The runner alone
//! writes `status`.

use object::{Key, Resource};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The kind. Cluster-scoped: the name is unique and made from what started the run.
pub const WORKFLOW_RUN: Resource =
    Resource::fixed("pipelines.portolan.dev", "v1alpha1", "workflowruns", "WorkflowRun", false);

/// Label with the repository, its slash replaced by a dot.
pub const REPOSITORY_LABEL: &str = "pipelines.portolan.dev/repository";
/// Label with the commit id.
pub const SHA_LABEL: &str = "pipelines.portolan.dev/sha";

/// What to run, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RunSpec {
    /// `organisation/name`.
    pub repository: String,
    /// The workflow's name as people see it.
    pub workflow: String,
    /// Its file, such as `.github/workflows/ci.yaml`.
    pub path: String,
    /// `push`, `workflow_dispatch` or `repository_dispatch`.
    pub event: String,
    /// Full ref.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The commit.
    pub sha: String,
    /// Login of whoever caused it.
    pub actor: String,
    pub run_id: i64,
    pub run_number: i64,
    /// From 1; a higher number than the status' asks for a re-run.
    pub attempt: i64,
    pub cancel: bool,
    /// Inputs of `workflow_dispatch`.
    pub inputs: Value,
    /// `github.event`.
    pub payload: Value,
}

/// How it goes. `status` is `queued`, `in_progress` or `completed`; `conclusion` then is `success`, `failure`,
/// `cancelled`, `skipped` or `startup_failure`. Times are RFC 3339.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RunStatus {
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conclusion: Option<String>,
    /// Why it could not run, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    pub attempt: i64,
    /// How often the platform ended during the run; after the first time it is run once more.
    pub interruptions: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<String>,
    pub jobs: Vec<JobStatus>,
}

/// One job, or one combination of a job's matrix.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobStatus {
    /// The job's id, with the combination's index for matrices; also the name of its log.
    pub id: String,
    /// What people see.
    pub name: String,
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conclusion: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<String>,
    pub steps: Vec<StepStatus>,
    /// Errors and warnings that steps reported.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<Annotation>,
}

/// One step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StepStatus {
    /// From 1; the log's `##[step]` lines carry it.
    pub number: usize,
    pub name: String,
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conclusion: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<String>,
}

/// `::error::` and its like.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Annotation {
    /// `error`, `warning` or `notice`.
    pub level: String,
    pub message: String,
}

/// The CRDs of this crate, as data.
pub fn crds() -> Vec<Value> {
    vec![workflow_run_crd()]
}

/// The object of a run.
pub(crate) fn object(name: &str, spec: &RunSpec) -> Value {
    json!({
        "apiVersion": WORKFLOW_RUN.api_version(),
        "kind": "WorkflowRun",
        "metadata": {
            "name": name,
            "labels": { REPOSITORY_LABEL: label(&spec.repository), SHA_LABEL: spec.sha },
        },
        "spec": spec,
    })
}

/// The key of a run.
pub(crate) fn key(name: &str) -> Key {
    Key::new("", name)
}

/// A repository as a label's value, which may be 63 characters long.
pub(crate) fn label(repository: &str) -> String {
    let text: String = repository.replace('/', ".").chars().take(63).collect();
    text.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

/// Spec and status of an object; an object that is not a run gives defaults.
pub fn parse(object: &Value) -> (RunSpec, Option<RunStatus>) {
    let spec = serde_json::from_value(object["spec"].clone()).unwrap_or_default();
    (spec, serde_json::from_value(object["status"].clone()).ok())
}

fn workflow_run_crd() -> Value {
    let text = json!({ "type": "string" });
    let number = json!({ "type": "integer", "format": "int64" });
    let any = json!({ "x-kubernetes-preserve-unknown-fields": true });
    let column = |name: &str, kind: &str, path: &str| json!({ "name": name, "type": kind, "jsonPath": path });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": "workflowruns.pipelines.portolan.dev" },
        "spec": {
            "group": "pipelines.portolan.dev",
            "scope": "Cluster",
            "names": { "plural": "workflowruns", "singular": "workflowrun", "kind": "WorkflowRun",
                "listKind": "WorkflowRunList", "shortNames": ["wfr"] },
            "versions": [{
                "name": "v1alpha1",
                "served": true,
                "storage": true,
                "subresources": { "status": {} },
                "additionalPrinterColumns": [
                    column("Repository", "string", ".spec.repository"),
                    column("Workflow", "string", ".spec.workflow"),
                    column("Ref", "string", ".spec.ref"),
                    column("Status", "string", ".status.status"),
                    column("Conclusion", "string", ".status.conclusion"),
                    column("Age", "date", ".metadata.creationTimestamp"),
                ],
                "schema": { "openAPIV3Schema": {
                    "type": "object",
                    "required": ["spec"],
                    "properties": {
                        "spec": {
                            "type": "object",
                            "required": ["repository", "path", "event", "ref", "sha"],
                            "properties": {
                                "repository": text, "workflow": text, "path": text, "event": text, "ref": text,
                                "sha": text, "actor": text, "runId": number, "runNumber": number,
                                "attempt": { "type": "integer", "format": "int64", "default": 1, "minimum": 1 },
                                "cancel": { "type": "boolean" }, "inputs": any, "payload": any,
                            },
                        },
                        "status": {
                            "type": "object",
                            "properties": {
                                "status": text, "conclusion": text, "message": text, "attempt": number,
                                "interruptions": number, "startedAt": text, "completedAt": text,
                                "jobs": { "type": "array", "items": {
                                    "type": "object",
                                    "x-kubernetes-preserve-unknown-fields": true,
                                } },
                            },
                        },
                    },
                } },
            }],
        },
    })
}
