//! A push becomes objects in the cluster, over the real git host and API server; and everything that may happen to them
//! after that.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "in a test, whatever goes wrong ends it"
)]

mod fixture;

use controller::Patch;
use fixture::{Fixture, ready};
use object::{Key, Resource, kinds, meta};
use serde_json::{Value, json};

const SOURCE: Resource = gitops::api::git_repository::GIT_REPOSITORY;
const KUSTOMIZATION: Resource = gitops::api::kustomization::KUSTOMIZATION;

fn flux(name: &str) -> Key {
    Key::new("flux-system", name)
}

fn app(name: &str) -> Key {
    Key::new("app", name)
}

const OVERLAY: &str = "resources: [../../base]\nnamespace: app\nimages: [{name: web, newTag: v1}]\n";
const BASE: &str = "resources: [namespace.yaml, web.yaml, settings.yaml]\n";
const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: app}\n";
const SETTINGS: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {color: blue}\n";
const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web}]}
";

fn files() -> Vec<(&'static str, &'static str)> {
    vec![
        ("base/kustomization.yaml", BASE),
        ("base/namespace.yaml", NAMESPACE),
        ("base/web.yaml", WEB),
        ("base/settings.yaml", SETTINGS),
        ("overlays/dev/kustomization.yaml", OVERLAY),
    ]
}

/// A Kustomization of the source `parts`, of its directory `name`.
fn kustomization(name: &str, more: Value) -> Value {
    let mut spec = json!({
        "interval": "1h",
        "prune": true,
        "path": format!("./{name}"),
        "sourceRef": {"kind": "GitRepository", "name": "parts"},
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": {"name": name, "namespace": "flux-system"},
        "spec": spec,
    })
}

