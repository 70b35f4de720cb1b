//! The sample templates, run for real: git host, catalog and API server are the platform's own, over their protocols.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[expect(dead_code, reason = "each test binary uses its part of the fixture")]
mod fixture;

use std::time::Duration;

use axum::http::{Method, StatusCode};
use fixture::Fixture;
use serde_json::{Value, json};

fn dashboard() -> Value {
    json!({
        "templateRef": "template:default/tiny-app",
        "values": {"name": "dashboard", "owner": "platform-team", "database": "metrics", "apiPort": 3001},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_form_makes_three_repositories() {
    let fixture = Fixture::start().await;
    fixture.push_samples(&["org", "template-node-development", "template-tiny-app"]).await;

    let (_, entities) = fixture.call("sasha", Method::GET, "/api/catalog/entities", None).await;
    let broken = entities.as_array().unwrap().iter().find(|entity| entity.get("status").is_some());
    assert!(broken.is_none(), "a sample is broken: {}", broken.unwrap()["status"]);

    let path = "/api/scaffolder/v2/templates/default/template/tiny-app/parameter-schema";
    let (status, schema) = fixture.call("sasha", Method::GET, path, None).await;
    assert_eq!(status, StatusCode::OK, "{schema}");
    assert_eq!(schema["steps"][0]["schema"]["required"], json!(["name", "owner"]));

    let id = fixture.submit("sasha", &dashboard()).await;
    let task = fixture.finished("sasha", &id).await;
    assert_eq!(task["status"], "completed", "{}", fixture.log("sasha", &id).await);
    assert_eq!(task["createdBy"], "user:default/sasha");

    for (name, topics) in [("deploy", json!(["flux-managed"])), ("backend", json!(["node", "backend"]))] {
        let found = fixture.git(Method::GET, &format!("/repos/platform/dashboard-{name}/topics")).await;
        assert_eq!(found["names"], topics);
    }
    let commits = fixture.git(Method::GET, "/repos/platform/dashboard-frontend/commits").await;
    assert_eq!(commits.as_array().unwrap().len(), 1);
    assert_eq!(commits[0]["commit"]["author"]["name"], "Sasha");
    assert_eq!(commits[0]["sha"], task["steps"][7]["output"]["commitHash"]);

    let file = async |repository: &str, path: &str| {
        fixture.file(&format!("platform/dashboard-{repository}"), path).await
    };
    let application = file("deploy", "base/application.yaml").await;
    assert!(application.contains("image: localhost:7007/platform/dashboard-frontend\n"), "{application}");
    assert!(
        application.contains("port: 3001\n") && application.contains("monitoring: true\n"),
        "{application}"
    );
    let release = file("frontend", ".github/workflows/release.yaml").await;
    assert!(release.contains("IMAGE: localhost:7007/platform/dashboard-frontend\n"), "{release}");
    assert!(release.contains("${{ secrets.GITOPS_PAT }}") && !release.contains("{%"), "{release}");
    let production = file("deploy", "overlays/prod/kustomization.yaml").await;
    assert!(production.contains("namespace: dashboard\n"), "{production}");

    let (_, entity) = fixture
        .call("sasha", Method::GET, "/api/catalog/entities/by-name/system/default/dashboard", None)
        .await;
    let parts: Vec<&str> =
        entity["relations"].as_array().unwrap().iter().filter_map(|r| r["targetRef"].as_str()).collect();
    for part in [
        "component:default/dashboard-frontend",
        "resource:default/dashboard-database",
        "group:default/platform-team",
    ] {
        assert!(parts.contains(&part), "{parts:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_refused_with_the_field_named_and_nothing_is_made() {
    let fixture = Fixture::start().await;
    fixture.push_samples(&["org", "template-node-development", "template-tiny-app"]).await;
    fixture.create_repository("dashboard-backend").await;
    let check = async |field: &str, value: Value, expected: &str| {
        let mut order = dashboard();
        order["values"]["name"] = json!("other");
        order["values"][field] = value;
        let (status, body) =
            fixture.call("sasha", Method::POST, "/api/scaffolder/v2/tasks", Some(&order)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        let errors = body["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{body}");
        assert_eq!(errors[0]["path"], json!([field]), "{body}");
        assert!(errors[0]["message"].as_str().unwrap().contains(expected), "{body}");
    };
    check("name", json!("Dash Board!"), "lower-case").await;
    check("name", json!("dashboard"), "platform/dashboard-backend exists already").await;
    check("apiPort", json!(70000), "1024 to 65535").await;
    check("owner", json!("nobody"), "there is no group \"nobody\"").await;
    check("database", Value::Null, "must be a string").await;
    let (_, tasks) = fixture.call("sasha", Method::GET, "/api/scaffolder/v2/tasks", None).await;
    assert_eq!(tasks["totalTasks"], 0);
    let repositories = fixture.git(Method::GET, "/orgs/platform/repos").await;
    assert_eq!(repositories.as_array().unwrap().len(), 4);
}

const HALF: &str = r"apiVersion: scaffolder.backstage.io/v1beta3
kind: Template
metadata: {name: half}
spec:
  type: service
  owner: platform
  steps:
    - id: publish
      action: publish:github
      input: {repoUrl: '${{ environment.parameters.gitHost }}?owner=platform&repo=half', sourcePath: ./nowhere}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_that_cannot_be_filled_is_removed_again() {
    let fixture = Fixture::start().await;
    fixture.create_repository("template-half").await;
    fixture.push("template-half", &[("catalog-info.yaml", HALF)]).await;
    fixture.refresh("template-half").await;
    let order = json!({"templateRef": "half"});
    let id = fixture.submit("sasha", &order).await;
    let task = fixture.finished("sasha", &id).await;
    assert_eq!(task["status"], "failed");
    let log = fixture.log("sasha", &id).await;
    assert!(log.contains("Removed the empty repository platform/half again"), "{log}");
    assert!(fixture.find("platform/half").await.is_none());

    // Who may only read cannot have a repository made either.
    let id = fixture.submit("cameron", &order).await;
    let task = fixture.finished("cameron", &id).await;
    assert_eq!(task["steps"][0]["error"], "cameron may not make the repository platform/half");
    assert!(fixture.find("platform/half").await.is_none());
}

const FAILING: &str = r"apiVersion: scaffolder.backstage.io/v1beta3
kind: Template
metadata: {name: failing}
spec:
  type: service
  owner: platform
  parameters:
    properties: {word: {type: string}}
  steps:
    - id: skipped
      if: ${{ parameters.missing }}
      action: debug:log
    - id: fetch
      action: fetch:template
      input: {url: ./skeleton, values: {word: '${{ parameters.word }}'}}
    - id: publish
      name: Publish
      action: publish:github
      input: {repoUrl: '${{ environment.parameters.gitHost }}?owner=platform&repo=made'}
    - id: each
      each: ['a', 'b']
      action: debug:log
      input: {message: '${{ each.key }}=${{ each.value }} ${{ secrets.password }}'}
    - id: register
      action: catalog:register
      input: {repoContentsUrl: '${{ steps.publish.output.repoContentsUrl }}'}
  output:
    links: [{title: Made, url: '${{ steps.publish.output.remoteUrl }}'}]
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_task_goes_on_from_the_failed_step_and_makes_nothing_twice() {
    let fixture = Fixture::start().await;
    fixture.create_repository("template-failing").await;
    let broken = [
        ("catalog-info.yaml", FAILING),
        ("skeleton/a", "${{ values.word }}"),
        ("skeleton/b", "${{ values.word | nosuch }}"),
    ];
    fixture.push("template-failing", &broken).await;
    fixture.refresh("template-failing").await;

    // A skeleton that cannot be rendered stops the task before anything is made.
    let order =
        json!({"templateRef": "failing", "values": {"word": "w"}, "secrets": {"password": "hunter2"}});
    let id = fixture.submit("sasha", &order).await;
    let task = fixture.finished("sasha", &id).await;
    assert_eq!((&task["status"], &task["steps"][1]["status"]), (&json!("failed"), &json!("failed")));
    assert!(task["steps"][1]["error"].as_str().unwrap().starts_with("b: "), "{task}");
    assert!(fixture.find("platform/made").await.is_none());

    // Without a catalog-info.yaml the registration fails, after the repository is complete.
    fixture.push("template-failing", &[("skeleton/b", "plain")]).await;
    let id = fixture.submit("sasha", &order).await;
    let task = fixture.finished("sasha", &id).await;
    assert_eq!((&task["status"], &task["steps"][4]["status"]), (&json!("failed"), &json!("failed")));
    let log = fixture.log("sasha", &id).await;
    for line in [
        "Starting up task with 5 steps",
        "Skipping step skipped because its if condition was false",
        "Beginning step Publish",
        "Finished step Publish",
        "***",
        "Run completed with status: failed",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    assert!(!log.contains("hunter2"));

    // Only the owner may retry; the retry publishes nothing again.
    let retry = format!("/api/scaffolder/v2/tasks/{id}/retry");
    assert_eq!(fixture.call("rachel", Method::POST, &retry, None).await.0, StatusCode::FORBIDDEN);
    fixture.push_to("made", &[("catalog-info.yaml", "apiVersion: backstage.io/v1alpha1\nkind: System\nmetadata: {name: made}\nspec: {owner: platform}\n")]).await;
    assert_eq!(fixture.call("sasha", Method::POST, &retry, None).await.0, StatusCode::CREATED);
    let task = fixture.finished("sasha", &id).await;
    assert_eq!(task["status"], "completed", "{}", fixture.log("sasha", &id).await);
    assert_eq!(task["steps"][4]["output"]["entityRef"], "system:default/made");
    assert!(task["output"]["links"][0]["url"].as_str().unwrap().ends_with("/platform/made.git"));
    let log = fixture.log("sasha", &id).await;
    assert_eq!(log.matches("Creating the repository").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_survive_a_restart_and_the_stream_ends_with_the_completion() {
    let mut fixture = Fixture::start().await;
    fixture.create_repository("template-failing").await;
    fixture.push("template-failing", &[("catalog-info.yaml", FAILING), ("skeleton/a", "x")]).await;
    fixture.refresh("template-failing").await;
    let id = fixture.submit("sasha", &json!({"templateRef": "failing", "values": {}})).await;
    let stream = tokio::time::timeout(Duration::from_secs(30), fixture.stream("sasha", &id)).await.unwrap();
    assert!(stream.contains("event: log") && stream.contains("event: completion"), "{stream}");
    let before = fixture.finished("sasha", &id).await;
    fixture.interrupt(&id).await;
    fixture.restart().await;
    let after = fixture.finished("sasha", &id).await;
    assert_eq!(after["spec"], before["spec"]);
    assert_eq!(after["status"], "failed");
    assert!(fixture.log("sasha", &id).await.contains("interrupted"));
}
