//! `GitRepository` of source.toolkit.fluxcd.io/v1: where manifests come from.

use std::time::Duration;

use object::Resource;
use serde::Deserialize;
use serde_json::{Value, json};

use super::schema::{self, flag, list, local_reference, object, one_of, text, texts};
use super::{LocalReference, duration};

/// The kind.
pub const GIT_REPOSITORY: Resource =
    Resource::fixed("source.toolkit.fluxcd.io", "v1", "gitrepositories", "GitRepository", true);

/// `spec`. Fields that this version does not act on are named in [`Spec::unsupported`].
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// HTTP(S) address of the repository.
    pub url: String,
    /// How often to look; one minute when it cannot be read.
    #[serde(default, deserialize_with = "duration")]
    pub interval: Option<Duration>,
    /// How long one fetch may take; 60 s.
    #[serde(default, deserialize_with = "duration")]
    pub timeout: Option<Duration>,
    /// What to check out; `master` without it.
    #[serde(default, rename = "ref")]
    pub reference: Reference,
    /// Secret with `username` and `password`, or `bearerToken`.
    pub secret_ref: Option<LocalReference>,
    /// Patterns in the syntax of `.gitignore`; replaces the built-in ones.
    pub ignore: Option<String>,
    /// No fetches while it is set.
    #[serde(default)]
    pub suspend: bool,
    verify: Option<Value>,
    proxy_secret_ref: Option<Value>,
    #[serde(default)]
    recurse_submodules: bool,
    #[serde(default)]
    include: Vec<Value>,
    #[serde(default)]
    sparse_checkout: Vec<String>,
    provider: Option<String>,
}

/// `spec.ref`; the later of two fields wins.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Reference {
    /// A branch.
    pub branch: String,
    /// A tag.
    pub tag: String,
    /// A range of versions; the greatest tag in it is taken.
    pub semver: String,
    /// A whole ref name, such as `refs/pull/420/head`.
    pub name: String,
    /// A commit id; with `branch`, one of that branch.
    pub commit: String,
}

impl Spec {
    /// Reads `spec` of an object.
    pub fn of(object: &Value) -> Result<Self, serde_json::Error> {
        Spec::deserialize(&object["spec"])
    }

    /// A field that is set but not acted on: better refused than ignored.
    pub fn unsupported(&self) -> Option<&'static str> {
        let set = [
            (self.verify.is_some(), "verify"),
            (self.proxy_secret_ref.is_some(), "proxySecretRef"),
            (self.recurse_submodules, "recurseSubmodules"),
            (!self.include.is_empty(), "include"),
            (!self.sparse_checkout.is_empty(), "sparseCheckout"),
            (self.provider.as_deref().is_some_and(|p| p != "generic"), "provider"),
        ];
        set.iter().find(|(set, _)| *set).map(|(_, field)| *field)
    }
}

pub(super) fn crd() -> Value {
    let artifact = object(
        &["digest", "lastUpdateTime", "path", "revision", "url"],
        json!({
            "digest": text("Checksum of what the artifact contains."),
            "lastUpdateTime": {"type": "string", "format": "date-time"},
            "metadata": schema::text_map(),
            "path": text("Where the artifact lies in the storage."),
            "revision": text("What was fetched, such as main@sha1:<commit>."),
            "size": {"type": "integer", "format": "int64"},
            "url": text("Where consumers get the artifact."),
        }),
    );
    let mut verify = object(
        &["secretRef"],
        json!({
            "mode": {"type": "string", "enum": ["head", "HEAD", "Tag", "TagAndHEAD"], "default": "HEAD"},
            "secretRef": local_reference("Secret with the public keys of trusted authors."),
        }),
    );
    verify["description"] = "Which signatures have to be good.".into();
    let spec = object(
        &["interval", "url"],
        json!({
            "url": {"type": "string", "pattern": "^(http|https|ssh)://.*$", "description": "Address of the repository."},
            "interval": schema::duration("How often to look for a new revision."),
            "timeout": {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m))+$", "default": "60s"},
            "ref": object(&[], json!({
                "branch": text("Branch; the default is master."),
                "tag": text("Tag; wins over branch."),
                "semver": text("Range of versions; wins over tag."),
                "name": text("Whole ref name; wins over semver."),
                "commit": text("Commit id; wins over all."),
            })),
            "secretRef": local_reference("Secret with username and password, or bearerToken."),
            "ignore": text("Patterns of files to leave out, as in .gitignore."),
            "suspend": flag("No fetches while it is true."),
            "provider": one_of(&["generic", "aws", "azure", "github"], "Way of authentication."),
            "serviceAccountName": text("Account for cloud authentication."),
            "proxySecretRef": local_reference("Secret with the address of a proxy."),
            "recurseSubmodules": flag("Fetch submodules too."),
            "sparseCheckout": texts(),
            "verify": verify,
            "include": list(object(&["repository"], json!({
                "repository": local_reference("GitRepository to copy from."),
                "fromPath": text("Path in the other artifact."),
                "toPath": text("Path in this one."),
            }))),
        }),
    );
    let status = schema::status(json!({
        "artifact": artifact.clone(),
        "includedArtifacts": list(artifact),
        "observedIgnore": text("The ignore patterns of the artifact."),
        "observedInclude": list(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})),
        "observedRecurseSubmodules": {"type": "boolean"},
        "observedSparseCheckout": texts(),
        "sourceVerificationMode": {"type": "string"},
    }));
    schema::crd(schema::Definition {
        resource: GIT_REPOSITORY,
        singular: "gitrepository",
        short: &["gitrepo"],
        categories: &["all", "fluxcd", "fluxcd-sources"],
        columns: &[("URL", ".spec.url")],
        description: "A Git repository whose content becomes an artifact.",
        spec,
        status,
    })
}
