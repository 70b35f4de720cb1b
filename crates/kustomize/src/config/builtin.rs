//! kustomize's own transformer configuration, as tables.

use super::{Config, NameReference};
use crate::fieldspec::{FieldSpec, Specs};

/// All of it.
pub(super) fn config() -> Config {
    let name: Specs = vec![field("", "", "", "metadata/name", false)].into();
    let templates = label_templates();
    let claims = vec![field("apps", "", "StatefulSet", "spec/volumeClaimTemplates[]/metadata/labels", true)];
    let mut common_labels = selectors();
    common_labels.extend(templates.clone());
    common_labels.extend(claims.clone());
    Config {
        name_prefix: name.clone(),
        name_suffix: name,
        namespace: vec![
            field("", "", "Namespace", "metadata/name", true),
            field("apiregistration.k8s.io", "", "APIService", "spec/service/namespace", true),
            field(
                "apiextensions.k8s.io",
                "",
                "CustomResourceDefinition",
                "spec/conversion/webhook/clientConfig/service/namespace",
                false,
            ),
        ]
        .into(),
        common_labels: common_labels.into(),
        labels: Specs::default(),
        template_labels: templates.into(),
        volume_claim_template_labels: claims.into(),
        common_annotations: annotations().into(),
        name_reference: name_references(),
        var_reference: var_references().into(),
        images: IMAGES.iter().map(|path| field("", "", "", path, true)).collect::<Vec<_>>().into(),
        replicas: ["Deployment", "ReplicationController", "ReplicaSet", "StatefulSet"]
            .map(|kind| field("", "", kind, "spec/replicas", true))
            .to_vec()
            .into(),
        ..Config::default()
    }
}

fn field(group: &str, version: &str, kind: &str, path: &str, create: bool) -> FieldSpec {
    FieldSpec::new(group, version, kind, path, create)
}

const IMAGES: [&str; 6] = [
    "spec/containers[]/image",
    "spec/initContainers[]/image",
    "spec/volumes[]/image/reference",
    "spec/template/spec/containers[]/image",
    "spec/template/spec/initContainers[]/image",
    "spec/template/spec/volumes[]/image/reference",
];

/// Kinds with a pod template whose metadata is labelled, with the group and version that they are asked for.
const TEMPLATES: [(&str, &str, &str); 6] = [
    ("", "v1", "ReplicationController"),
    ("", "", "Deployment"),
    ("", "", "ReplicaSet"),
    ("", "", "DaemonSet"),
    ("apps", "", "StatefulSet"),
    ("batch", "", "Job"),
];

fn label_templates() -> Vec<FieldSpec> {
    let mut specs = vec![field("", "", "", "metadata/labels", true)];
    specs
        .extend(TEMPLATES.map(|(group, version, kind)| {
            field(group, version, kind, "spec/template/metadata/labels", true)
        }));
    specs.push(field("batch", "", "CronJob", "spec/jobTemplate/metadata/labels", true));
    specs.push(field("batch", "", "CronJob", "spec/jobTemplate/spec/template/metadata/labels", true));
    specs
}

fn annotations() -> Vec<FieldSpec> {
    let mut specs = label_templates();
    for spec in &mut specs {
        spec.path = spec.path.replace("metadata/labels", "metadata/annotations").into();
        if spec.kind == "StatefulSet" {
            spec.group.clear();
        }
    }
    specs
}

