//! The kinds that are served: the built-in ones from one table, and those that CustomResourceDefinitions add.
//!
//! A catalog is immutable; a change of a definition replaces it as a whole, so that a request sees one state of it from start to end.

use std::collections::HashMap;
use std::sync::Arc;

use object::{Resource, kinds};

use crate::custom::Custom;

/// Facts of a built-in kind, as bits of its row in [`BUILT_IN`].
pub(crate) mod fact {
    /// Has `/status`; the main endpoint ignores `status`.
    pub(crate) const STATUS: u16 = 1;
    /// Has `metadata.generation`.
    pub(crate) const GENERATION: u16 = 1 << 1;
    /// Has `/scale`.
    pub(crate) const SCALE: u16 = 1 << 2;
    /// An update without a resource version is refused.
    pub(crate) const CONDITIONAL: u16 = 1 << 3;
    /// PUT of a missing name creates.
    pub(crate) const UPSERT: u16 = 1 << 4;
    /// A completed DELETE answers the object.
    pub(crate) const RETURNED: u16 = 1 << 5;
    /// Only POST; nothing is stored.
    pub(crate) const VIRTUAL: u16 = 1 << 6;
    /// Writes to the main endpoint keep the status that they bring when creating.
    pub(crate) const STATUS_ON_CREATE: u16 = 1 << 7;
}
use fact::*;

/// A row: kind, singular, short names, categories, facts, further subresources.
type Row =
    (Resource, &'static str, &'static [&'static str], &'static [&'static str], u16, &'static [Subresource]);

/// A subresource as discovery lists it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subresource {
    pub(crate) name: &'static str,
    /// Group, version and kind of its objects; the kind `""` stands for the parent's.
    pub(crate) kind: (&'static str, &'static str, &'static str),
    pub(crate) verbs: &'static [&'static str],
}

const fn sub(
    name: &'static str,
    kind: (&'static str, &'static str, &'static str),
    verbs: &'static [&'static str],
) -> Subresource {
    Subresource { name, kind, verbs }
}

const READ_WRITE: &[&str] = &["get", "patch", "update"];
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];
const STREAM: &[&str] = &["create", "get"];
const OWN: (&str, &str, &str) = ("", "", "");
const ALL: &[&str] = &["all"];

pub(crate) const STATUS_SUBRESOURCE: Subresource = sub("status", OWN, READ_WRITE);
pub(crate) const SCALE_SUBRESOURCE: Subresource = sub("scale", ("autoscaling", "v1", "Scale"), READ_WRITE);

const POD_SUBRESOURCES: &[Subresource] = &[
    sub("attach", ("", "v1", "PodAttachOptions"), STREAM),
    sub("binding", ("", "v1", "Binding"), &["create"]),
    sub("ephemeralcontainers", OWN, READ_WRITE),
    sub("eviction", ("policy", "v1", "Eviction"), &["create"]),
    sub("exec", ("", "v1", "PodExecOptions"), STREAM),
    sub("log", OWN, &["get"]),
    sub("portforward", ("", "v1", "PodPortForwardOptions"), STREAM),
    sub("proxy", ("", "v1", "PodProxyOptions"), PROXY),
    sub("resize", OWN, READ_WRITE),
];

const CERTIFICATE_SIGNING_REQUEST: Resource = Resource::fixed(
    "certificates.k8s.io",
    "v1",
    "certificatesigningrequests",
    "CertificateSigningRequest",
    false,
);
const RUNTIME_CLASS: Resource = Resource::fixed("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", false);
const CSI_DRIVER: Resource = Resource::fixed("storage.k8s.io", "v1", "csidrivers", "CSIDriver", false);
const CSI_NODE: Resource = Resource::fixed("storage.k8s.io", "v1", "csinodes", "CSINode", false);
const VOLUME_ATTACHMENT: Resource =
    Resource::fixed("storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment", false);
const BINDING: Resource = Resource::fixed("", "v1", "bindings", "Binding", true);
pub(crate) const EVENTS_EVENT: Resource = Resource::fixed("events.k8s.io", "v1", "events", "Event", true);

const fn review(group: &'static str, plural: &'static str, kind: &'static str, namespaced: bool) -> Row {
    (Resource::fixed(group, "v1", plural, kind, namespaced), "", &[], &[], VIRTUAL, &[])
}

