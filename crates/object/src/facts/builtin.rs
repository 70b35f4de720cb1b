//! The table of merge facts of built-in kinds: what is not listed has the default.
//! Sources: the merged schema in client-go's apply configurations, and the `patchStrategy` and `patchMergeKey`
//! tags of the API types.

use super::{Field, Strategy, Topology, Type};
use Strategy::{Merge, MergeKey, Replace};
use Topology::{Atomic, Granular, Keyed, Set};

/// The root type of a kind.
pub(super) fn root(group: &str, kind: &str) -> &'static Type {
    let found = KINDS.iter().find(|(g, k, _)| *g == group && *k == kind);
    found.map_or(&METADATA_ONLY, |(_, _, root)| *root)
}

/// A type without any special field.
pub(super) static PLAIN: Type = Type { fields: &[], atomic: false };
static ATOMIC: Type = Type { fields: &[], atomic: true };

const NAME: Topology = Keyed(&[("name", None)]);
const TYPE: Topology = Keyed(&[("type", None)]);

const fn plain(name: &'static str, of: &'static Type) -> Field {
    Field { name, of, apply: Topology::Default, strategy: Strategy::Default }
}

/// A map or list that apply treats as one value and strategic merge as usual.
const fn atomic(name: &'static str) -> Field {
    Field { name, of: &PLAIN, apply: Atomic, strategy: Strategy::Default }
}

const fn field(name: &'static str, of: &'static Type, apply: Topology, strategy: Strategy) -> Field {
    Field { name, of, apply, strategy }
}

/// A list keyed by `name` in both columns.
const fn by_name(name: &'static str, of: &'static Type) -> Field {
    field(name, of, NAME, MergeKey("name"))
}

/// `conditions`, keyed by `type` in both columns.
const CONDITIONS: Field = field("conditions", &PLAIN, TYPE, MergeKey("type"));

static OWNER_REFERENCE: Type = Type { fields: &[], atomic: true };
static OBJECT_META: Type = Type {
    fields: &[
        field("finalizers", &PLAIN, Set, Merge),
        field("ownerReferences", &OWNER_REFERENCE, Keyed(&[("uid", None)]), MergeKey("uid")),
    ],
    atomic: false,
};
const METADATA: Field = plain("metadata", &OBJECT_META);
static METADATA_ONLY: Type = Type { fields: &[METADATA], atomic: false };

static KEY_REF: Type = Type { fields: &[], atomic: true };
static ENV_VAR: Type = Type { fields: &[plain("valueFrom", &ENV_SOURCE)], atomic: false };
static ENV_SOURCE: Type = Type {
    fields: &[
        plain("configMapKeyRef", &KEY_REF),
        plain("secretKeyRef", &KEY_REF),
        plain("fieldRef", &ATOMIC),
        plain("resourceFieldRef", &ATOMIC),
        plain("fileKeyRef", &ATOMIC),
    ],
    atomic: false,
};
static RESOURCES: Type = Type { fields: &[field("claims", &PLAIN, NAME, Strategy::Default)], atomic: false };
static CONTAINER: Type = Type {
    fields: &[
        by_name("env", &ENV_VAR),
        field(
            "ports",
            &PLAIN,
            Keyed(&[("containerPort", None), ("protocol", Some("TCP"))]),
            MergeKey("containerPort"),
        ),
        field("volumeMounts", &PLAIN, Keyed(&[("mountPath", None)]), MergeKey("mountPath")),
        field("volumeDevices", &PLAIN, Keyed(&[("devicePath", None)]), MergeKey("devicePath")),
        plain("resources", &RESOURCES),
    ],
    atomic: false,
};
static AFFINITY: Type = Type { fields: &[plain("nodeAffinity", &NODE_AFFINITY)], atomic: false };
static NODE_AFFINITY: Type =
    Type { fields: &[plain("requiredDuringSchedulingIgnoredDuringExecution", &ATOMIC)], atomic: false };