fn selectors() -> Vec<FieldSpec> {
    let labels = "spec/selector/matchLabels";
    let mut specs = vec![
        field("", "v1", "Service", "spec/selector", true),
        field("", "v1", "ReplicationController", "spec/selector", true),
        field("", "", "Deployment", labels, true),
        field("", "", "ReplicaSet", labels, true),
        field("", "", "DaemonSet", labels, true),
        field("apps", "", "StatefulSet", labels, true),
        field("batch", "", "Job", labels, false),
        field("batch", "", "CronJob", "spec/jobTemplate/spec/selector/matchLabels", false),
        field("policy", "", "PodDisruptionBudget", labels, false),
    ];
    for path in ["spec/podSelector", "spec/ingress/from/podSelector", "spec/egress/to/podSelector"] {
        specs.push(field("networking.k8s.io", "", "NetworkPolicy", &format!("{path}/matchLabels"), false));
    }
    for kind in ["Deployment", "StatefulSet"] {
        for path in [
            "affinity/podAffinity/preferredDuringSchedulingIgnoredDuringExecution/podAffinityTerm",
            "affinity/podAffinity/requiredDuringSchedulingIgnoredDuringExecution",
            "affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/podAffinityTerm",
            "affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution",
            "topologySpreadConstraints",
        ] {
            let path = format!("spec/template/spec/{path}/labelSelector/matchLabels");
            specs.push(field("apps", "", kind, &path, false));
        }
    }
    specs
}

/// Fields outside of pod specs that name an object: group, version and kind of the object; then group, version, kind
/// and path of the field. (kustomize also has one for `IngressClass`, whose group is misspelt so that it is never used.)
#[rustfmt::skip]
const OTHER_REFERENCES: &[(&str, &str, &str, &str, &str, &str, &str)] = &[
    ("", "", "Deployment", "", "", "HorizontalPodAutoscaler", "spec/scaleTargetRef/name"),
    ("", "", "ReplicationController", "", "", "HorizontalPodAutoscaler", "spec/scaleTargetRef/name"),
    ("", "", "ReplicaSet", "", "", "HorizontalPodAutoscaler", "spec/scaleTargetRef/name"),
    ("", "", "StatefulSet", "", "", "HorizontalPodAutoscaler", "spec/scaleTargetRef/name"),
    ("", "v1", "ConfigMap", "", "", "Node", "spec/configSource/configMap"),
    ("", "v1", "ConfigMap", "", "", "Role", "rules/resourceNames"),
    ("", "v1", "ConfigMap", "", "", "ClusterRole", "rules/resourceNames"),
    ("", "v1", "ConfigMap", "", "", "Ingress", "metadata/annotations/nginx.ingress.kubernetes.io\\/fastcgi-params-configmap"),
    ("", "v1", "Secret", "", "", "Ingress", "spec/tls/secretName"),
    ("", "v1", "Secret", "", "", "Ingress", "metadata/annotations/ingress.kubernetes.io\\/auth-secret"),
    ("", "v1", "Secret", "", "", "Ingress", "metadata/annotations/nginx.ingress.kubernetes.io\\/auth-secret"),
    ("", "v1", "Secret", "", "", "Ingress", "metadata/annotations/nginx.ingress.kubernetes.io\\/auth-tls-secret"),
    // Twice, so that a name is followed twice.
    ("", "v1", "Secret", "", "", "Ingress", "spec/tls/secretName"),
    ("", "v1", "Secret", "", "", "ServiceAccount", "imagePullSecrets/name"),
    ("", "v1", "Secret", "", "", "StorageClass", "parameters/secretName"),
    ("", "v1", "Secret", "", "", "StorageClass", "parameters/adminSecretName"),
    ("", "v1", "Secret", "", "", "StorageClass", "parameters/userSecretName"),
    ("", "v1", "Secret", "", "", "StorageClass", "parameters/secretRef"),
    ("", "v1", "Secret", "", "", "Role", "rules/resourceNames"),
    ("", "v1", "Secret", "", "", "ClusterRole", "rules/resourceNames"),
    ("", "v1", "Secret", "serving.knative.dev", "v1", "Service", "spec/template/spec/containers/env/valueFrom/secretKeyRef/name"),
    ("", "v1", "Secret", "", "", "PersistentVolume", "spec/azureFile/secretName"),
    ("", "v1", "Service", "apps", "", "StatefulSet", "spec/serviceName"),
    ("", "v1", "Service", "", "", "Ingress", "spec/rules/http/paths/backend/serviceName"),
    ("", "v1", "Service", "", "", "Ingress", "spec/backend/serviceName"),
    ("", "v1", "Service", "", "", "Ingress", "spec/rules/http/paths/backend/service/name"),
    ("", "v1", "Service", "", "", "Ingress", "spec/defaultBackend/service/name"),
    ("", "v1", "Service", "apiregistration.k8s.io", "", "APIService", "spec/service/name"),
    ("", "v1", "Service", "admissionregistration.k8s.io", "", "ValidatingWebhookConfiguration", "webhooks/clientConfig/service"),
    ("", "v1", "Service", "admissionregistration.k8s.io", "", "MutatingWebhookConfiguration", "webhooks/clientConfig/service"),
    ("rbac.authorization.k8s.io", "", "Role", "rbac.authorization.k8s.io", "", "RoleBinding", "roleRef/name"),
    ("rbac.authorization.k8s.io", "", "ClusterRole", "rbac.authorization.k8s.io", "", "RoleBinding", "roleRef/name"),
    ("rbac.authorization.k8s.io", "", "ClusterRole", "rbac.authorization.k8s.io", "", "ClusterRoleBinding", "roleRef/name"),
    ("", "v1", "ServiceAccount", "rbac.authorization.k8s.io", "", "RoleBinding", "subjects"),
    ("", "v1", "ServiceAccount", "rbac.authorization.k8s.io", "", "ClusterRoleBinding", "subjects"),
    ("", "v1", "PersistentVolume", "", "", "PersistentVolumeClaim", "spec/volumeName"),
    ("", "v1", "PersistentVolume", "", "", "ClusterRole", "rules/resourceNames"),
    ("storage.k8s.io", "v1", "StorageClass", "", "", "PersistentVolume", "spec/storageClassName"),
    ("storage.k8s.io", "v1", "StorageClass", "", "", "PersistentVolumeClaim", "spec/storageClassName"),
    ("storage.k8s.io", "v1", "StorageClass", "", "", "StatefulSet", "spec/volumeClaimTemplates/spec/storageClassName"),
    ("admissionregistration.k8s.io", "", "ValidatingAdmissionPolicy", "admissionregistration.k8s.io", "", "ValidatingAdmissionPolicyBinding", "spec/policyName"),
];

