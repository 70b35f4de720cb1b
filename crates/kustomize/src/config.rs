//! Transformer configuration: which fields each transformation concerns, built in or from `configurations`.

use serde::Deserialize;

use crate::Error;
use crate::fieldspec::FieldSpec;
use crate::resource::Gvk;
use crate::tree::Reader;

/// The field specs of one build; those of a base hold for everything that includes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(crate) struct Config {
    pub(crate) name_prefix: Vec<FieldSpec>,
    pub(crate) name_suffix: Vec<FieldSpec>,
    pub(crate) namespace: Vec<FieldSpec>,
    pub(crate) common_labels: Vec<FieldSpec>,
    pub(crate) template_labels: Vec<FieldSpec>,
    pub(crate) volume_claim_template_labels: Vec<FieldSpec>,
    pub(crate) labels: Vec<FieldSpec>,
    pub(crate) common_annotations: Vec<FieldSpec>,
    pub(crate) name_reference: Vec<NameReference>,
    /// Only for `vars`, which are refused.
    var_reference: Vec<FieldSpec>,
    pub(crate) images: Vec<FieldSpec>,
    pub(crate) replicas: Vec<FieldSpec>,
}

/// Fields that name an object of one kind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(crate) struct NameReference {
    group: String,
    version: String,
    kind: String,
    pub(crate) field_specs: Vec<FieldSpec>,
}

impl NameReference {
    pub(crate) fn target(&self) -> Gvk {
        Gvk { group: self.group.clone(), version: self.version.clone(), kind: self.kind.clone() }
    }
}

impl Config {
    /// kustomize's built-in configuration.
    pub(crate) fn builtin() -> Self {
        let name = vec![field("", "", "", "metadata/name", false)];
        let templates = label_templates();
        let claims =
            vec![field("apps", "", "StatefulSet", "spec/volumeClaimTemplates[]/metadata/labels", true)];
        let mut common_labels = selectors();
        common_labels.extend(templates.clone());
        common_labels.extend(claims.clone());
        Self {
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
            ],
            common_labels,
            template_labels: templates,
            volume_claim_template_labels: claims,
            common_annotations: annotations(),
            name_reference: name_references(),
            images: IMAGES.iter().map(|path| field("", "", "", path, true)).collect(),
            replicas: ["Deployment", "ReplicationController", "ReplicaSet", "StatefulSet"]
                .map(|kind| field("", "", kind, "spec/replicas", true))
                .to_vec(),
            ..Self::default()
        }
    }

    /// Adds the files that a kustomization's `configurations` names.
    pub(crate) fn load(
        &mut self,
        reader: &Reader<'_>,
        dir: &str,
        file: &str,
        paths: &[String],
    ) -> Result<(), Error> {
        for path in paths {
            let (full, text) = reader.load_text(dir, file, path)?;
            let value = yaml::parse(&text, yaml::Resolver::Kyaml);
            let value = value.map_err(|error| Error::Yaml { file: full.clone(), error })?;
            let invalid = |message| Error::Invalid { file: full.clone(), message };
            let more: Config = serde_json::from_value(value).map_err(|e| invalid(e.to_string()))?;
            self.merge(&more).map_err(invalid)?;
        }
        Ok(())
    }

    /// Adds what `other` has more.
    pub(crate) fn merge(&mut self, other: &Config) -> Result<(), String> {
        let lists = [
            (&mut self.name_prefix, &other.name_prefix),
            (&mut self.name_suffix, &other.name_suffix),
            (&mut self.namespace, &other.namespace),
            (&mut self.common_labels, &other.common_labels),
            (&mut self.template_labels, &other.template_labels),
            (&mut self.volume_claim_template_labels, &other.volume_claim_template_labels),
            (&mut self.labels, &other.labels),
            (&mut self.common_annotations, &other.common_annotations),
            (&mut self.var_reference, &other.var_reference),
            (&mut self.images, &other.images),
            (&mut self.replicas, &other.replicas),
        ];
        for (mine, more) in lists {
            merge_specs(mine, more)?;
        }
        for reference in &other.name_reference {
            match self.name_reference.iter_mut().find(|r| r.target() == reference.target()) {
                Some(mine) => merge_specs(&mut mine.field_specs, &reference.field_specs)?,
                None => self.name_reference.push(reference.clone()),
            }
        }
        Ok(())
    }
}