/// The built-in kinds in the order of discovery, which decides between equal short names.
#[rustfmt::skip]
const BUILT_IN: &[Row] = &[
    (BINDING, "binding", &[], &[], VIRTUAL, &[]),
    (kinds::CONFIG_MAP, "configmap", &["cm"], &[], 0, &[]),
    (kinds::ENDPOINTS, "endpoints", &["ep"], &[], UPSERT, &[]),
    (kinds::EVENT, "event", &["ev"], &[], UPSERT, &[]),
    (kinds::LIMIT_RANGE, "limitrange", &["limits"], &[], UPSERT, &[]),
    (kinds::NAMESPACE, "namespace", &["ns"], &[], STATUS, &[sub("finalize", OWN, &["update"])]),
    (kinds::NODE, "node", &["no"], &[], STATUS | STATUS_ON_CREATE, &[sub("proxy", ("", "v1", "NodeProxyOptions"), PROXY)]),
    (kinds::PERSISTENT_VOLUME_CLAIM, "persistentvolumeclaim", &["pvc"], &[], STATUS | RETURNED, &[]),
    (kinds::PERSISTENT_VOLUME, "persistentvolume", &["pv"], &[], STATUS | RETURNED, &[]),
    (kinds::POD, "pod", &["po"], ALL, STATUS | RETURNED, POD_SUBRESOURCES),
    (kinds::POD_TEMPLATE, "podtemplate", &[], &[], RETURNED, &[]),
    (kinds::REPLICATION_CONTROLLER, "replicationcontroller", &["rc"], ALL, STATUS | GENERATION | SCALE, &[]),
    (kinds::RESOURCE_QUOTA, "resourcequota", &["quota"], &[], STATUS | RETURNED, &[]),
    (kinds::SECRET, "secret", &[], &[], 0, &[]),
    (kinds::SERVICE_ACCOUNT, "serviceaccount", &["sa"], &[], RETURNED, &[sub("token", ("authentication.k8s.io", "v1", "TokenRequest"), &["create"])]),
    (kinds::SERVICE, "service", &["svc"], ALL, STATUS | RETURNED | UPSERT, &[sub("proxy", ("", "v1", "ServiceProxyOptions"), PROXY)]),
    (kinds::CONTROLLER_REVISION, "controllerrevision", &[], &[], 0, &[]),
    (kinds::DAEMON_SET, "daemonset", &["ds"], ALL, STATUS | GENERATION, &[]),
    (kinds::DEPLOYMENT, "deployment", &["deploy"], ALL, STATUS | GENERATION | SCALE, &[]),
    (kinds::REPLICA_SET, "replicaset", &["rs"], ALL, STATUS | GENERATION | SCALE, &[]),
    (kinds::STATEFUL_SET, "statefulset", &["sts"], ALL, STATUS | GENERATION | SCALE, &[]),
    (EVENTS_EVENT, "event", &["ev"], &[], UPSERT, &[]),
    review("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview", false),
    review("authentication.k8s.io", "tokenreviews", "TokenReview", false),
    review("authorization.k8s.io", "localsubjectaccessreviews", "LocalSubjectAccessReview", true),
    review("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview", false),
    review("authorization.k8s.io", "selfsubjectrulesreviews", "SelfSubjectRulesReview", false),
    review("authorization.k8s.io", "subjectaccessreviews", "SubjectAccessReview", false),
    (kinds::HORIZONTAL_POD_AUTOSCALER, "horizontalpodautoscaler", &["hpa"], ALL, STATUS, &[]),
    (kinds::CRON_JOB, "cronjob", &["cj"], ALL, STATUS | GENERATION, &[]),
    (kinds::JOB, "job", &[], ALL, STATUS | GENERATION, &[]),
    (CERTIFICATE_SIGNING_REQUEST, "certificatesigningrequest", &["csr"], &[], STATUS, &[sub("approval", OWN, READ_WRITE)]),
    (kinds::INGRESS_CLASS, "ingressclass", &[], &[], GENERATION, &[]),
    (kinds::INGRESS, "ingress", &["ing"], &[], STATUS | GENERATION, &[]),
    (kinds::NETWORK_POLICY, "networkpolicy", &["netpol"], &[], GENERATION, &[]),
    (kinds::POD_DISRUPTION_BUDGET, "poddisruptionbudget", &["pdb"], &[], STATUS | GENERATION | CONDITIONAL, &[]),
    (kinds::CLUSTER_ROLE_BINDING, "clusterrolebinding", &[], &[], UPSERT, &[]),
    (kinds::CLUSTER_ROLE, "clusterrole", &[], &[], UPSERT, &[]),
    (kinds::ROLE_BINDING, "rolebinding", &[], &[], UPSERT, &[]),
    (kinds::ROLE, "role", &[], &[], UPSERT, &[]),
    (CSI_DRIVER, "csidriver", &[], &[], GENERATION, &[]),
    (CSI_NODE, "csinode", &[], &[], CONDITIONAL, &[]),
    (kinds::STORAGE_CLASS, "storageclass", &["sc"], &[], 0, &[]),
    (VOLUME_ATTACHMENT, "volumeattachment", &[], &[], STATUS, &[]),
    (kinds::CUSTOM_RESOURCE_DEFINITION, "customresourcedefinition", &["crd", "crds"], &["api-extensions"], STATUS | GENERATION | CONDITIONAL, &[]),
    (kinds::PRIORITY_CLASS, "priorityclass", &["pc"], &[], GENERATION, &[]),
    (kinds::LEASE, "lease", &[], &[], UPSERT | CONDITIONAL, &[]),
    (RUNTIME_CLASS, "runtimeclass", &[], &[], CONDITIONAL, &[]),
    (kinds::ENDPOINT_SLICE, "endpointslice", &[], &[], GENERATION, &[]),
];

