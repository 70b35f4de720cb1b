//! One resource on its way through a build: the object, and every name it has had.

use std::fmt;

use object::meta;
use serde_json::Value;

/// Group, version and kind; as a pattern, `""` matches anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gvk {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
}

impl Gvk {
    pub(crate) fn of(object: &Value) -> Self {
        let (group, version) = meta::split_api_version(meta::api_version(object));
        Self { group: group.to_owned(), version: version.to_owned(), kind: meta::kind(object).to_owned() }
    }

    /// Whether a pattern matches this kind.
    pub(crate) fn matches(&self, pattern: &Gvk) -> bool {
        let fits = |pattern: &str, text: &str| pattern.is_empty() || pattern == text;
        fits(&pattern.group, &self.group)
            && fits(&pattern.version, &self.version)
            && fits(&pattern.kind, &self.kind)
    }

    /// Kinds that kustomize's built-in schema knows to have no namespace.
    pub(crate) fn is_cluster_scoped(&self) -> bool {
        CLUSTER_SCOPED.iter().any(|(group, kind)| *group == self.group && *kind == self.kind)
    }
}

const CLUSTER_SCOPED: &[(&str, &str)] = &[
    ("", "ComponentStatus"),
    ("", "Namespace"),
    ("", "Node"),
    ("", "PersistentVolume"),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("apiregistration.k8s.io", "APIService"),
    ("authentication.k8s.io", "TokenReview"),
    ("authorization.k8s.io", "SelfSubjectAccessReview"),
    ("authorization.k8s.io", "SelfSubjectRulesReview"),
    ("authorization.k8s.io", "SubjectAccessReview"),
    ("certificates.k8s.io", "CertificateSigningRequest"),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema"),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"),
    ("networking.k8s.io", "IngressClass"),
    ("node.k8s.io", "RuntimeClass"),
    ("policy", "PodSecurityPolicy"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("scheduling.k8s.io", "PriorityClass"),
    ("storage.k8s.io", "CSIDriver"),
    ("storage.k8s.io", "CSINode"),
    ("storage.k8s.io", "StorageClass"),
    ("storage.k8s.io", "VolumeAttachment"),
];

/// A resource's name at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Id {
    pub(crate) gvk: Gvk,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Id {
    pub(crate) fn of(object: &Value) -> Self {
        Self {
            gvk: Gvk::of(object),
            namespace: meta::namespace(object).to_owned(),
            name: meta::name(object).to_owned(),
        }
    }

    /// The namespace that counts in comparisons: none is `default`, and cluster scope is a place of its own.
    pub(crate) fn effective_namespace(&self) -> &str {
        if self.gvk.is_cluster_scoped() {
            "_non_namespaceable_"
        } else if self.namespace.is_empty() {
            "default"
        } else {
            &self.namespace
        }
    }

    pub(crate) fn same(&self, other: &Id) -> bool {
        self.gvk == other.gvk
            && self.name == other.name
            && self.effective_namespace() == other.effective_namespace()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or = |text: &str, other: &'static str| {
            if text.is_empty() { other.to_owned() } else { text.to_owned() }
        };
        write!(
            f,
            "{}.{}.{}/{}.{}",
            or(&self.gvk.kind, "[noKind]"),
            or(&self.gvk.version, "[noVer]"),
            or(&self.gvk.group, "[noGrp]"),
            or(&self.name, "[noName]"),
            or(&self.namespace, "[noNs]")
        )
    }
}

/// What a generated object does when one of its name is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Behavior {
    #[default]
    Create,
    Replace,
    Merge,
}

/// An object with its history.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    pub(crate) object: Value,
    /// Every name before the current one, oldest first.
    pub(crate) previous: Vec<Id>,
    /// Name prefixes in the order they were added.
    pub(crate) prefixes: Vec<String>,
    pub(crate) suffixes: Vec<String>,
    pub(crate) needs_hash: bool,
    pub(crate) behavior: Behavior,
}

impl Resource {
    pub(crate) fn new(object: Value) -> Self {
        Self {
            object,
            previous: vec![],
            prefixes: vec![],
            suffixes: vec![],
            needs_hash: false,
            behavior: Behavior::Create,
        }
    }

    pub(crate) fn id(&self) -> Id {
        Id::of(&self.object)
    }

    pub(crate) fn gvk(&self) -> Gvk {
        Gvk::of(&self.object)
    }

    pub(crate) fn original_id(&self) -> Id {
        self.previous.first().cloned().unwrap_or_else(|| self.id())
    }

    /// Whether any name that it has or has had satisfies a condition.
    pub(crate) fn any_id(&self, fits: impl Fn(&Id) -> bool) -> bool {
        fits(&self.id()) || self.previous.iter().any(fits)
    }

    pub(crate) fn remember_id(&mut self) {
        let mut id = self.id();
        id.namespace =
            if id.gvk.is_cluster_scoped() { String::new() } else { id.effective_namespace().to_owned() };
        self.previous.push(id);
    }

    pub(crate) fn set_name(&mut self, name: &str) {
        self.object["metadata"]["name"] = name.into();
    }

    /// Objects that only steer local tools are not part of the output.
    pub(crate) fn is_local(&self) -> bool {
        meta::annotation(&self.object, "config.kubernetes.io/local-config").is_some_and(|v| v != "false")
    }
}

/// Adds a resource; its name must be new.
pub(crate) fn append(all: &mut Vec<Resource>, resource: Resource) -> Result<(), crate::Error> {
    let id = resource.id();
    if all.iter().any(|other| other.id().same(&id)) {
        return Err(crate::Error::Conflict(format!(
            "may not add resource with an already registered id: {id}"
        )));
    }
    if all.len() >= crate::RESOURCE_LIMIT {
        return Err(crate::Error::Limit { what: "resources", limit: crate::RESOURCE_LIMIT });
    }
    all.push(resource);
    Ok(())
}
