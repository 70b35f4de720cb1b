//! Cancel, run again, follow, and what a restart of the platform does.

use std::time::Duration;

use futures::StreamExt as _;

use crate::fixture::{conclusions, map, started, until, world};

const CI: &str = ".github/workflows/ci.yaml";

/// A job that waits for a file to appear.
fn waiting(gate: &std::path::Path) -> String {
    let gate = gate.display();
    format!(
        "name: CI\non: push\njobs:\n  a:\n    runs-on: x\n    steps:\n      \
         - run: echo started; while [ ! -e {gate} ]; do sleep 0.05; done; echo \"attempt $GITHUB_RUN_ATTEMPT\"\n      \
         - {{ if: cancelled(), run: echo was cancelled }}\n  b: {{ needs: a, runs-on: x, steps: [{{ run: 'true' }}] }}\n"
    )
}

#[tokio::test]
async fn a_run_can_be_followed_cancelled_and_run_again() {
    let world = started().await;
    let gate = world.directory.path().join("gate");
    let sha = world.push("app", "first", &[(CI, &waiting(&gate))]).await;
    let run = world.wait(&sha, "the run to begin", |run| run["status"]["status"] == "in_progress").await;
    let name = run["metadata"]["name"].as_str().unwrap().to_owned();
    let follow = {
        let url = format!("{}/api/pipelines/runs/{name}/jobs/a/log", world.portal);
        let request = world.client.get(url).bearer_auth(world.token("sasha", &["repo:platform/app:read"]));
        async { request.header("accept", "text/event-stream").send().await.unwrap() }
    };
    let path = world.data().join("logs").join(&name).join("a.log");
    until("the log", || async { path.exists().then_some(()) }).await;
    let mut followed = follow.await.bytes_stream();
    let mut seen = String::new();
    while !seen.contains("started") {
        let chunk = tokio::time::timeout(Duration::from_secs(30), followed.next()).await.unwrap();
        seen.push_str(&String::from_utf8_lossy(&chunk.unwrap().unwrap()));
    }
    let early = world.call("POST", &format!("/runs/{name}/rerun")).await;
    assert_eq!(early.0, 409, "{early:?}");
    assert_eq!(world.call("POST", &format!("/runs/{name}/cancel")).await.0, 202);
    let run = world.completed(&sha).await;
    assert_eq!(run["status"]["conclusion"], "cancelled");
    assert_eq!(conclusions(&run), map(&[("a", "cancelled"), ("b", "cancelled")]));
    while let Some(chunk) = tokio::time::timeout(Duration::from_secs(30), followed.next()).await.unwrap() {
        seen.push_str(&String::from_utf8_lossy(&chunk.unwrap()));
    }
    assert!(seen.contains("was cancelled") && seen.contains("event: end"), "{seen}");
    assert_eq!(world.statuses("app", &sha).await.0, "failure");

    std::fs::write(&gate, "").unwrap();
    assert_eq!(world.call("POST", &format!("/runs/{name}/rerun")).await.0, 202);
    let again =
        |run: &serde_json::Value| run["status"]["attempt"] == 2 && run["status"]["status"] == "completed";
    let run = world.wait(&sha, "the second attempt", again).await;
    assert_eq!(run["status"]["conclusion"], "success");
    assert!(world.log(&run, "a").await.contains("attempt 2"));
    assert_eq!(world.statuses("app", &sha).await.0, "success");
    let stranger = world.client.get(format!("{}/api/pipelines/runs/{name}", world.portal));
    let stranger =
        stranger.bearer_auth(world.token("eve", &["repo:platform/other:read"])).send().await.unwrap();
    assert_eq!(stranger.status(), 404);
    let (_, list) = world.call("GET", &format!("/runs?repository=platform/app&sha={sha}")).await;
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!((&list["total"], &list["items"][0]["metadata"]["name"]), (&1.into(), &name.into()));
}

#[tokio::test]
async fn a_run_that_was_interrupted_runs_once_more() {
    let mut world = world().await;
    let stop = world.start().await;
    let gate = world.directory.path().join("gate");
    let sha = world.push("app", "first", &[(CI, &waiting(&gate))]).await;
    world.wait(&sha, "the run to begin", |run| run["status"]["status"] == "in_progress").await;
    stop.cancel();
    let work = world.data().join("work");
    let runs_there = |entry: std::fs::DirEntry| {
        let directory = std::fs::read_link(entry.path().join("cwd"));
        directory.is_ok_and(|directory| directory.starts_with(&work))
    };
    let running = || {
        std::fs::read_dir("/proc").unwrap().flatten().filter(|entry| entry.path().is_dir()).any(runs_there)
    };
    until("the step's processes to end", || async { (!running()).then_some(()) }).await;
    assert_eq!(world.runs(&sha).await[0]["status"]["status"], "in_progress");

    std::fs::write(&gate, "").unwrap();
    world.start().await;
    let run = world.completed(&sha).await;
    let status = &run["status"];
    assert_eq!(
        (&status["conclusion"], &status["attempt"], &status["interruptions"]),
        (&"success".into(), &2.into(), &1.into())
    );
}

#[tokio::test]
async fn of_one_concurrency_group_one_runs_and_the_newest_waits() {
    let world = started().await;
    let gate = world.directory.path().join("gate");
    let workflow = format!("concurrency: {{ group: '${{{{ github.workflow }}}}-x' }}\n{}", waiting(&gate));
    let first = world.push("app", "first", &[(CI, &workflow)]).await;
    world.wait(&first, "the first run to begin", |run| run["status"]["status"] == "in_progress").await;
    let second = world.push("app", "second", &[("file", "2")]).await;
    world.wait(&second, "the second run to wait", |run| run["status"]["status"] == "queued").await;
    let third = world.push("app", "third", &[("file", "3")]).await;
    assert_eq!(world.completed(&second).await["status"]["conclusion"], "cancelled");
    assert_eq!(world.runs(&first).await[0]["status"]["status"], "in_progress");
    std::fs::write(&gate, "").unwrap();
    assert_eq!(world.completed(&first).await["status"]["conclusion"], "success");
    assert_eq!(world.completed(&third).await["status"]["conclusion"], "success");
}