/// Adds the specs that are not there; the same field with another `create` is a contradiction.
pub(crate) fn merge_specs(mine: &mut Vec<FieldSpec>, more: &[FieldSpec]) -> Result<(), String> {
    for spec in more {
        match mine.iter().find(|m| m.path == spec.path && m.gvk() == spec.gvk()) {
            Some(same) if same.create != spec.create => {
                return Err(format!(
                    "conflicting fieldspecs for the field '{}' of kind '{}'",
                    spec.path, spec.kind
                ));
            }
            Some(_) => {}
            None => mine.push(spec.clone()),
        }
    }
    Ok(())
}

fn field(group: &str, version: &str, kind: &str, path: &str, create: bool) -> FieldSpec {
    FieldSpec { group: group.into(), version: version.into(), kind: kind.into(), path: path.into(), create }
}

const IMAGES: [&str; 6] = [
    "spec/containers[]/image",
    "spec/initContainers[]/image",
    "spec/volumes[]/image/reference",
    "spec/template/spec/containers[]/image",
    "spec/template/spec/initContainers[]/image",
    "spec/template/spec/volumes[]/image/reference",
];

/// Metadata of templates, with the group and version that each kind is asked for.
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
        spec.path = spec.path.replace("metadata/labels", "metadata/annotations");
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

/// Where each kind with pods has its pod spec; the version only for kustomize's own peculiarities.
const POD_SPECS: [(&str, &str); 9] = [
    ("Pod", "spec"),
    ("PodTemplate", "template/spec"),
    ("Deployment", "spec/template/spec"),
    ("ReplicaSet", "spec/template/spec"),
    ("DaemonSet", "spec/template/spec"),
    ("StatefulSet", "spec/template/spec"),
    ("ReplicationController", "spec/template/spec"),
    ("Job", "spec/template/spec"),
    ("CronJob", "spec/jobTemplate/spec/template/spec"),
];

/// Fields of other kinds that name an object: target group, version, kind; then group, version, kind, path.
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

/// Fields of pod specs that name an object. ReplicationControllers have only some of them in kustomize.
const POD_REFERENCES: &[(&str, &str, &[&str])] = &[
    (
        "",
        "ConfigMap",
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
    ("", "ServiceAccount", &["serviceAccountName"]),
    ("", "PersistentVolumeClaim", &["volumes/persistentVolumeClaim/claimName"]),
    ("scheduling.k8s.io", "PriorityClass", &["priorityClassName"]),
];

fn name_references() -> Vec<NameReference> {
    let mut references: Vec<NameReference> = vec![];
    let mut add = |group: &str, version: &str, kind: &str, spec: FieldSpec| {
        let target = Gvk { group: group.to_owned(), version: version.to_owned(), kind: kind.to_owned() };
        match references.iter_mut().find(|reference| reference.target() == target) {
            Some(reference) => reference.field_specs.push(spec),
            None => references.push(NameReference {
                group: target.group,
                version: target.version,
                kind: target.kind,
                field_specs: vec![spec],
            }),
        }
    };
    for (target_group, target_version, target_kind, group, version, kind, path) in OTHER_REFERENCES {
        add(target_group, target_version, target_kind, field(group, version, kind, path, false));
    }
    for (target_group, target_kind, paths) in POD_REFERENCES {
        for (kind, base) in POD_SPECS {
            for path in *paths {
                add(target_group, "v1", target_kind, field("", "", kind, &format!("{base}/{path}"), false));
            }
        }
    }
    references
}