const STORED_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const NAMESPACE_VERBS: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];

/// One served kind in one version.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) resource: Resource,
    pub(crate) singular: String,
    pub(crate) list_kind: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    /// Bits of [`fact`].
    pub(crate) facts: u16,
    pub(crate) subresources: Vec<Subresource>,
    /// For kinds that a definition added.
    pub(crate) custom: Option<Arc<Custom>>,
    /// The store's collection: the same for every version.
    pub(crate) collection: String,
}

impl Kind {
    pub(crate) fn has(&self, fact: u16) -> bool {
        self.facts & fact != 0
    }

    pub(crate) fn verbs(&self) -> &'static [&'static str] {
        if self.has(VIRTUAL) {
            &["create"]
        } else if self.collection == "/namespaces" {
            NAMESPACE_VERBS
        } else {
            STORED_VERBS
        }
    }

    /// The key of one object in the store's collection.
    pub(crate) fn key(&self, namespace: &str, name: &str) -> String {
        if self.resource.namespaced { format!("{namespace}/{name}") } else { name.to_owned() }
    }

    pub(crate) fn is(&self, resource: &Resource) -> bool {
        self.resource.group == resource.group && self.resource.plural == resource.plural
    }
}

/// The store's collection of a kind.
pub(crate) fn collection(resource: &Resource) -> String {
    // Both groups' events are one set of objects.
    let group =
        if resource.plural == "events" && resource.group == "events.k8s.io" { "" } else { &resource.group };
    format!("{group}/{}", resource.plural)
}

/// Everything that is served.
#[derive(Debug)]
pub(crate) struct Catalog {
    /// In the order of discovery.
    pub(crate) kinds: Vec<Arc<Kind>>,
    by_path: HashMap<(String, String, String), usize>,
    /// Changes with the catalog: keys caches of documents made from it.
    pub(crate) number: u64,
}

impl Catalog {
    /// The built-in kinds and the given ones.
    pub(crate) fn new(custom: Vec<Arc<Kind>>, number: u64) -> Self {
        let mut kinds: Vec<Arc<Kind>> = BUILT_IN.iter().map(|row| Arc::new(built_in(row))).collect();
        kinds.extend(custom);
        let address = |k: &Kind| {
            (k.resource.group.to_string(), k.resource.version.to_string(), k.resource.plural.to_string())
        };
        let by_path = kinds.iter().enumerate().map(|(index, kind)| (address(kind), index)).collect();
        Self { kinds, by_path, number }
    }

    /// The kind at a path.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        let index = self.by_path.get(&(group.to_owned(), version.to_owned(), plural.to_owned()))?;
        self.kinds.get(*index)
    }

    /// Group versions in order: groups as they appear, their preferred version first.
    pub(crate) fn groups(&self) -> Vec<(String, Vec<String>)> {
        let mut groups: Vec<(String, Vec<String>)> = vec![];
        for kind in &self.kinds {
            let (group, version) = (&kind.resource.group, &kind.resource.version);
            let at = groups.iter().position(|(g, _)| g == group).unwrap_or_else(|| {
                groups.push((group.to_string(), vec![]));
                groups.len() - 1
            });
            if !groups[at].1.iter().any(|v| v == version) {
                groups[at].1.push(version.to_string());
            }
        }
        for (_, versions) in &mut groups {
            versions.sort_by(|a, b| crate::custom::version_order(b, a));
        }
        groups
    }

    /// The kinds of one group version.
    pub(crate) fn of_version(&self, group: &str, version: &str) -> impl Iterator<Item = &Arc<Kind>> {
        self.kinds.iter().filter(move |k| k.resource.group == group && k.resource.version == version)
    }
}

fn built_in(row: &Row) -> Kind {
    let (resource, singular, short_names, categories, facts, extra) = row;
    let mut subresources = extra.to_vec();
    if facts & SCALE != 0 {
        subresources.push(SCALE_SUBRESOURCE);
    }
    if facts & STATUS != 0 {
        subresources.push(STATUS_SUBRESOURCE);
    }
    subresources.sort_by_key(|s| s.name);
    let owned = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect();
    let singular = if singular.is_empty() { resource.kind.to_lowercase() } else { (*singular).to_owned() };
    Kind {
        singular,
        list_kind: format!("{}List", resource.kind),
        short_names: owned(short_names),
        categories: owned(categories),
        facts: *facts,
        subresources,
        custom: None,
        collection: collection(resource),
        resource: resource.clone(),
    }
}
