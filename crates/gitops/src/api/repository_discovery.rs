//! `RepositoryDiscovery` of gitops.portolan.dev/v1alpha1: which repositories of an organisation a cluster deploys.
//!
//! Repositories with a topic become a GitRepository and a Kustomization each. Nobody outside of the cluster tells it to:
//! the list is read from the git host's REST API (GitHub's), every `interval` and whenever the host hints at a change.

use std::time::Duration;

use object::Resource;
use serde::Deserialize;
use serde_json::{Value, json};

use super::schema::{self, flag, local_reference, object, text};
use super::{LocalReference, duration};

/// The kind.
pub const REPOSITORY_DISCOVERY: Resource =
    Resource::fixed("gitops.portolan.dev", "v1alpha1", "repositorydiscoveries", "RepositoryDiscovery", true);

/// `spec`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Base address of the REST API, such as `http://127.0.0.1:7007/api/v3`.
    pub api: String,
    /// Organisation whose repositories are listed.
    pub organisation: String,
    /// The topic that marks a deploy repository.
    #[serde(default = "default_topic")]
    pub topic: String,
    /// How often to list; one minute.
    #[serde(default, deserialize_with = "duration")]
    pub interval: Option<Duration>,
    /// Secret whose `token` (or `bearerToken`, or `password`) is sent.
    pub secret_ref: Option<LocalReference>,
    /// Path of the Kustomizations; `<environment>` and `<repository>` are put in.
    #[serde(default = "default_path")]
    pub path: String,
    /// Stands for `<environment>` in the path.
    #[serde(default)]
    pub environment: String,
    /// Branch to deploy; each repository's default branch without it.
    pub branch: Option<String>,
    /// `spec.targetNamespace` of the Kustomizations.
    pub target_namespace: Option<String>,
    /// `spec.prune` of the Kustomizations.
    #[serde(default = "yes")]
    pub prune: bool,
    /// `spec.wait` of the Kustomizations.
    #[serde(default)]
    pub wait: bool,
    /// No listing while it is set.
    #[serde(default)]
    pub suspend: bool,
}

impl Spec {
    /// Reads `spec` of an object.
    pub fn of(object: &Value) -> Result<Self, serde_json::Error> {
        Spec::deserialize(&object["spec"])
    }

    /// How often to list.
    pub fn interval(&self) -> Duration {
        self.interval.unwrap_or(Duration::from_secs(60))
    }
}

fn default_topic() -> String {
    "flux-managed".to_owned()
}

fn default_path() -> String {
    "./overlays/<environment>".to_owned()
}

fn yes() -> bool {
    true
}

pub(super) fn crd() -> Value {
    let spec = object(
        &["api", "organisation"],
        json!({
            "api": {"type": "string", "pattern": "^https?://.*$", "description": "Base address of GitHub's REST API v3 or a host that speaks it."},
            "organisation": text("Organisation whose repositories are listed."),
            "topic": {"type": "string", "default": default_topic(), "description": "Topic that marks a deploy repository."},
            "interval": {"type": "string", "pattern": schema::DURATION, "default": "1m"},
            "secretRef": local_reference("Secret with the token, under token, bearerToken or password."),
            "path": {"type": "string", "default": default_path(), "description": "Path of the Kustomizations; <environment> and <repository> are put in."},
            "environment": text("Stands for <environment> in the path."),
            "branch": text("Branch to deploy; the default branch without it."),
            "targetNamespace": text("Target namespace of the Kustomizations."),
            "prune": {"type": "boolean", "default": true, "description": "Whether the Kustomizations prune."},
            "wait": flag("Whether the Kustomizations wait for health."),
            "suspend": flag("No listing while it is true."),
        }),
    );
    let status = schema::status(json!({
        "repositories": schema::texts(),
    }));
    schema::crd(schema::Definition {
        resource: REPOSITORY_DISCOVERY,
        singular: "repositorydiscovery",
        short: &["repodisc"],
        categories: &["gitops"],
        columns: &[("Organisation", ".spec.organisation"), ("Topic", ".spec.topic")],
        description: "Deploys every repository of an organisation that has a topic.",
        spec,
        status,
    })
}
