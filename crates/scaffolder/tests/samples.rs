//! What the sample templates make is not only text: every overlay builds, in each layout, and names what its
//! environment needs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[expect(dead_code, reason = "each test binary uses its part of the fixture")]
mod fixture;

use fixture::Fixture;
use serde_json::{Value, json};

/// The objects that one overlay of the project's deploy repository builds.
async fn overlay(fixture: &Fixture, project: &str, environment: &str) -> Vec<Value> {
    let files = fixture.files(&format!("{project}-deploy")).await;
    let tree = kustomize::MemoryTree::new(files);
    let folder = if environment.is_empty() { String::new() } else { format!("overlays/{environment}") };
    kustomize::build(&tree, &folder, kustomize::Options::default()).unwrap().objects()
}

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> Option<&'a Value> {
    objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overlays_build_in_both_layouts() {
    let fixture = Fixture::start().await;
    fixture.push_samples(&["org", "template-node-development", "template-tiny-app"]).await;
    for template in ["node-development", "tiny-app"] {
        for (layout, exposed) in
            [("composed", true), ("composed", false), ("deployments", true), ("deployments", false)]
        {
            let name = format!("{}-{layout}-{exposed}", &template[..4]);
            let order = json!({"templateRef": template, "values": {
                "name": name, "owner": "group:default/platform-team", "database": "metrics", "apiPort": 4001,
                "monitoring": false, "exposeEverywhere": exposed, "layout": layout}});
            let id = fixture.submit("sasha", &order).await;
            let task = fixture.finished("sasha", &id).await;
            assert_eq!(task["status"], "completed", "{}", fixture.log("sasha", &id).await);
            for environment in ["dev", "qa", "prod"] {
                let objects = overlay(&fixture, &name, environment).await;
                let namespace =
                    if environment == "prod" { name.clone() } else { format!("{name}-{environment}") };
                assert!(find(&objects, "Namespace", &namespace).is_some(), "{objects:?}");
                let visible = exposed || environment == "prod";
                match layout {
                    "composed" => check_composed(&objects, &name, &namespace, environment, visible),
                    _ => check_deployments(&objects, &name, &namespace, environment, visible),
                }
            }
            assert!(overlay(&fixture, &name, "").await.len() >= 6);
        }
    }
}

fn check_composed(objects: &[Value], name: &str, namespace: &str, environment: &str, visible: bool) {
    let app = find(objects, "XNodeApp", name).unwrap();
    assert_eq!(app["metadata"]["namespace"], namespace);
    let composition = if visible { "node-development" } else { "node-development-internal" };
    let spec = json!({
        "owner": "group:default/platform-team", "monitoring": false,
        "frontend": {"image": format!("localhost:7007/platform/{name}-frontend"), "tag": "latest"},
        "backend": {"image": format!("localhost:7007/platform/{name}-backend"), "port": 4001, "tag": "latest"},
        "database": {"name": "metrics", "size": "1Gi"},
        "environment": environment, "host": format!("{name}.{environment}.localhost"),
        "crossplane": {"compositionRef": {"name": composition}},
    });
    assert_eq!(app["spec"], spec);
}

fn check_deployments(objects: &[Value], name: &str, namespace: &str, environment: &str, visible: bool) {
    for part in ["frontend", "backend"] {
        let deployment = find(objects, "Deployment", &format!("{name}-{part}")).unwrap();
        assert_eq!(deployment["metadata"]["namespace"], namespace);
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["image"], format!("localhost:7007/platform/{name}-{part}:latest"));
        let shown =
            container["env"].as_array().unwrap().iter().find(|variable| variable["name"] == "ENVIRONMENT");
        assert_eq!(shown.unwrap()["value"], environment);
        assert!(find(objects, "Service", &format!("{name}-{part}")).is_some());
    }
    assert_eq!(find(objects, "XPostgreSQL", &format!("{name}-db")).unwrap()["spec"]["database"], "metrics");
    let ingress = find(objects, "Ingress", &format!("{name}-frontend"));
    assert_eq!(ingress.is_some(), visible);
    if let Some(ingress) = ingress {
        assert_eq!(ingress["spec"]["rules"][0]["host"], format!("{name}.{environment}.localhost"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_part_is_usable_alone() {
    let fixture = Fixture::start().await;
    fixture.push_samples(&["org", "template-node-development"]).await;
    let make = async |template: &str, values: Value| {
        let id = fixture.submit("sasha", &json!({"templateRef": template, "values": values})).await;
        let task = fixture.finished("sasha", &id).await;
        assert_eq!(task["status"], "completed", "{}", fixture.log("sasha", &id).await);
    };
    make("frontend", json!({"name": "shop", "owner": "platform-team"})).await;
    make(
        "backend",
        json!({"name": "shop", "owner": "platform-team", "deployRepository": "platform/shop-deploy"}),
    )
    .await;
    make("postgresql", json!({"name": "shop", "owner": "platform-team", "database": "orders"})).await;
    for repository in ["shop-frontend", "shop-backend"] {
        for file in ["ci.yaml", "release.yaml"] {
            let path = format!(".github/workflows/{file}");
            let text = fixture.file(&format!("platform/{repository}"), &path).await;
            let workflow = pipelines::workflow::Workflow::parse(&path, &text);
            assert!(workflow.is_ok(), "{repository} {file}: {:?}\n{text}", workflow.err());
        }
    }
    let release = fixture.file("platform/shop-frontend", ".github/workflows/release.yaml").await;
    assert!(!release.contains("deploy:"), "{release}");
    let release = fixture.file("platform/shop-backend", ".github/workflows/release.yaml").await;
    assert!(release.contains("repository: platform/shop-deploy\n"), "{release}");
    let tree = kustomize::MemoryTree::new(fixture.files("shop-database").await);
    let objects = kustomize::build(&tree, "overlays/qa", kustomize::Options::default()).unwrap().objects();
    let database = find(&objects, "XPostgreSQL", "shop-db").unwrap();
    assert_eq!(database["metadata"]["namespace"], "shop-qa");
    assert_eq!(
        database["spec"],
        json!({"database": "orders", "size": "1Gi", "backupSchedule": "0 0 2 * * *"})
    );

    let platform = kustomize::MemoryTree::new(fixture.files("template-node-development").await);
    let objects =
        kustomize::build(&platform, "overlays/prod", kustomize::Options::default()).unwrap().objects();
    let count = |kind: &str| objects.iter().filter(|object| object["kind"] == kind).count();
    assert_eq!((count("CompositeResourceDefinition"), count("Composition"), count("Function")), (2, 3, 1));
}
