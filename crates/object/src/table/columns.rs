//! Which columns each built-in kind has. A `*` after a name makes it wide: shown with `-o wide` only.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Row, cluster, created, name, row, workloads};

type Cells = fn(&Value, Timestamp) -> Row;

/// The columns and the function that fills them.
pub(super) fn of(group: &str, kind: &str) -> (&'static [&'static str], Cells) {
    let found = KINDS.iter().find(|(g, k, ..)| *g == group && *k == kind);
    found.map_or((&["Name", "Age"], name_and_age as Cells), |(_, _, names, cells)| (names, *cells))
}

pub(super) fn definitions(names: &[&str]) -> Value {
    names
        .iter()
        .map(|name| match name.strip_suffix('*') {
            Some(wide) => definition(wide, 1),
            None => definition(name, 0),
        })
        .collect()
}

pub(super) fn definition(name: &str, priority: i64) -> Value {
    let (kind, format) = match name {
        "Name" => ("string", "name"),
        "Desired"
        | "Current"
        | "Available"
        | "Up-to-date"
        | "Data"
        | "Secrets"
        | "Active"
        | "Replicas"
        | "MinPods"
        | "MaxPods"
        | "Allowed Disruptions"
        | "Count"
        | "Value" => ("integer", ""),
        _ => ("string", ""),
    };
    json!({"name": name, "type": kind, "format": format, "description": "", "priority": priority})
}

fn name_and_age(object: &Value, now: Timestamp) -> Row {
    row(vec![name(object), created(object, now)])
}

const REPLICAS: &[&str] =
    &["Name", "Desired", "Current", "Ready", "Age", "Containers*", "Images*", "Selector*"];
const RBAC: &str = "rbac.authorization.k8s.io";

static KINDS: &[(&str, &str, &[&str], Cells)] = &[
    (
        "",
        "Pod",
        &[
            "Name",
            "Ready",
            "Status",
            "Restarts",
            "Age",
            "IP*",
            "Node*",
            "Nominated Node*",
            "Readiness Gates*",
        ],
        workloads::pod,
    ),
    (
        "apps",
        "Deployment",
        &["Name", "Ready", "Up-to-date", "Available", "Age", "Containers*", "Images*", "Selector*"],
        workloads::deployment,
    ),
    ("apps", "ReplicaSet", REPLICAS, workloads::replica_set),
    ("", "ReplicationController", REPLICAS, workloads::replica_set),
    ("apps", "StatefulSet", &["Name", "Ready", "Age", "Containers*", "Images*"], workloads::stateful_set),
    (
        "apps",
        "DaemonSet",
        &[
            "Name",
            "Desired",
            "Current",
            "Ready",
            "Up-to-date",
            "Available",
            "Node Selector",
            "Age",
            "Containers*",
            "Images*",
            "Selector*",
        ],
        workloads::daemon_set,
    ),
    (
        "batch",
        "Job",
        &["Name", "Status", "Completions", "Duration", "Age", "Containers*", "Images*", "Selector*"],
        workloads::job,
    ),
    (
        "batch",
        "CronJob",
        &[
            "Name",
            "Schedule",
            "Timezone",
            "Suspend",
            "Active",
            "Last Schedule",
            "Age",
            "Containers*",
            "Images*",
            "Selector*",
        ],
        workloads::cron_job,
    ),
    (
        "",
        "Service",
        &["Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "Selector*"],
        cluster::service,
    ),
    (
        "networking.k8s.io",
        "Ingress",
        &["Name", "Class", "Hosts", "Address", "Ports", "Age"],
        cluster::ingress,
    ),
    ("networking.k8s.io", "NetworkPolicy", &["Name", "Pod-Selector", "Age"], cluster::network_policy),
    ("", "ConfigMap", &["Name", "Data", "Age"], cluster::config_map),
    ("", "Secret", &["Name", "Type", "Data", "Age"], cluster::secret),
    ("", "ServiceAccount", &["Name", "Secrets", "Age"], cluster::service_account),
    ("", "Namespace", &["Name", "Status", "Age"], cluster::namespace),
    (
        "",
        "Node",
        &[
            "Name",
            "Status",
            "Roles",
            "Age",
            "Version",
            "Internal-IP*",
            "External-IP*",
            "OS-Image*",
            "Kernel-Version*",
            "Container-Runtime*",
        ],
        cluster::node,
    ),
    (
        "",
        "PersistentVolume",
        &[
            "Name",
            "Capacity",
            "Access Modes",
            "Reclaim Policy",
            "Status",
            "Claim",
            "StorageClass",
            "VolumeAttributesClass",
            "Reason",
            "Age",
            "VolumeMode*",
        ],
        cluster::persistent_volume,
    ),
    (
        "",
        "PersistentVolumeClaim",
        &[
            "Name",
            "Status",
            "Volume",
            "Capacity",
            "Access Modes",
            "StorageClass",
            "VolumeAttributesClass",
            "Age",
            "VolumeMode*",
        ],
        cluster::claim,
    ),
    (
        "",
        "Event",
        &[
            "Last Seen",
            "Type",
            "Reason",
            "Object",
            "Subobject*",
            "Source*",
            "Message",
            "First Seen*",
            "Count*",
            "Name*",
        ],
        cluster::event,
    ),
    ("", "Endpoints", &["Name", "Endpoints", "Age"], cluster::endpoints),
    (
        "discovery.k8s.io",
        "EndpointSlice",
        &["Name", "AddressType", "Ports", "Endpoints", "Age"],
        cluster::endpoint_slice,
    ),
    (
        "autoscaling",
        "HorizontalPodAutoscaler",
        &["Name", "Reference", "Targets", "MinPods", "MaxPods", "Replicas", "Age"],
        workloads::autoscaler,
    ),
    (
        "policy",
        "PodDisruptionBudget",
        &["Name", "Min Available", "Max Unavailable", "Allowed Disruptions", "Age"],
        workloads::disruption_budget,
    ),
    (
        "storage.k8s.io",
        "StorageClass",
        &["Name", "Provisioner", "ReclaimPolicy", "VolumeBindingMode", "AllowVolumeExpansion", "Age"],
        cluster::storage_class,
    ),
    (RBAC, "Role", &["Name", "Created At"], cluster::created_at),
    (RBAC, "ClusterRole", &["Name", "Created At"], cluster::created_at),
    ("apiextensions.k8s.io", "CustomResourceDefinition", &["Name", "Created At"], cluster::created_at),
    ("", "LimitRange", &["Name", "Created At"], cluster::created_at),
    (
        RBAC,
        "RoleBinding",
        &["Name", "Role", "Age", "Users*", "Groups*", "ServiceAccounts*"],
        cluster::binding,
    ),
    (
        RBAC,
        "ClusterRoleBinding",
        &["Name", "Role", "Age", "Users*", "Groups*", "ServiceAccounts*"],
        cluster::binding,
    ),
    ("coordination.k8s.io", "Lease", &["Name", "Holder", "Age"], cluster::lease),
    (
        "scheduling.k8s.io",
        "PriorityClass",
        &["Name", "Value", "Global-Default", "Age", "PreemptionPolicy"],
        cluster::priority_class,
    ),
];
