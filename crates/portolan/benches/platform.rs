//! The numbers that the platform promises, measured on the built binary from outside: the portal's first byte, memory
//! when idle, from a form to three answering environments, from a push to new pods. Prints one line for each.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "measures, as tests do"
)]

#[path = "../tests/platform/mod.rs"]
mod platform;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use platform::{Platform, eventually, processes, remote_git, succeed, web};
use reqwest::Method;
use serde_json::json;

/// What is measured takes far less; this ends a measurement that cannot succeed.
const LIMIT: Duration = Duration::from_secs(120);
const FIRST_BYTE_RUNS: usize = 10;
const PUSH_RUNS: usize = 5;

fn main() {
    // `cargo test --benches` asks for a list of tests; there is none.
    if std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        first_byte().await;
        let platform = Platform::start().await;
        platform.ready().await;
        idle_memory(&platform).await;
        push_to_pods(&platform).await;
        form_to_environments(&platform).await;
    });
}

fn report(what: &str, measured: f64, unit: &str, target: f64) {
    println!("{what:<58} {measured:>8.2} {unit:<4} target {target:>6.1}  ratio {:.2}", measured / target);
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// From the start of the process on an empty directory to a page of the portal.
async fn first_byte() {
    let mut seconds = vec![];
    for _ in 0..FIRST_BYTE_RUNS {
        let begun = Instant::now();
        let platform = Platform::start().await;
        let page = platform.http.get(platform.url("/sign-in")).send().await.unwrap();
        assert!(page.status().is_success());
        seconds.push(begun.elapsed().as_secs_f64());
    }
    report("portal's first page after `up` on an empty directory", median(seconds), "s", 1.0);
}

/// The platform and its nodes; there is no pod yet. Shared pages are counted once (PSS).
async fn idle_memory(platform: &Platform) {
    let all = || {
        let mut pids: Vec<u32> =
            processes::descendants(platform.pid()).into_iter().map(|process| process.pid).collect();
        pids.push(platform.pid());
        pids.into_iter()
            .filter_map(processes::memory_kib)
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    };
    // Start-up is over when the sum has not grown for a while.
    let last = std::cell::Cell::new((0, Instant::now()));
    let settled = async || {
        let (before, since) = last.get();
        let now = all().0;
        if now.abs_diff(before) > 1024 {
            last.set((now, Instant::now()));
        }
        (since.elapsed() > Duration::from_secs(5)).then_some(())
    };
    eventually("memory settles", LIMIT, settled).await;
    let (pss, rss) = all();
    report("memory of the idle platform and its nodes (PSS)", pss as f64 / 1024.0, "MiB", 150.0);
    println!(
        "{:<58} {:>8.2} MiB",
        "  the same as a sum of RSS, shared pages counted again",
        rss as f64 / 1024.0
    );
}

/// A line of a manifest is pushed; a pod of the new version answers through the gateway, and the rollout is complete.
async fn push_to_pods(platform: &Platform) {
    let token = platform.token("priyanka");
    platform.make_repository(&token, "measured-deploy", &["flux-managed"]).await;
    let folder = platform.data.join("measured");
    for environment in ["dev", "qa", "prod"] {
        let overlay = folder.join("overlays").join(environment);
        std::fs::create_dir_all(&overlay).unwrap();
        std::fs::write(overlay.join("kustomization.yaml"), "resources: []\n").unwrap();
    }
    let dev = folder.join("overlays/dev");
    std::fs::write(dev.join("kustomization.yaml"), "resources: [web.yaml]\n").unwrap();
    std::fs::write(dev.join("web.yaml"), web::manifest("version-0")).unwrap();
    let git = |arguments: &[&str]| succeed(remote_git(&token, &folder, arguments));
    git(&["init", "--quiet", "--initial-branch", "main"]);
    let mut seconds = vec![];
    for run in 0..=PUSH_RUNS {
        let answer = format!("version-{run}");
        std::fs::write(dev.join("web.yaml"), web::manifest(&answer)).unwrap();
        git(&["add", "--all"]);
        git(&["commit", "--quiet", "-m", &answer]);
        let begun = Instant::now();
        git(&["push", "--quiet", &platform.url("/platform/measured-deploy.git"), "main"]);
        let updated = async || {
            let (status, text) = platform.through_gateway("web.localhost", "/").await?;
            (status == 200 && text.starts_with(&answer)).then_some(())
        };
        eventually(&answer, LIMIT, updated).await;
        // The first one also discovers the repository and makes the image.
        if run > 0 {
            seconds.push(begun.elapsed().as_secs_f64());
        }
    }
    report("push of a one-line change to a new pod that answers", median(seconds), "s", 2.0);
}

/// The tiny template: its workflows build both images, which is part of the time here.
async fn form_to_environments(platform: &Platform) {
    if Command::new("psql").arg("--version").output().is_err() || !Path::new("/usr/lib/postgresql").exists() {
        println!("skipped: PostgreSQL is not installed");
        return;
    }
    let token = platform.token("sasha");
    let mut seconds = vec![];
    for name in ["first", "second", "third"] {
        let values = json!({"name": name, "owner": "group:default/platform-team", "database": "metrics", "apiPort": 3001, "monitoring": true});
        let body = json!({"templateRef": "template:default/tiny-app", "values": values});
        let begun = Instant::now();
        let (status, answer) =
            platform.ask(&token, Method::POST, "/api/scaffolder/v2/tasks", Some(&body)).await;
        assert_eq!(status, 201, "{answer}");
        for environment in ["dev", "qa", "prod"] {
            let host = format!("{name}.{environment}.localhost");
            let rows = async || {
                let (status, text) = platform.through_gateway(&host, "/api/metrics").await?;
                (status == 200 && text.contains('{')).then_some(())
            };
            eventually(&host, LIMIT, rows).await;
        }
        seconds.push(begun.elapsed().as_secs_f64());
    }
    report("form to rows from three environments, images included", median(seconds), "s", 15.0);
}
