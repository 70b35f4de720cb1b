//! What every cluster has before its first client: namespaces, roles and bindings, priority classes, default accounts and the `kubernetes` service.
//! Objects that exist are left as they are, so that what a person changed stays changed over a restart.

use std::sync::Arc;

use object::{Resource, kinds, meta};
use serde_json::{Value, json};

use crate::admission::services::first_address;
use crate::api::Api;
use crate::authorization::MASTERS;
use crate::error::ApiError;
use crate::http::Context;
use crate::http::request::Info;
use crate::http::write::{self, Options, Validation};
use crate::store::OpenError;

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Writes what is missing.
pub(crate) async fn run(api: &Arc<Api>) -> Result<(), OpenError> {
    for (resource, object) in objects(api) {
        let namespace = meta::namespace(&object).to_owned();
        ensure(api, &resource, &namespace, object).await.map_err(|e| OpenError::Bootstrap(e.to_string()))?;
    }
    Ok(())
}

async fn ensure(api: &Arc<Api>, resource: &Resource, namespace: &str, object: Value) -> Result<(), ApiError> {
    let catalog = api.catalog();
    let Some(kind) = catalog.find(&resource.group, &resource.version, &resource.plural) else {
        return Ok(());
    };
    if api.store.get(&kind.collection, &kind.key(namespace, meta::name(&object))).is_some() {
        return Ok(());
    }
    let info = Info { verb: "create", namespace: namespace.to_owned(), ..Info::default() };
    let cx = Context::internal(api, info);
    let options = Options {
        dry_run: false,
        manager: "kube-apiserver".into(),
        validation: Validation::Ignore,
        force: false,
    };
    write::create_object(&cx, kind, object, &options, false).await.map(|_| ())
}

fn objects(api: &Api) -> Vec<(Resource, Value)> {
    let mut all: Vec<(Resource, Value)> = vec![];
    for name in NAMESPACES {
        all.push((kinds::NAMESPACE, named("v1", "Namespace", name, json!({}))));
    }
    for namespace in NAMESPACES {
        let mut account = named("v1", "ServiceAccount", "default", json!({}));
        account["metadata"]["namespace"] = namespace.into();
        all.push((kinds::SERVICE_ACCOUNT, account));
        if let Some(pem) = &api.options.ca_pem {
            let mut map = named("v1", "ConfigMap", "kube-root-ca.crt", json!({"data": {"ca.crt": pem}}));
            map["metadata"]["namespace"] = namespace.into();
            all.push((kinds::CONFIG_MAP, map));
        }
    }
    for (name, value) in [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)]
    {
        let class = json!({"value": value, "preemptionPolicy": "PreemptLowerPriority"});
        all.push((kinds::PRIORITY_CLASS, named("scheduling.k8s.io/v1", "PriorityClass", name, class)));
    }
    all.extend(cluster_roles().into_iter().map(|role| (kinds::CLUSTER_ROLE, role)));
    all.extend(bindings().into_iter().map(|binding| (kinds::CLUSTER_ROLE_BINDING, binding)));
    if let Some(address) = first_address(&api.options.service_cidr) {
        let mut service = named(
            "v1",
            "Service",
            "kubernetes",
            json!({"spec": {
                "type": "ClusterIP", "clusterIP": address,
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
            }}),
        );
        service["metadata"]["namespace"] = "default".into();
        service["metadata"]["labels"] = json!({"component": "apiserver", "provider": "kubernetes"});
        all.push((kinds::SERVICE, service));
    }
    all
}

fn named(api_version: &str, kind: &str, name: &str, rest: Value) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
    if let (Some(target), Value::Object(fields)) = (object.as_object_mut(), rest) {
        target.extend(fields);
    }
    object
}

const RBAC: &str = "rbac.authorization.k8s.io/v1";
const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 5] = ["create", "delete", "deletecollection", "patch", "update"];

fn role(name: &str, rules: Value) -> Value {
    let mut role = named(RBAC, "ClusterRole", name, json!({"rules": rules}));
    role["metadata"]["labels"] = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
    role["metadata"]["annotations"] = json!({"rbac.authorization.kubernetes.io/autoupdate": "true"});
    role
}

