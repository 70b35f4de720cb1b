//! What starts a run, and what does not.

use serde_json::json;

use crate::fixture::{started, until, world};

const CI: &str = ".github/workflows/ci.yaml";
const SIMPLE: &str =
    "name: CI\non: { push: { paths: ['src/**'] } }\njobs: { a: { runs-on: x, steps: [{ run: 'true' }] } }\n";

#[tokio::test]
async fn a_push_whose_hint_was_lost_is_found_by_the_sweep() {
    let mut world = world().await;
    let sha = world.push("app", "before the runner", &[(CI, SIMPLE), ("src/a", "1")]).await;
    let stop = world.start().await;
    assert_eq!(world.completed(&sha).await["status"]["conclusion"], "success");
    stop.cancel();
    let missed = world.push("app", "while it is away", &[("src/a", "2")]).await;
    world.start().await;
    assert_eq!(world.completed(&missed).await["spec"]["runNumber"], 2);
    assert_eq!(world.runs(&sha).await.len(), 1, "a restart runs nothing again");
}

#[tokio::test]
async fn filters_and_marks_keep_workflows_from_running() {
    let world = started().await;
    let other = world.push("app", "no such path", &[(CI, SIMPLE)]).await;
    let marked = world.push("app", "work [skip ci]", &[("src/a", "1")]).await;
    let wanted = world.push("app", "work", &[("src/a", "2")]).await;
    world.completed(&wanted).await;
    assert!(world.runs(&other).await.is_empty() && world.runs(&marked).await.is_empty());
}

#[tokio::test]
async fn a_broken_file_is_a_failed_run() {
    let world = started().await;
    let sha = world.push("app", "broken", &[(CI, "on: push\njobs: { a: { runs-on: x } }")]).await;
    let run = world.completed(&sha).await;
    assert_eq!(run["status"]["conclusion"], "startup_failure");
    assert_eq!(run["status"]["message"], "jobs.a: `steps` is missing");
}

#[tokio::test]
async fn a_dispatch_brings_its_inputs() {
    let world = started().await;
    let workflow = "
name: Manual
on: { workflow_dispatch: { inputs: { level: { default: low }, target: { default: dev } } } }
jobs:
  a:
    runs-on: x
    steps: [{ run: 'echo \"level=${{ inputs.level }} target=${{ github.event.inputs.target || inputs.target }}\"' }]
";
    let sha = world.push("app", "first", &[(CI, workflow)]).await;
    let url = format!("{}/api/v3/repos/platform/app/actions/workflows/ci.yaml/dispatches", world.url());
    // The call is only an event: it is made until the runner listens.
    let run = until("the dispatched run", || async {
        if world.runs(&sha).await.is_empty() {
            let body = json!({ "ref": "main", "inputs": { "level": "high" } });
            let request = world.client.post(&url).bearer_auth(world.token("rachel", &["*"])).json(&body);
            assert_eq!(request.send().await.unwrap().status(), 204);
        }
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        world.runs(&sha).await.into_iter().find(|run| run["status"]["status"] == "completed")
    })
    .await;
    assert_eq!(
        (&run["spec"]["event"], &run["spec"]["actor"]),
        (&json!("workflow_dispatch"), &json!("rachel"))
    );
    assert!(world.log(&run, "a").await.contains("level=high target=dev"));
}

#[tokio::test]
async fn a_release_writes_to_the_deploy_repository_but_never_triggers_itself() {
    let world = started().await;
    world.push("deploy", "first", &[("version.yaml", "tag: old\n")]).await;
    let workflow = "
name: release
on: { push: { branches: [main] } }
permissions: { contents: write }
jobs:
  deploy:
    runs-on: x
    steps:
      - uses: actions/checkout@v4
        with: { repository: platform/deploy, token: '${{ secrets.GITOPS_PAT }}', path: deploy }
      - working-directory: deploy
        run: |
          git config user.name bot && git config user.email bot@example.com
          sed -i \"s/^tag: .*/tag: sha-${GITHUB_SHA::7}/\" version.yaml
          git commit -qam \"deploy: app sha-${GITHUB_SHA::7}\"
          git push
  own:
    runs-on: x
    steps:
      - uses: actions/checkout@v4
      - run: |
          git config user.name bot && git config user.email bot@example.com
          echo x > generated && git add . && git commit -qm generated && git push
  forbidden:
    runs-on: x
    permissions: { contents: read }
    steps:
      - uses: actions/checkout@v4
      - run: '! git push origin HEAD:refs/heads/other'
      - run: '! git clone -q http://x:${{ secrets.GITHUB_TOKEN }}@${GITHUB_SERVER_URL#http://}/platform/deploy.git'
";
    let sha = world.push("app", "first", &[(CI, workflow)]).await;
    let run = world.completed(&sha).await;
    assert_eq!(run["status"]["conclusion"], "success", "{run:#}");
    let deploy = world.host.repository("platform/deploy").unwrap();
    assert_eq!(
        deploy.git.read_file("main", "version.yaml").await.unwrap(),
        format!("tag: sha-{}\n", &sha[..7])
    );
    let app = world.host.repository("platform/app").unwrap();
    let generated = app.git.tip("refs/heads/main").await.unwrap().unwrap();
    assert_eq!(app.git.commit_at(&generated).await.unwrap().message, "generated");
    // A later push of a person shows that the runner has seen the workflow's own push and left it alone.
    let later = world.push("app", "later", &[("file", "x")]).await;
    world.wait(&later, "the next run", |_| true).await;
    assert!(world.runs(&generated).await.is_empty());
}
