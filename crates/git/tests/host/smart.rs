//! Clone, fetch and push with the real client.

use git::Event;
use serde_json::json;

use crate::fixture::{git, git_ok, start};

#[tokio::test]
async fn a_push_is_there_for_the_next_clone_and_after_a_restart() {
    let fixture = start().await;
    fixture.create("app", true).await;
    let token = fixture.token("sasha", &["repo:platform/app:write"]);
    let remote = fixture.remote("app", &token);
    let work = fixture.directory.path().join("work");
    git_ok(fixture.directory.path(), &["clone", "-q", &remote, "work"]).await;
    let mut events = fixture.host.subscribe();
    // Larger than git's own limit for an unchunked request, and compressible.
    std::fs::write(work.join("big.txt"), "line\n".repeat(600_000)).unwrap();
    let noise: Vec<u8> =
        (0..2_000_000u64).map(|i| (i.wrapping_mul(6364136223846793005) >> 33) as u8).collect();
    std::fs::write(work.join("noise"), noise).unwrap();
    git_ok(&work, &["add", "."]).await;
    git_ok(&work, &["commit", "-qm", "big"]).await;
    git_ok(&work, &["push", "-q", "origin", "HEAD:main", "HEAD:refs/heads/topic", "HEAD:refs/tags/v1"]).await;
    let head = git_ok(&work, &["rev-parse", "HEAD"]).await.trim().to_owned();

    let mut seen = Vec::new();
    for _ in 0..3 {
        let Event::Push { reference, after, sender, .. } = events.recv().await.unwrap() else { panic!() };
        assert_eq!((after, sender.as_str()), (head.clone(), "sasha"));
        seen.push(reference);
    }
    seen.sort();
    assert_eq!(seen, ["refs/heads/main", "refs/heads/topic", "refs/tags/v1"]);
    let (_, activity) = fixture.call("GET", "/repos/platform/app/activity?ref=refs/heads/main", None).await;
    assert_eq!((&activity[0]["after"], &activity[0]["actor"]["login"]), (&json!(head), &json!("sasha")));

    let again = fixture.directory.path().join("again");
    git_ok(fixture.directory.path(), &["clone", "-q", "--depth=1", &remote, "again"]).await;
    assert_eq!(git_ok(&again, &["rev-parse", "HEAD"]).await.trim(), head);
    let options = git::Options { organizations: vec!["platform".into()], ..git::Options::default() };
    let path = fixture.directory.path().join("git");
    let reopened = git::Host::open(&path, fixture.keyring.clone(), options).await.unwrap();
    let hosted = reopened.repository("platform/app").unwrap();
    assert_eq!(hosted.git.tip("refs/heads/main").await.unwrap(), Some(head));
    assert!(hosted.metadata().pushed_at.is_some());
}

#[tokio::test]
async fn tokens_decide_who_may_do_what() {
    let fixture = start().await;
    fixture.create("app", true).await;
    let check = async |scopes: &[&str], clone: bool, push: bool| {
        let directory = tempfile::tempdir().unwrap();
        let remote = fixture.remote("app", &fixture.token("sasha", scopes));
        let (cloned, text) = git(directory.path(), &["clone", "-q", &remote, "work"]).await;
        assert_eq!(cloned, clone, "{scopes:?}: {text}");
        if !clone {
            return;
        }
        let work = directory.path().join("work");
        git_ok(&work, &["commit", "-q", "--allow-empty", "-m", "x"]).await;
        let (pushed, text) = git(&work, &["push", "-q", "origin", "HEAD:refs/heads/topic"]).await;
        assert_eq!(pushed, push, "{scopes:?}: {text}");
    };
    check(&[], false, false).await;
    check(&["repo:platform/other:admin"], false, false).await;
    check(&["repo:platform/app:read"], true, false).await;
    check(&["repo:platform/*:write"], true, true).await;
    let url = format!("{}/platform/app.git/info/refs?service=git-upload-pack", fixture.base);
    let response = fixture.client.get(&url).send().await.unwrap();
    assert_eq!(response.status(), 401);
    assert!(response.headers()["www-authenticate"].to_str().unwrap().starts_with("Basic"));
    let outside =
        format!("{}/platform/%2e%2e%2fplatform%2fapp.git/info/refs?service=git-upload-pack", fixture.base);
    let response =
        fixture.client.get(&outside).bearer_auth(fixture.token("sasha", &["*"])).send().await.unwrap();
    assert_eq!(response.status(), 404);
}