/// Where the kinds that may mount ConfigMaps and Secrets have their pod spec, with the version that they are asked for.
const MOUNTING: [(&str, &str, &str); 8] = [
    ("v1", "Pod", "spec"),
    ("", "PodTemplate", "template/spec"),
    ("", "Deployment", "spec/template/spec"),
    ("", "ReplicaSet", "spec/template/spec"),
    ("", "DaemonSet", "spec/template/spec"),
    ("", "StatefulSet", "spec/template/spec"),
    ("", "Job", "spec/template/spec"),
    ("", "CronJob", "spec/jobTemplate/spec/template/spec"),
];

/// The same for accounts, claims and priorities.
const RUNNING: [(&str, &str, &str); 7] = [
    ("", "Pod", "spec"),
    ("", "StatefulSet", "spec/template/spec"),
    ("", "Deployment", "spec/template/spec"),
    ("", "ReplicationController", "spec/template/spec"),
    ("", "CronJob", "spec/jobTemplate/spec/template/spec"),
    ("", "Job", "spec/template/spec"),
    ("", "DaemonSet", "spec/template/spec"),
];

/// Group and kind that are referred to, kinds that refer, and the paths below their pod template.
type PodReference = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str, &'static str)],
    &'static [&'static str],
);

/// Fields of pod specs that name an object: its group and kind, who has them, the paths.
const POD_REFERENCES: &[PodReference] = &[
    (
        "",
        "ConfigMap",
        &MOUNTING,
        &[
            "volumes/configMap/name",
            "containers/env/valueFrom/configMapKeyRef/name",
            "initContainers/env/valueFrom/configMapKeyRef/name",
            "containers/envFrom/configMapRef/name",
            "initContainers/envFrom/configMapRef/name",
            "volumes/projected/sources/configMap/name",
        ],
    ),
    (
        "",
        "Secret",
        &MOUNTING,
        &[
            "volumes/secret/secretName",
            "containers/env/valueFrom/secretKeyRef/name",
            "initContainers/env/valueFrom/secretKeyRef/name",
            "containers/envFrom/secretRef/name",
            "initContainers/envFrom/secretRef/name",
            "imagePullSecrets/name",
            "volumes/projected/sources/secret/name",
        ],
    ),
    ("", "ServiceAccount", &RUNNING, &["serviceAccountName"]),
    ("", "PersistentVolumeClaim", &RUNNING, &["volumes/persistentVolumeClaim/claimName"]),
    ("scheduling.k8s.io", "PriorityClass", &RUNNING, &["priorityClassName"]),
];