fn image(deployment: &Value) -> &str {
    deployment["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_applied_kept_and_pruned() {
    let Some(f) = Fixture::start().await else { return };
    f.repository("web-deploy", &["flux-managed"], &files()).await;
    let took = f.until(&kinds::DEPLOYMENT, &app("web"), |d| image(d) == "web:v1").await;
    println!("new repository to applied: {took:?}");
    f.until(&KUSTOMIZATION, &flux("web-deploy"), |k| ready(k).0 == "True").await;

    // A push of one line.
    let commit = f
        .commit("web-deploy", &[("overlays/dev/kustomization.yaml", Some(&OVERLAY.replace("v1", "v2")))])
        .await;
    let took = f.until(&kinds::DEPLOYMENT, &app("web"), |d| image(d) == "web:v2").await;
    println!("push to applied: {took:?}");
    let revision = format!("main@sha1:{commit}");
    let applied = |k: &Value| k["status"]["lastAppliedRevision"] == revision.as_str() && ready(k).0 == "True";
    f.until(&KUSTOMIZATION, &flux("web-deploy"), applied).await;
    let kustomization = f.cluster.get(&KUSTOMIZATION, &flux("web-deploy")).await.unwrap().unwrap();
    assert_eq!(ready(&kustomization).1, "ReconciliationSucceeded");
    assert_eq!(ready(&kustomization).2, format!("Applied revision: {revision}"));
    assert_eq!(
        kustomization["status"]["inventory"]["entries"],
        json!([
            {"id": "_app__Namespace", "v": "v1"},
            {"id": "app_settings__ConfigMap", "v": "v1"},
            {"id": "app_web_apps_Deployment", "v": "v1"},
        ])
    );
    let source = f.cluster.get(&SOURCE, &flux("web-deploy")).await.unwrap().unwrap();
    assert_eq!(
        ready(&source),
        ("True".into(), "Succeeded".into(), format!("stored artifact for revision '{revision}'"))
    );

    // Somebody else's changes are undone.
    f.delete(&kinds::DEPLOYMENT, &app("web")).await;
    f.until(&kinds::DEPLOYMENT, &app("web"), |d| d.is_null() || meta::is_being_deleted(d)).await;
    let took = f.until(&kinds::DEPLOYMENT, &app("web"), |d| image(d) == "web:v2").await;
    println!("deleted to there again: {took:?}");
    let old = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "web:v1"}]);
    f.cluster.patch(&kinds::DEPLOYMENT, &app("web"), "", Patch::Json(&old)).await.unwrap();
    f.until(&kinds::DEPLOYMENT, &app("web"), |d| image(d) == "web:v2" && meta::generation(d) > 1).await;
    f.change(&kinds::CONFIG_MAP, &app("settings"), "", json!({"data": {"color": "red"}})).await;
    f.until(&kinds::CONFIG_MAP, &app("settings"), |m| m["data"]["color"] == "blue").await;

    // What leaves the source leaves the cluster.
    let without = BASE.replace(", settings.yaml", "");
    f.commit("web-deploy", &[("base/kustomization.yaml", Some(&without)), ("base/settings.yaml", None)])
        .await;
    f.until(&kinds::CONFIG_MAP, &app("settings"), Value::is_null).await;
    f.until(&kinds::DEPLOYMENT, &app("web"), |d| image(d) == "web:v2").await;

    // Without the topic nothing is left.
    f.set_topics("web-deploy", &[]).await;
    f.until(&KUSTOMIZATION, &flux("web-deploy"), Value::is_null).await;
    f.until(&SOURCE, &flux("web-deploy"), Value::is_null).await;
    f.until(&kinds::DEPLOYMENT, &app("web"), Value::is_null).await;
    f.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_told_and_mended_by_what_was_missing() {
    let Some(f) = Fixture::start().await else { return };
    f.repository("x-deploy", &["flux-managed"], &[("readme.md", "nothing yet")]).await;
    let missing = "kustomization path not found: stat ./overlays/dev: no such file or directory";
    let said = |k: &Value| ready(k) == ("False".into(), "ArtifactFailed".into(), missing.into());
    f.until(&KUSTOMIZATION, &flux("x-deploy"), said).await;

    let bad = "resources: [x.yaml]\nhelmCharts: [{name: x}]\n";
    f.commit("x-deploy", &[("overlays/dev/kustomization.yaml", Some(bad))]).await;
    let said =
        |k: &Value| ready(k).1 == "BuildFailed" && ready(k).2.contains("'helmCharts' is not supported");
    f.until(&KUSTOMIZATION, &flux("x-deploy"), said).await;

    // A kind that nobody serves; nothing of its stage is applied.
    let good = "resources: [x.yaml]\n";
    let object = "apiVersion: test.io/v1\nkind: Thing\nmetadata: {name: t, namespace: default}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: with-thing, namespace: default}\n";
    f.commit(
        "x-deploy",
        &[("overlays/dev/kustomization.yaml", Some(good)), ("overlays/dev/x.yaml", Some(object))],
    )
    .await;
    let said = |k: &Value| {
        ready(k).1 == "ReconciliationFailed"
            && ready(k).2.starts_with("Thing/default/t dry-run failed: no matches for kind")
    };
    f.until(&KUSTOMIZATION, &flux("x-deploy"), said).await;
    assert_eq!(f.cluster.get(&kinds::CONFIG_MAP, &Key::new("default", "with-thing")).await.unwrap(), None);
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.test.io"},
        "spec": {
            "group": "test.io", "scope": "Namespaced", "names": {"kind": "Thing", "plural": "things"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    });
    f.make(&definition).await;
    let took = f.until(&KUSTOMIZATION, &flux("x-deploy"), |k| ready(k).0 == "True").await;
    println!("new kind to applied: {took:?}");
    f.until(&Resource::new("test.io", "v1", "things", "Thing", true), &Key::new("default", "t"), |t| {
        !t.is_null()
    })
    .await;
    f.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_dependencies_and_variables() {
    let Some(f) = Fixture::start().await else { return };
    f.repository("parts", &[], &[
        ("web/web.yaml", &WEB.replace("{name: web}\nspec", "{name: web, namespace: default}\nspec")),
        ("late/map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: late, namespace: default}\ndata: {region: '${region}', size: '${size:=small}'}\n"),
    ]).await;
    let discovery = f.cluster.list(&gitops::kinds()[2], "flux-system", "").await.unwrap().items.remove(0);
    let base = discovery["spec"]["api"].as_str().unwrap().trim_end_matches("/api/v3").to_owned();
    f.make(&json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository", "metadata": {"name": "parts", "namespace": "flux-system"},
        "spec": {"url": format!("{base}/platform/parts.git"), "interval": "1h", "ref": {"branch": "main"}, "secretRef": {"name": "git-host"}},
    })).await;
    f.make(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "vars", "namespace": "flux-system"}, "data": {"region": "north"}})).await;
    f.make(&kustomization("web", json!({"wait": true, "timeout": "5m"}))).await;
    let late = json!({
        "dependsOn": [{"name": "web"}],
        "postBuild": {"substituteFrom": [{"kind": "ConfigMap", "name": "vars"}]},
        "deletionPolicy": "Orphan",
    });
    f.make(&kustomization("late", late)).await;

    // Nobody makes pods here, so the Deployment is on its way until its status says otherwise.
    f.until(&KUSTOMIZATION, &flux("web"), |k| ready(k).0 == "Unknown" && ready(k).1 == "Progressing").await;
    let waits = |k: &Value| {
        ready(k)
            == (
                "False".into(),
                "DependencyNotReady".into(),
                "dependency 'flux-system/web' is not ready".into(),
            )
    };
    f.until(&KUSTOMIZATION, &flux("late"), waits).await;
    let web = Key::new("default", "web");
    let status = json!({"status": {
        "observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2,
        "conditions": [
            {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable", "message": "m"},
            {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable", "message": "m"},
        ],
    }});
    f.change(&kinds::DEPLOYMENT, &web, "status", status).await;
    f.until(&KUSTOMIZATION, &flux("web"), |k| ready(k).0 == "True" && meta::condition_is_true(k, "Healthy"))
        .await;
    let took = f.until(&KUSTOMIZATION, &flux("late"), |k| ready(k).0 == "True").await;
    println!("dependency ready to dependent ready: {took:?}");
    let map = f.cluster.get(&kinds::CONFIG_MAP, &Key::new("default", "late")).await.unwrap().unwrap();
    assert_eq!(map["data"], json!({"region": "north", "size": "small"}));

    // An idle request costs no write; its answer is the echoed annotation.
    let before = meta::resource_version(&map).to_owned();
    let ask = json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": "now"}}});
    f.change(&KUSTOMIZATION, &flux("late"), "", ask).await;
    f.until(&KUSTOMIZATION, &flux("late"), |k| k["status"]["lastHandledReconcileAt"] == "now").await;
    let map = f.cluster.get(&kinds::CONFIG_MAP, &Key::new("default", "late")).await.unwrap().unwrap();
    assert_eq!(meta::resource_version(&map), before);

    // Orphan: the object stays. MirrorPrune: it goes.
    f.delete(&KUSTOMIZATION, &flux("late")).await;
    f.delete(&KUSTOMIZATION, &flux("web")).await;
    f.until(&KUSTOMIZATION, &flux("late"), Value::is_null).await;
    f.until(&kinds::DEPLOYMENT, &web, Value::is_null).await;
    assert!(f.cluster.get(&kinds::CONFIG_MAP, &Key::new("default", "late")).await.unwrap().is_some());
    f.stop().await;
}