static LOCAL_REF_HOLDER: Type = Type {
    fields: &[
        plain("secretRef", &ATOMIC),
        plain("nodePublishSecretRef", &ATOMIC),
        plain("controllerPublishSecretRef", &ATOMIC),
        plain("nodeStageSecretRef", &ATOMIC),
    ],
    atomic: false,
};
static VOLUME: Type = Type {
    fields: &[
        plain("cephfs", &LOCAL_REF_HOLDER),
        plain("csi", &LOCAL_REF_HOLDER),
        plain("rbd", &LOCAL_REF_HOLDER),
        plain("iscsi", &LOCAL_REF_HOLDER),
        plain("flexVolume", &LOCAL_REF_HOLDER),
        plain("ephemeral", &EPHEMERAL_VOLUME),
    ],
    atomic: false,
};
static EPHEMERAL_VOLUME: Type = Type { fields: &[plain("volumeClaimTemplate", &PVC)], atomic: false };
static TOPOLOGY_SPREAD: Type = Type { fields: &[plain("labelSelector", &ATOMIC)], atomic: false };
static POD_SPEC: Type = Type {
    fields: &[
        by_name("containers", &CONTAINER),
        by_name("initContainers", &CONTAINER),
        by_name("ephemeralContainers", &CONTAINER),
        by_name("imagePullSecrets", &ATOMIC),
        by_name("schedulingGates", &PLAIN),
        by_name("volumes", &VOLUME),
        by_name("resourceClaims", &PLAIN),
        field("hostAliases", &PLAIN, Keyed(&[("ip", None)]), MergeKey("ip")),
        field(
            "topologySpreadConstraints",
            &TOPOLOGY_SPREAD,
            Keyed(&[("topologyKey", None), ("whenUnsatisfiable", None)]),
            MergeKey("topologyKey"),
        ),
        atomic("nodeSelector"),
        plain("affinity", &AFFINITY),
        plain("resources", &RESOURCES),
    ],
    atomic: false,
};
static POD_STATUS: Type = Type {
    fields: &[
        CONDITIONS,
        field("podIPs", &PLAIN, Keyed(&[("ip", None)]), MergeKey("ip")),
        field("hostIPs", &PLAIN, Atomic, MergeKey("ip")),
        by_name("resourceClaimStatuses", &PLAIN),
    ],
    atomic: false,
};
static POD: Type =
    Type { fields: &[METADATA, plain("spec", &POD_SPEC), plain("status", &POD_STATUS)], atomic: false };
static POD_TEMPLATE: Type = Type { fields: &[METADATA, plain("spec", &POD_SPEC)], atomic: false };
static POD_TEMPLATE_KIND: Type =
    Type { fields: &[METADATA, plain("template", &POD_TEMPLATE)], atomic: false };

/// `status` with nothing special but keyed conditions.
static STATUS: Type = Type { fields: &[CONDITIONS], atomic: false };
const STATUS_FIELD: Field = plain("status", &STATUS);
const TEMPLATE: Field = plain("template", &POD_TEMPLATE);
const SELECTOR: Field = plain("selector", &ATOMIC);

static WORKLOAD_SPEC: Type = Type { fields: &[SELECTOR, TEMPLATE], atomic: false };
static WORKLOAD: Type =
    Type { fields: &[METADATA, plain("spec", &WORKLOAD_SPEC), STATUS_FIELD], atomic: false };
static STATEFUL_SET_SPEC: Type = Type {
    fields: &[SELECTOR, TEMPLATE, field("volumeClaimTemplates", &PVC, Atomic, Replace)],
    atomic: false,
};
static STATEFUL_SET: Type =
    Type { fields: &[METADATA, plain("spec", &STATEFUL_SET_SPEC), STATUS_FIELD], atomic: false };
static CONTROLLER_SPEC: Type = Type { fields: &[atomic("selector"), TEMPLATE], atomic: false };
static REPLICATION_CONTROLLER: Type =
    Type { fields: &[METADATA, plain("spec", &CONTROLLER_SPEC), STATUS_FIELD], atomic: false };

static ON_EXIT_CODES: Type =
    Type { fields: &[field("values", &PLAIN, Set, Strategy::Default)], atomic: false };
static FAILURE_RULE: Type = Type { fields: &[plain("onExitCodes", &ON_EXIT_CODES)], atomic: false };
static FAILURE_POLICY: Type =
    Type { fields: &[field("rules", &FAILURE_RULE, Atomic, Strategy::Default)], atomic: false };
static JOB_SPEC: Type =
    Type { fields: &[SELECTOR, TEMPLATE, plain("podFailurePolicy", &FAILURE_POLICY)], atomic: false };
static UNCOUNTED: Type = Type {
    fields: &[
        field("failed", &PLAIN, Set, Strategy::Default),
        field("succeeded", &PLAIN, Set, Strategy::Default),
    ],
    atomic: false,
};
static JOB_STATUS: Type = Type {
    fields: &[
        field("conditions", &PLAIN, Atomic, MergeKey("type")),
        plain("uncountedTerminatedPods", &UNCOUNTED),
    ],
    atomic: false,
};
static JOB: Type =
    Type { fields: &[METADATA, plain("spec", &JOB_SPEC), plain("status", &JOB_STATUS)], atomic: false };
