//! The founding story as one test: templates, a form, three repositories, workflows, three environments, promotion, a
//! change, a revert, a repair, all of it verified step by step over the platform's public interfaces. It is
//! played with the template that needs no package, so that no network is needed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod platform;

use std::process::Stdio;
use std::time::{Duration, Instant};

use platform::{portolan, processes, text};
use serde_json::Value;

/// The whole story in a debug build on two cores.
const LIMIT: Duration = Duration::from_secs(300);

/// The diagram's fourteen steps, then the story's own items: none may be left out silently.
const STEPS: &[&str] = &[
    "1", "2", "3", "4", "4b", "5", "6", "W", "7-8", "9", "10-11", "12", "13", "14", "URL", "R", "10", "10b",
    "10c", "11",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_founding_story_is_played_and_every_step_is_verified() {
    for program in ["git", "node", "psql"] {
        if std::process::Command::new(program).arg("--version").output().is_err() {
            println!("skipped: {program} is not installed");
            return;
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let (data, timeline) = (folder.path().join("data"), folder.path().join("timeline.json"));
    let log = folder.path().join("log");
    let mut command = portolan();
    command
        .args(["demo", "--exit", "--offline", "--template", "tiny-app", "--json"])
        .arg(&timeline)
        .arg("--data")
        .arg(&data);
    for listener in ["--listen", "--gateway", "--kubernetes"] {
        command.args([listener, "127.0.0.1:0"]);
    }
    let file = std::fs::File::create(&log).unwrap();
    command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
    let mut child = platform::Guarded(command.spawn().unwrap());
    let begun = Instant::now();
    let mut below = vec![];
    let ended = platform::eventually("the story ends", LIMIT + Duration::from_secs(10), || {
        if begun.elapsed() > LIMIT {
            child.0.kill().unwrap();
        }
        let running = processes::descendants(child.0.id());
        below = if running.is_empty() { std::mem::take(&mut below) } else { running };
        let ended = child.0.try_wait().unwrap();
        async move { ended }
    })
    .await;
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    assert!(ended.success(), "the story ended with {ended} after {} s:\n{said}", begun.elapsed().as_secs());

    let told: Value = serde_json::from_slice(&std::fs::read(&timeline).unwrap()).unwrap();
    assert_eq!(told["verified"], true, "{told:#}");
    let steps: Vec<String> =
        told["steps"].as_array().unwrap().iter().map(|step| text(&step["step"])).collect();
    for step in STEPS {
        assert!(steps.iter().any(|s| s == step), "step {step} is missing from {steps:?}");
    }
    for environment in ["dev", "qa", "prod"] {
        let host = format!("dashboard.{environment}.localhost");
        let answered =
            told["steps"].as_array().unwrap().iter().any(|step| text(&step["title"]).contains(&host));
        assert!(answered, "{host} was not looked at: {told:#}");
    }
    let left: Vec<_> = below.iter().filter(|process| process.is_alive()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}