#[tokio::test]
async fn a_protected_branch_keeps_its_history() {
    let fixture = start().await;
    fixture.create("app", true).await;
    let (status, _) =
        fixture.call("PUT", "/repos/platform/app/branches/main/protection", Some(json!({}))).await;
    assert_eq!(status, 200);
    let remote = fixture.remote("app", &fixture.token("sasha", &["*"]));
    git_ok(fixture.directory.path(), &["clone", "-q", &remote, "work"]).await;
    let work = fixture.directory.path().join("work");
    git_ok(&work, &["commit", "-q", "--amend", "-m", "rewritten"]).await;
    let (pushed, text) = git(&work, &["push", "-q", "--force", "origin", "HEAD:main", "HEAD:other"]).await;
    assert!(!pushed && text.contains("protected branch: refs/heads/main cannot be force-pushed"), "{text}");
    let (pushed, text) = git(&work, &["push", "-q", "origin", ":main"]).await;
    assert!(!pushed && text.contains("main"), "{text}");
    // The other branch of the same push is there, and may be rewritten.
    git_ok(&work, &["commit", "-q", "--amend", "-m", "rewritten again"]).await;
    git_ok(&work, &["push", "-q", "--force", "origin", "HEAD:other"]).await;
    git_ok(&work, &["reset", "-q", "--hard", "origin/main"]).await;
    git_ok(&work, &["commit", "-q", "--allow-empty", "-m", "forward"]).await;
    git_ok(&work, &["push", "-q", "origin", "HEAD:main"]).await;
}

#[tokio::test]
async fn of_concurrent_pushes_to_one_branch_one_wins_and_none_is_lost() {
    let fixture = start().await;
    fixture.create("app", true).await;
    let remote = fixture.remote("app", &fixture.token("sasha", &["*"]));
    let writer = |number: usize| {
        let (directory, remote) = (fixture.directory.path().to_path_buf(), remote.clone());
        async move {
            let name = format!("work-{number}");
            git_ok(&directory, &["clone", "-q", &remote, &name]).await;
            let work = directory.join(&name);
            std::fs::write(work.join(&name), "x").unwrap();
            git_ok(&work, &["add", "."]).await;
            git_ok(&work, &["commit", "-qm", &name]).await;
            for _ in 0..20 {
                if git(&work, &["push", "-q", "origin", "HEAD:main"]).await.0 {
                    return;
                }
                git_ok(&work, &["pull", "-q", "--rebase", "origin", "main"]).await;
            }
            panic!("{name} never got in");
        }
    };
    futures::future::join_all((0..5).map(writer)).await;
    let hosted = fixture.host.repository("platform/app").unwrap();
    assert_eq!(hosted.git.read_tree("main", "", false).await.unwrap().len(), 6);
}

#[tokio::test]
async fn a_checkout_keeps_its_credentials_for_a_later_push() {
    use git::checkout::{Checkout, checkout};
    let fixture = start().await;
    fixture.create("app", true).await;
    let token = fixture.token("system:pipelines", &["repo:platform/app:write"]);
    let url = format!("{}/platform/app.git", fixture.base);
    let hosted = fixture.host.repository("platform/app").unwrap();
    let tip = hosted.git.tip("refs/heads/main").await.unwrap().unwrap();
    hosted.git.tag("v1", &tip, None).await.unwrap();
    for (revision, given, depth, branch) in [
        (None, None, 1, "main"),
        (Some("main"), None, 0, "main"),
        (Some("refs/heads/main"), None, 1, "main"),
        (Some("v1"), None, 0, ""),
        (Some("refs/tags/v1"), None, 1, ""),
        (Some(tip.as_str()), None, 1, ""),
        (Some(tip.as_str()), Some("main"), 0, "main"),
    ] {
        let directory = format!("work-{}-{depth}", revision.unwrap_or("none").replace('/', "-"));
        let work = fixture.directory.path().join(directory);
        let persist_credentials = true;
        let what =
            Checkout { url: &url, token: Some(&token), revision, branch: given, depth, persist_credentials };
        assert_eq!(checkout(&work, &what).await.unwrap(), tip, "{revision:?}");
        assert!(work.join("README.md").exists());
        assert_eq!(git_ok(&work, &["branch", "--show-current"]).await.trim(), branch, "{revision:?}");
        git_ok(&work, &["commit", "-q", "--allow-empty", "-m", "x"]).await;
        let target = format!("HEAD:refs/heads/x-{depth}-{}", revision.map_or(0, str::len));
        git_ok(&work, &["push", "-q", "origin", &target]).await;
    }
}

#[tokio::test]
async fn the_first_branch_becomes_the_default_one() {
    let fixture = start().await;
    fixture.create("app", false).await;
    let work = fixture.directory.path().join("work");
    std::fs::create_dir(&work).unwrap();
    git_ok(&work, &["init", "-q", "-b", "trunk"]).await;
    git_ok(&work, &["commit", "-q", "--allow-empty", "-m", "first"]).await;
    let remote = fixture.remote("app", &fixture.token("sasha", &["*"]));
    git_ok(&work, &["push", "-q", &remote, "trunk"]).await;
    assert_eq!(fixture.call("GET", "/repos/platform/app", None).await.1["default_branch"], "trunk");
    git_ok(fixture.directory.path(), &["clone", "-q", &remote, "again"]).await;
    let again = fixture.directory.path().join("again");
    assert_eq!(git_ok(&again, &["branch", "--show-current"]).await.trim(), "trunk");
    // A second branch changes nothing.
    git_ok(&work, &["push", "-q", &remote, "trunk:other"]).await;
    assert_eq!(fixture.call("GET", "/repos/platform/app", None).await.1["default_branch"], "trunk");
}