static JOB_TEMPLATE: Type = Type { fields: &[METADATA, plain("spec", &JOB_SPEC)], atomic: false };
static CRON_JOB_SPEC: Type = Type { fields: &[plain("jobTemplate", &JOB_TEMPLATE)], atomic: false };
static CRON_JOB: Type = Type { fields: &[METADATA, plain("spec", &CRON_JOB_SPEC)], atomic: false };

static SERVICE_SPEC: Type = Type {
    fields: &[
        field("ports", &PLAIN, Keyed(&[("port", None), ("protocol", Some("TCP"))]), MergeKey("port")),
        atomic("selector"),
    ],
    atomic: false,
};
static SERVICE: Type =
    Type { fields: &[METADATA, plain("spec", &SERVICE_SPEC), STATUS_FIELD], atomic: false };
static SERVICE_ACCOUNT: Type = Type {
    fields: &[
        METADATA,
        field("secrets", &ATOMIC, NAME, MergeKey("name")),
        field("imagePullSecrets", &ATOMIC, Atomic, Strategy::Default),
    ],
    atomic: false,
};
static NODE_SPEC: Type = Type { fields: &[field("podCIDRs", &PLAIN, Set, Merge)], atomic: false };
static NODE_STATUS: Type =
    Type { fields: &[CONDITIONS, field("addresses", &PLAIN, TYPE, MergeKey("type"))], atomic: false };
static NODE: Type =
    Type { fields: &[METADATA, plain("spec", &NODE_SPEC), plain("status", &NODE_STATUS)], atomic: false };
static CONDITIONED: Type = Type { fields: &[METADATA, STATUS_FIELD], atomic: false };
static TOP_CONDITIONED: Type = Type { fields: &[METADATA, CONDITIONS], atomic: false };
static PVC_SPEC: Type =
    Type { fields: &[SELECTOR, plain("dataSource", &ATOMIC), plain("resources", &RESOURCES)], atomic: false };
static PVC: Type = Type { fields: &[METADATA, plain("spec", &PVC_SPEC), STATUS_FIELD], atomic: false };
static PV_SPEC: Type = Type {
    fields: &[
        field("claimRef", &ATOMIC, Granular, Strategy::Default),
        plain("csi", &LOCAL_REF_HOLDER),
        plain("cephfs", &LOCAL_REF_HOLDER),
        plain("nodeAffinity", &PV_NODE_AFFINITY),
    ],
    atomic: false,
};
static PV_NODE_AFFINITY: Type = Type { fields: &[plain("required", &ATOMIC)], atomic: false };
static PV: Type = Type { fields: &[METADATA, plain("spec", &PV_SPEC)], atomic: false };
static EVENT: Type = Type {
    fields: &[
        METADATA,
        plain("involvedObject", &ATOMIC),
        plain("related", &ATOMIC),
        plain("regarding", &ATOMIC),
    ],
    atomic: false,
};
static BINDING: Type = Type { fields: &[METADATA, plain("target", &ATOMIC)], atomic: false };
static QUOTA_SPEC: Type = Type { fields: &[plain("scopeSelector", &ATOMIC)], atomic: false };
static QUOTA: Type = Type { fields: &[METADATA, plain("spec", &QUOTA_SPEC)], atomic: false };

static HPA_SPEC: Type = Type { fields: &[plain("scaleTargetRef", &HPA_TARGET)], atomic: false };
static HPA_TARGET: Type = Type { fields: &[], atomic: false };
static HPA: Type = Type { fields: &[METADATA, plain("spec", &HPA_SPEC), STATUS_FIELD], atomic: false };

static BACKEND: Type =
    Type { fields: &[plain("service", &BACKEND_SERVICE), plain("resource", &ATOMIC)], atomic: false };
static BACKEND_SERVICE: Type = Type { fields: &[plain("port", &ATOMIC)], atomic: false };
static INGRESS_SPEC: Type = Type { fields: &[plain("defaultBackend", &BACKEND)], atomic: false };
static INGRESS: Type = Type { fields: &[METADATA, plain("spec", &INGRESS_SPEC)], atomic: false };
static NETWORK_POLICY_SPEC: Type = Type { fields: &[plain("podSelector", &ATOMIC)], atomic: false };
static NETWORK_POLICY: Type =
    Type { fields: &[METADATA, plain("spec", &NETWORK_POLICY_SPEC)], atomic: false };

static PDB_SPEC: Type = Type { fields: &[field("selector", &ATOMIC, Atomic, Replace)], atomic: false };
static PDB: Type = Type { fields: &[METADATA, plain("spec", &PDB_SPEC), STATUS_FIELD], atomic: false };
static ROLE_BINDING: Type = Type { fields: &[METADATA, plain("roleRef", &ATOMIC)], atomic: false };

