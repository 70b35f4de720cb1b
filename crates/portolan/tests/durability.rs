//! What was acknowledged is there after `kill -9` right behind the answer: Git pushes, writes to an API server, uploads of
//! images. The process is killed, again and again, while three clients write at the same time.
//!
//! Each kill comes right behind a random answer to one of the clients, in turn: that one has its kill at once,
//! the other two have it anywhere. Two hundred kills hit a process that holds only the parts that store,
//! the git host, an API server and the registry, because it starts in a fraction of the time; some more hit the whole
//! platform, over TLS and with everything else going on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod platform;
mod storage;

use std::path::{Path, PathBuf};

use controller::Cluster;
use object::{Key, kinds};
use platform::{Platform, remote_git, succeed};
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use storage::Storage;
use tokio::sync::mpsc;

/// As many as the promise names.
const KILLS: usize = 200;
/// Of the whole platform.
const PLATFORM_KILLS: usize = 8;
/// What one client writes between two kills at most, so that checking it all stays quick.
const WRITES: usize = 20;

/// What a client was told to be stored.
#[derive(Clone, Debug)]
enum Stored {
    ConfigMap { name: String, value: String },
    Commit { sha: String },
    Blob { digest: String, content: String },
    Manifest { tag: String, digest: String },
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_two_hundred_kills() {
    survive(KILLS, 20, async |data: &Path| Subject::storage(Storage::start(data).await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_whole_platform_acknowledged_survives_kills() {
    survive(PLATFORM_KILLS, 1, async |data: &Path| {
        let platform = Platform::start_on(data, &[]).await;
        let token = platform.token("priyanka");
        let cluster = platform.cluster("dev").await;
        Subject { base: platform.portal(), token, cluster, process: Box::new(platform) }
    })
    .await;
}

/// What is killed, and how to reach it.
struct Subject {
    base: String,
    token: String,
    cluster: Cluster,
    /// Dropping it is `kill -9`.
    process: Box<dyn Send>,
}

impl Subject {
    fn storage(storage: Storage) -> Self {
        let (base, token) = (storage.base.clone(), storage.token.clone());
        Self { base, token, cluster: storage.cluster.clone(), process: Box::new(storage) }
    }

    fn client() -> reqwest::Client {
        reqwest::Client::builder().no_proxy().build().unwrap()
    }
}

/// Kills `kills` times; of each sort of write at least `least` have to have been proved.
async fn survive(kills: usize, least: usize, start: impl AsyncFn(&Path) -> Subject) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    // A failing run is read with its seed; the clients' own timing stays free.
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let clone = local_repository(folder.path());
    let mut subject = start(&data).await;
    let http = Subject::client();
    let body = json!({"name": "durable", "private": false});
    let made = http
        .post(format!("{}/api/v3/orgs/platform/repos", subject.base))
        .bearer_auth(&subject.token)
        .json(&body);
    assert_eq!(made.send().await.unwrap().status(), 201);
    let mut all: Vec<Stored> = vec![];
    for round in 0..kills {
        // A push takes as long as many of the other writes.
        let (sort, most): (fn(&Stored) -> bool, usize) =
            [(is_object as fn(&Stored) -> bool, 8), (is_image, 8), (is_commit, 2)][round % 3];
        let wanted = random.random_range(1..=most);
        let stored = write_until_killed(subject, &clone, round, (sort, wanted)).await;
        assert!(stored.iter().filter(|one| sort(one)).count() >= wanted, "round {round} ended early");
        subject = start(&data).await;
        check(&subject, &stored).await;
        all.extend(stored);
    }
    check(&subject, &all).await;
    check_history(&subject, &data, folder.path(), &all);
    let counts = [is_object, is_commit, is_image].map(|sort| all.iter().filter(|one| sort(one)).count());
    println!("{kills} kills; acknowledged and found (objects, pushes, blobs and manifests): {counts:?}");
    assert!(
        counts.iter().all(|count| *count >= least),
        "too little was written to prove anything: {counts:?}"
    );
}

fn is_object(stored: &Stored) -> bool {
    matches!(stored, Stored::ConfigMap { .. })
}

fn is_image(stored: &Stored) -> bool {
    matches!(stored, Stored::Blob { .. } | Stored::Manifest { .. })
}

fn is_commit(stored: &Stored) -> bool {
    matches!(stored, Stored::Commit { .. })
}

/// Three clients write; the process is killed right behind the `wanted`th answer of one sort. Everything that was
/// acknowledged.
async fn write_until_killed(
    subject: Subject,
    clone: &Path,
    round: usize,
    (sort, wanted): (fn(&Stored) -> bool, usize),
) -> Vec<Stored> {
    let (answers, mut answered) = mpsc::unbounded_channel();
    let Subject { base, token, cluster, process } = subject;
    let objects = tokio::spawn(write_objects(cluster, round, answers.clone()));
    let push = remote_git(
        &token,
        clone,
        &["push", "--quiet", &format!("{base}/platform/durable.git"), "HEAD:refs/heads/main"],
    );
    let images = tokio::spawn(write_images(
        Subject::client(),
        format!("{base}/v2/platform/durable"),
        token,
        round,
        answers.clone(),
    ));
    let pushes = tokio::spawn(write_commits(push, clone.to_owned(), round, answers));
    let mut stored = vec![];
    while stored.iter().filter(|one| sort(one)).count() < wanted {
        stored.push(answered.recv().await.expect("a client gave up before the kill"));
    }
    drop(process);
    for client in [objects, images, pushes] {
        client.await.unwrap();
    }
    // Answers that came between the last one counted and the kill were acknowledgements too.
    while let Ok(more) = answered.try_recv() {
        stored.push(more);
    }
    stored
}

async fn write_objects(cluster: Cluster, round: usize, answers: mpsc::UnboundedSender<Stored>) {
    for number in 0..WRITES {
        let (name, value) = (format!("kept-{round}-{number}"), format!("value {round} {number}"));
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "default"},
            "data": {"key": value},
        });
        if cluster.create(&kinds::CONFIG_MAP, &object).await.is_err() {
            return;
        }
        let _ = answers.send(Stored::ConfigMap { name, value });
    }
}

