//! What kinds of object there are: the address of a kind (`Resource`), of one object (`Key`), and constants
//! for the kinds that every Kubernetes has.

use std::borrow::Cow;
use std::fmt;

/// The address of a kind in the API: enough to build every URL of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    /// `""` for the core group.
    pub group: Cow<'static, str>,
    /// For example `v1`.
    pub version: Cow<'static, str>,
    /// Lower-case plural as in URLs, for example `deployments`.
    pub plural: Cow<'static, str>,
    /// For example `Deployment`.
    pub kind: Cow<'static, str>,
    /// False for cluster-scoped kinds.
    pub namespaced: bool,
}

impl Resource {
    /// A constant for a built-in kind.
    pub const fn fixed(
        group: &'static str,
        version: &'static str,
        plural: &'static str,
        kind: &'static str,
        namespaced: bool,
    ) -> Self {
        Self {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            plural: Cow::Borrowed(plural),
            kind: Cow::Borrowed(kind),
            namespaced,
        }
    }

    /// A kind learnt at run time, for example from discovery or a CRD.
    pub fn new(group: &str, version: &str, plural: &str, kind: &str, namespaced: bool) -> Self {
        Self {
            group: group.to_owned().into(),
            version: version.to_owned().into(),
            plural: plural.to_owned().into(),
            kind: kind.to_owned().into(),
            namespaced,
        }
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The collection's path: in one namespace, or over all when `namespace` is `""` or the kind has none.
    pub fn collection_path(&self, namespace: &str) -> String {
        let base = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if self.namespaced && !namespace.is_empty() {
            format!("{base}/namespaces/{namespace}/{}", self.plural)
        } else {
            format!("{base}/{}", self.plural)
        }
    }

    /// One object's path.
    pub fn object_path(&self, key: &Key) -> String {
        format!("{}/{}", self.collection_path(&key.namespace), key.name)
    }
}

impl fmt::Display for Resource {
    /// `deployments.apps`, or `pods` for the core group: as error messages name kinds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plural)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

/// Namespace (`""` at cluster scope) and name. Ordered as Kubernetes lists: by namespace, then name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// `""` for cluster-scoped objects.
    pub namespace: String,
    /// The object's name.
    pub name: String,
}

impl Key {
    /// From parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// At cluster scope.
    pub fn cluster(name: impl Into<String>) -> Self {
        Self::new("", name)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

macro_rules! kinds {
    ($($constant:ident = $group:literal, $version:literal, $plural:literal, $kind:literal, $namespaced:literal;)*) => {
        $(
            #[doc = concat!("`", $kind, "`")]
            pub const $constant: Resource = Resource::fixed($group, $version, $plural, $kind, $namespaced);
        )*
        /// Every built-in kind named in this file.
        pub const ALL: &[Resource] = &[$($constant),*];
    };
}

kinds! {
    CONFIG_MAP = "", "v1", "configmaps", "ConfigMap", true;
    ENDPOINTS = "", "v1", "endpoints", "Endpoints", true;
    EVENT = "", "v1", "events", "Event", true;
    LIMIT_RANGE = "", "v1", "limitranges", "LimitRange", true;
    NAMESPACE = "", "v1", "namespaces", "Namespace", false;
    NODE = "", "v1", "nodes", "Node", false;
    PERSISTENT_VOLUME = "", "v1", "persistentvolumes", "PersistentVolume", false;
    PERSISTENT_VOLUME_CLAIM = "", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", true;
    POD = "", "v1", "pods", "Pod", true;
    POD_TEMPLATE = "", "v1", "podtemplates", "PodTemplate", true;
    REPLICATION_CONTROLLER = "", "v1", "replicationcontrollers", "ReplicationController", true;
    RESOURCE_QUOTA = "", "v1", "resourcequotas", "ResourceQuota", true;
    SECRET = "", "v1", "secrets", "Secret", true;
    SERVICE = "", "v1", "services", "Service", true;
    SERVICE_ACCOUNT = "", "v1", "serviceaccounts", "ServiceAccount", true;
    CONTROLLER_REVISION = "apps", "v1", "controllerrevisions", "ControllerRevision", true;
    DAEMON_SET = "apps", "v1", "daemonsets", "DaemonSet", true;
    DEPLOYMENT = "apps", "v1", "deployments", "Deployment", true;
    REPLICA_SET = "apps", "v1", "replicasets", "ReplicaSet", true;
    STATEFUL_SET = "apps", "v1", "statefulsets", "StatefulSet", true;
    CRON_JOB = "batch", "v1", "cronjobs", "CronJob", true;
    JOB = "batch", "v1", "jobs", "Job", true;
    HORIZONTAL_POD_AUTOSCALER = "autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", true;
    POD_DISRUPTION_BUDGET = "policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", true;
    INGRESS = "networking.k8s.io", "v1", "ingresses", "Ingress", true;
    INGRESS_CLASS = "networking.k8s.io", "v1", "ingressclasses", "IngressClass", false;
    NETWORK_POLICY = "networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", true;
    CLUSTER_ROLE = "rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", false;
    CLUSTER_ROLE_BINDING = "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", false;
    ROLE = "rbac.authorization.k8s.io", "v1", "roles", "Role", true;
    ROLE_BINDING = "rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", true;
    STORAGE_CLASS = "storage.k8s.io", "v1", "storageclasses", "StorageClass", false;
    ENDPOINT_SLICE = "discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", true;
    LEASE = "coordination.k8s.io", "v1", "leases", "Lease", true;
    PRIORITY_CLASS = "scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", false;
    CUSTOM_RESOURCE_DEFINITION = "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", false;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_group_and_scope() {
        let check =
            |resource: &Resource, key: Key, expected: &str| assert_eq!(resource.object_path(&key), expected);
        check(&POD, Key::new("a", "b"), "/api/v1/namespaces/a/pods/b");
        check(&NODE, Key::cluster("n"), "/api/v1/nodes/n");
        check(&DEPLOYMENT, Key::new("a", "b"), "/apis/apps/v1/namespaces/a/deployments/b");
        assert_eq!(POD.collection_path(""), "/api/v1/pods");
        assert_eq!(DEPLOYMENT.to_string(), "deployments.apps");
    }
}