static CSI_NODE_SPEC: Type = Type { fields: &[by_name("drivers", &PLAIN)], atomic: false };
static CSI_NODE: Type = Type { fields: &[METADATA, plain("spec", &CSI_NODE_SPEC)], atomic: false };
static CSI_DRIVER_SPEC: Type =
    Type { fields: &[field("volumeLifecycleModes", &PLAIN, Set, Strategy::Default)], atomic: false };
static CSI_DRIVER: Type = Type { fields: &[METADATA, plain("spec", &CSI_DRIVER_SPEC)], atomic: false };
static WEBHOOK: Type = Type {
    fields: &[
        plain("namespaceSelector", &ATOMIC),
        plain("objectSelector", &ATOMIC),
        by_name("matchConditions", &PLAIN),
    ],
    atomic: false,
};
static WEBHOOKS: Type = Type { fields: &[METADATA, by_name("webhooks", &WEBHOOK)], atomic: false };
static POLICY_SPEC: Type = Type {
    fields: &[
        plain("matchConstraints", &ATOMIC),
        plain("paramKind", &ATOMIC),
        by_name("matchConditions", &PLAIN),
        by_name("variables", &ATOMIC),
    ],
    atomic: false,
};
static POLICY: Type = Type { fields: &[METADATA, plain("spec", &POLICY_SPEC), STATUS_FIELD], atomic: false };
static POLICY_BINDING_SPEC: Type = Type {
    fields: &[
        plain("matchResources", &ATOMIC),
        plain("paramRef", &ATOMIC),
        field("validationActions", &PLAIN, Set, Strategy::Default),
    ],
    atomic: false,
};
static POLICY_BINDING: Type =
    Type { fields: &[METADATA, plain("spec", &POLICY_BINDING_SPEC)], atomic: false };
static SCHEDULING: Type = Type { fields: &[atomic("nodeSelector")], atomic: false };
static RUNTIME_CLASS: Type = Type { fields: &[METADATA, plain("scheduling", &SCHEDULING)], atomic: false };

/// Group, kind, root type. Kinds with nothing but metadata are left out.
static KINDS: &[(&str, &str, &Type)] = &[
    ("", "Pod", &POD),
    ("", "PodTemplate", &POD_TEMPLATE_KIND),
    ("", "Service", &SERVICE),
    ("", "ServiceAccount", &SERVICE_ACCOUNT),
    ("", "Node", &NODE),
    ("", "Namespace", &CONDITIONED),
    ("", "ReplicationController", &REPLICATION_CONTROLLER),
    ("", "PersistentVolume", &PV),
    ("", "PersistentVolumeClaim", &PVC),
    ("", "ComponentStatus", &TOP_CONDITIONED),
    ("", "Event", &EVENT),
    ("", "Binding", &BINDING),
    ("", "ResourceQuota", &QUOTA),
    ("events.k8s.io", "Event", &EVENT),
    ("apps", "Deployment", &WORKLOAD),
    ("apps", "ReplicaSet", &WORKLOAD),
    ("apps", "DaemonSet", &WORKLOAD),
    ("apps", "StatefulSet", &STATEFUL_SET),
    ("batch", "Job", &JOB),
    ("batch", "CronJob", &CRON_JOB),
    ("autoscaling", "HorizontalPodAutoscaler", &HPA),
    ("networking.k8s.io", "Ingress", &INGRESS),
    ("networking.k8s.io", "NetworkPolicy", &NETWORK_POLICY),
    ("networking.k8s.io", "ServiceCIDR", &CONDITIONED),
    ("policy", "PodDisruptionBudget", &PDB),
    ("rbac.authorization.k8s.io", "RoleBinding", &ROLE_BINDING),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", &ROLE_BINDING),
    ("storage.k8s.io", "CSINode", &CSI_NODE),
    ("storage.k8s.io", "CSIDriver", &CSI_DRIVER),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration", &WEBHOOKS),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", &WEBHOOKS),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", &POLICY),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding", &POLICY_BINDING),
    ("apiextensions.k8s.io", "CustomResourceDefinition", &CONDITIONED),
    ("apiregistration.k8s.io", "APIService", &CONDITIONED),
    ("certificates.k8s.io", "CertificateSigningRequest", &CONDITIONED),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema", &CONDITIONED),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", &CONDITIONED),
    ("node.k8s.io", "RuntimeClass", &RUNTIME_CLASS),
];