async fn write_images(
    http: reqwest::Client,
    base: String,
    token: String,
    round: usize,
    answers: mpsc::UnboundedSender<Stored>,
) {
    for number in 0..WRITES {
        let content = json!({"architecture": "amd64", "os": "linux", "comment": format!("{round} {number}")})
            .to_string();
        let digest = digest(&content);
        let url = format!("{base}/blobs/uploads/?digest={digest}");
        if !accepted(
            http.post(url)
                .header("content-type", "application/octet-stream")
                .body(content.clone())
                .bearer_auth(&token),
        )
        .await
        {
            return;
        }
        let size = content.len();
        let _ = answers.send(Stored::Blob { digest: digest.clone(), content });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": size},
            "layers": [],
        });
        let tag = format!("t-{round}-{number}");
        let manifest = manifest.to_string();
        let put = http.put(format!("{base}/manifests/{tag}")).bearer_auth(&token).body(manifest.clone());
        if !accepted(put.header("content-type", "application/vnd.oci.image.manifest.v1+json")).await {
            return;
        }
        let _ = answers.send(Stored::Manifest { tag, digest: self::digest(&manifest) });
    }
}

/// Whether an upload was acknowledged; false once the platform is gone, a failure for any refusal.
async fn accepted(request: reqwest::RequestBuilder) -> bool {
    let Ok(answer) = request.send().await else { return false };
    let status = answer.status();
    assert_eq!(status.as_u16(), 201, "{}", answer.text().await.unwrap_or_default());
    true
}

async fn write_commits(
    push: std::process::Command,
    clone: PathBuf,
    round: usize,
    answers: mpsc::UnboundedSender<Stored>,
) {
    let mut push = tokio::process::Command::from(push);
    for number in 0..WRITES {
        let sha = commit(&clone, &format!("{round} {number}"));
        let pushed = push.output().await.unwrap();
        if !pushed.status.success() {
            return;
        }
        let _ = answers.send(Stored::Commit { sha });
    }
}

fn local_repository(folder: &Path) -> PathBuf {
    let clone = folder.join("clone");
    std::fs::create_dir(&clone).unwrap();
    succeed(local_git(&clone, &["init", "--quiet", "--initial-branch", "main"]));
    clone
}

fn commit(clone: &Path, message: &str) -> String {
    std::fs::write(clone.join("file"), message).unwrap();
    succeed(local_git(clone, &["add", "file"]));
    succeed(local_git(clone, &["commit", "--quiet", "-m", message]));
    succeed(local_git(clone, &["rev-parse", "HEAD"])).trim().to_owned()
}

fn local_git(folder: &Path, arguments: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new("git");
    command.args(["-c", "user.name=Test", "-c", "user.email=test@portolan.example", "-c", "gc.auto=0"]);
    command.args(arguments).current_dir(folder);
    command
}

async fn check(subject: &Subject, stored: &[Stored]) {
    let http = Subject::client();
    let get = async |path: &str| {
        let answer =
            http.get(format!("{}{path}", subject.base)).bearer_auth(&subject.token).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for one in stored {
        match one {
            Stored::ConfigMap { name, value } => {
                let found =
                    subject.cluster.get(&kinds::CONFIG_MAP, &Key::new("default", name)).await.unwrap();
                assert_eq!(found.map(|o| o["data"]["key"].clone()), Some(json!(value)), "ConfigMap {name}");
            }
            Stored::Blob { digest, content } => {
                let (status, text) = get(&format!("/v2/platform/durable/blobs/{digest}")).await;
                assert_eq!((status, &text), (200, content), "blob {digest}");
            }
            Stored::Manifest { tag, digest: expected } => {
                let (status, text) = get(&format!("/v2/platform/durable/manifests/{tag}")).await;
                assert_eq!((status, &digest(&text)), (200, expected), "manifest {tag}: {text}");
            }
            Stored::Commit { .. } => {}
        }
    }
    if let Some(Stored::Commit { sha }) = stored.iter().rev().find(|s| matches!(s, Stored::Commit { .. })) {
        // Above the last acknowledged push may be one for each kill since then: stored, but not answered any more.
        let path = "/api/v3/repos/platform/durable/commits?per_page=100";
        let (status, text) = get(path).await;
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        let on_top = answer.as_array().into_iter().flatten().any(|commit| commit["sha"] == json!(sha));
        assert!(status == 200 && on_top, "the push of {sha} was lost: {status} {answer}");
    }
}

/// Every acknowledged commit is on the branch, and the repository is whole.
fn check_history(subject: &Subject, data: &Path, folder: &Path, stored: &[Stored]) {
    let url = format!("{}/platform/durable.git", subject.base);
    succeed(remote_git(&subject.token, folder, &["clone", "--quiet", &url, "fresh"]));
    let fresh = folder.join("fresh");
    let on_branch = succeed(local_git(&fresh, &["rev-list", "origin/main"]));
    for one in stored {
        if let Stored::Commit { sha } = one {
            assert!(on_branch.contains(sha.as_str()), "the acknowledged commit {sha} is not on the branch");
        }
    }
    let hosted = data.join("git/platform/durable.git");
    succeed(local_git(&hosted, &["fsck", "--full", "--strict", "--no-dangling"]));
}

/// SHA-256 as registries write it.
fn digest(content: &str) -> String {
    registry::digest::Digest::of(content.as_bytes()).to_string()
}