fn name_references() -> Vec<NameReference> {
    let mut references: Vec<NameReference> = vec![];
    let mut add = |(group, version, kind): (&str, &str, &str), spec: FieldSpec| {
        let same =
            |name: &&mut NameReference| name.group == group && name.version == version && name.kind == kind;
        match references.iter_mut().find(same) {
            Some(reference) => reference.field_specs.to_mut().push(spec),
            None => references.push(NameReference {
                group: group.to_owned(),
                version: version.to_owned(),
                kind: kind.to_owned(),
                field_specs: vec![spec].into(),
            }),
        }
    };
    for (group, kind, bases, paths) in POD_REFERENCES {
        for (version, holder, base) in *bases {
            for path in *paths {
                add((group, "v1", kind), field("", version, holder, &format!("{base}/{path}"), false));
            }
        }
    }
    for (target_group, target_version, target_kind, group, version, kind, path) in OTHER_REFERENCES {
        add((target_group, target_version, target_kind), field(group, version, kind, path, false));
    }
    references
}

/// Fields of containers in which a var may stand.
const CONTAINER_VARS: [&str; 4] = ["args", "command", "env/value", "volumeMounts/mountPath"];

/// Fields elsewhere in which a var may stand. The one of `CronJob` is misplaced in kustomize, too.
const OTHER_VARS: [(&str, &str); 16] = [
    ("CronJob", "spec/jobTemplate/spec/template/volumes/nfs/server"),
    ("DaemonSet", "spec/template/spec/volumes/nfs/server"),
    ("Deployment", "spec/template/spec/volumes/nfs/server"),
    ("Deployment", "spec/template/metadata/annotations"),
    ("Ingress", "spec/rules/host"),
    ("Ingress", "spec/tls/hosts"),
    ("Ingress", "spec/tls/secretName"),
    ("Job", "spec/template/spec/volumes/nfs/server"),
    ("Pod", "spec/volumes/nfs/server"),
    ("ReplicaSet", "spec/template/spec/volumes/nfs/server"),
    ("Service", "spec/ports/port"),
    ("Service", "spec/ports/targetPort"),
    ("StatefulSet", "spec/volumeClaimTemplates/spec/nfs/server"),
    ("PersistentVolume", "spec/nfs/server"),
    ("", "metadata/labels"),
    ("", "metadata/annotations"),
];

fn var_references() -> Vec<FieldSpec> {
    let mut specs = vec![];
    for kind in ["CronJob", "DaemonSet", "Deployment", "Job", "Pod", "ReplicaSet", "StatefulSet"] {
        let base = match kind {
            "CronJob" => "spec/jobTemplate/spec/template/spec",
            "Pod" => "spec",
            _ => "spec/template/spec",
        };
        for containers in ["containers", "initContainers"] {
            for path in CONTAINER_VARS {
                specs.push(field("", "", kind, &format!("{base}/{containers}/{path}"), false));
            }
        }
    }
    specs.extend(OTHER_VARS.map(|(kind, path)| field("", "", kind, path, false)));
    specs
}