/// A role whose rules come from those labelled for it.
fn aggregated(name: &str, part_of: Option<&str>) -> Value {
    let label = format!("rbac.authorization.k8s.io/aggregate-to-{name}");
    let mut value = role(name, json!([]));
    value["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
    if let Some(other) = part_of {
        value["metadata"]["labels"][format!("rbac.authorization.k8s.io/aggregate-to-{other}")] =
            "true".into();
    }
    value
}

fn aggregate_to(name: &str, rules: Value) -> Value {
    let mut value = role(&format!("system:aggregate-to-{name}"), rules);
    value["metadata"]["labels"][format!("rbac.authorization.k8s.io/aggregate-to-{name}")] = "true".into();
    value
}

/// The default roles, after Kubernetes' `bootstrappolicy`, for the kinds that this server has.
fn cluster_roles() -> Vec<Value> {
    vec![
        role(
            "cluster-admin",
            json!([
                {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
                {"nonResourceURLs": ["*"], "verbs": ["*"]},
            ]),
        ),
        aggregated("admin", None),
        aggregated("edit", Some("admin")),
        aggregated("view", Some("edit")),
        aggregate_to("admin", admin_rules()),
        aggregate_to("edit", edit_rules()),
        aggregate_to("view", view_rules()),
        role(
            "system:basic-user",
            json!([
                {"apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"], "verbs": ["create"]},
                {"apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["create"]},
            ]),
        ),
        role(
            "system:discovery",
            json!([{"nonResourceURLs": [
                "/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version", "/version/",
            ], "verbs": ["get"]}]),
        ),
        role(
            "system:public-info-viewer",
            json!([{"nonResourceURLs": ["/healthz", "/livez", "/readyz", "/version", "/version/"], "verbs": ["get"]}]),
        ),
        role(
            "system:service-account-issuer-discovery",
            json!([{"nonResourceURLs": ["/.well-known/openid-configuration", "/openid/v1/jwks"], "verbs": ["get"]}]),
        ),
        role(
            "system:auth-delegator",
            json!([
                {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
                {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
            ]),
        ),
        role("system:node", node_rules()),
    ]
}

fn node_rules() -> Value {
    json!([
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
        {"apiGroups": ["authorization.k8s.io"], "resources": ["localsubjectaccessreviews", "subjectaccessreviews"], "verbs": ["create"]},
        {"apiGroups": [""], "resources": ["services"], "verbs": READ},
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["create", "get", "list", "watch", "patch", "update", "delete"]},
        {"apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch", "update"]},
        {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch", "update"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "create", "delete"]},
        {"apiGroups": [""], "resources": ["pods/status"], "verbs": ["patch", "update"]},
        {"apiGroups": [""], "resources": ["pods/eviction"], "verbs": ["create"]},
        {"apiGroups": [""], "resources": ["configmaps", "secrets"], "verbs": READ},
        {"apiGroups": [""], "resources": ["persistentvolumeclaims", "persistentvolumes"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": READ},
        {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create", "delete", "get", "patch", "update"]},
        {"apiGroups": ["storage.k8s.io"], "resources": ["volumeattachments"], "verbs": ["get"]},
        {"apiGroups": ["node.k8s.io"], "resources": ["runtimeclasses"], "verbs": READ},
        {"apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests"], "verbs": ["create", "get", "list", "watch"]},
    ])
}

fn admin_rules() -> Value {
    json!([
        {"apiGroups": ["authorization.k8s.io"], "resources": ["localsubjectaccessreviews"], "verbs": ["create"]},
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["rolebindings", "roles"],
            "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]},
    ])
}

fn edit_rules() -> Value {
    json!([
        {"apiGroups": [""], "resources": ["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"], "verbs": READ},
        {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"]},
        {"apiGroups": [""], "resources": ["pods", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy"], "verbs": WRITE},
        {"apiGroups": [""], "resources": ["pods/eviction", "serviceaccounts/token"], "verbs": ["create"]},
        {"apiGroups": [""], "resources": [
            "configmaps", "events", "persistentvolumeclaims", "replicationcontrollers", "replicationcontrollers/scale", "secrets",
            "serviceaccounts", "services", "services/proxy",
        ], "verbs": WRITE},
        {"apiGroups": ["apps"], "resources": [
            "daemonsets", "deployments", "deployments/rollback", "deployments/scale", "replicasets", "replicasets/scale",
            "statefulsets", "statefulsets/scale",
        ], "verbs": WRITE},
        {"apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], "verbs": WRITE},
        {"apiGroups": ["batch"], "resources": ["cronjobs", "jobs"], "verbs": WRITE},
        {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses", "networkpolicies"], "verbs": WRITE},
        {"apiGroups": ["policy"], "resources": ["poddisruptionbudgets"], "verbs": WRITE},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs":
            ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]},
    ])
}

fn view_rules() -> Value {
    json!([
        {"apiGroups": [""], "resources": [
            "bindings", "configmaps", "endpoints", "events", "limitranges", "namespaces", "namespaces/status", "persistentvolumeclaims",
            "persistentvolumeclaims/status", "pods", "pods/log", "pods/status", "replicationcontrollers", "replicationcontrollers/scale",
            "replicationcontrollers/status", "resourcequotas", "resourcequotas/status", "serviceaccounts", "services", "services/status",
        ], "verbs": READ},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": READ},
        {"apiGroups": ["apps"], "resources": [
            "controllerrevisions", "daemonsets", "daemonsets/status", "deployments", "deployments/scale", "deployments/status",
            "replicasets", "replicasets/scale", "replicasets/status", "statefulsets", "statefulsets/scale", "statefulsets/status",
        ], "verbs": READ},
        {"apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers", "horizontalpodautoscalers/status"], "verbs": READ},
        {"apiGroups": ["batch"], "resources": ["cronjobs", "cronjobs/status", "jobs", "jobs/status"], "verbs": READ},
        {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses", "ingresses/status", "networkpolicies"], "verbs": READ},
        {"apiGroups": ["policy"], "resources": ["poddisruptionbudgets", "poddisruptionbudgets/status"], "verbs": READ},
    ])
}

fn bindings() -> Vec<Value> {
    let groups = |role: &str, groups: &[&str]| {
        let subjects: Vec<Value> = groups
            .iter()
            .map(|g| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": g}))
            .collect();
        let mut binding = named(
            RBAC,
            "ClusterRoleBinding",
            role,
            json!({
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}, "subjects": subjects,
            }),
        );
        binding["metadata"]["labels"] = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
        binding["metadata"]["annotations"] = json!({"rbac.authorization.kubernetes.io/autoupdate": "true"});
        binding
    };
    vec![
        groups("cluster-admin", &[MASTERS]),
        groups("system:basic-user", &["system:authenticated"]),
        groups("system:discovery", &["system:authenticated"]),
        groups("system:public-info-viewer", &["system:authenticated", "system:unauthenticated"]),
        groups("system:service-account-issuer-discovery", &["system:serviceaccounts"]),
        groups("system:node", &["system:nodes"]),
    ]
}
