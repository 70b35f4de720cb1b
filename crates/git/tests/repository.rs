//! Reading and writing repositories without a work tree.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test, whatever goes wrong ends it")]

use git::repository::Log;
use git::{Change, Error, NewCommit, Repository, Signature};

fn commit(parent: Option<&str>, message: &str, changes: &[(&str, Option<&str>)]) -> NewCommit {
    let sasha = Signature::now("Sasha <Dev>", "sasha@example.com");
    let change =
        |content: &Option<&str>| content.map_or(Change::Delete, |text| Change::file(text.to_owned()));
    NewCommit {
        reference: "refs/heads/main".into(),
        parent: parent.map(Into::into),
        changes: changes.iter().map(|(path, content)| ((*path).to_owned(), change(content))).collect(),
        author: sasha.clone(),
        committer: sasha,
        message: message.into(),
    }
}

async fn repository() -> (tempfile::TempDir, Repository) {
    let directory = tempfile::tempdir().unwrap();
    let repository = Repository::open_or_create(&directory.path().join("r.git")).await.unwrap();
    (directory, repository)
}

#[tokio::test]
async fn a_commit_is_read_back_as_it_was_written() {
    let (_keep, git) = repository().await;
    let odd = "dir/a \"quoted\" é file.txt";
    let first = git
        .commit(&commit(None, "first\n\nbody", &[("a.txt", Some("one\n")), (odd, Some("x"))]))
        .await
        .unwrap();
    let mut second = commit(Some(&first), "second", &[("a.txt", Some("one\ntwo\n")), (odd, None)]);
    second.changes.insert("run.sh".into(), Change::Write { content: "#!/bin/sh\n".into(), executable: true });
    second.changes.insert("link".into(), Change::Link { target: "a.txt".into() });
    let second = git.commit(&second).await.unwrap();

    let files = git.read_files(&first, "").await.unwrap();
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["a.txt", odd]);
    let files = git.read_files("main", "").await.unwrap();
    let shown: Vec<(&str, &str)> =
        files.iter().map(|file| (file.path.as_str(), file.mode.as_str())).collect();
    assert_eq!(shown, [("a.txt", "100644"), ("link", "120000"), ("run.sh", "100755")]);
    assert_eq!(git.read_file("main", "a.txt").await.unwrap(), "one\ntwo\n");
    assert!(matches!(git.read_file("main", "b.txt").await, Err(Error::NotFound(_))));

    let log = git.log(&Log { revision: "main", ..Log::default() }).await.unwrap();
    assert_eq!(log.iter().map(|c| c.message.as_str()).collect::<Vec<_>>(), ["second", "first\n\nbody"]);
    assert_eq!(log[0].parents, std::slice::from_ref(&first));
    assert_eq!(log[0].author.name, "Sasha  Dev");
    let diff = git.diff(Some(&first), &second).await.unwrap();
    let shown: Vec<_> = diff.iter().map(|f| (f.path.as_str(), f.status, f.additions, f.deletions)).collect();
    let expected = [
        ("a.txt", "modified", 1, 0),
        (odd, "removed", 0, 1),
        ("link", "added", 1, 0),
        ("run.sh", "added", 1, 0),
    ];
    assert_eq!(shown, expected);
    assert_eq!(diff[0].patch.as_deref(), Some("@@ -1 +1,2 @@\n one\n+two"));
}

#[tokio::test]
async fn a_stale_parent_loses() {
    let (_keep, git) = repository().await;
    let first = git.commit(&commit(None, "first", &[("a", Some("1"))])).await.unwrap();
    let taken = git.commit(&commit(None, "again", &[("a", Some("2"))])).await;
    assert!(matches!(taken, Err(Error::Conflict { .. })), "{taken:?}");
    let second = git.commit(&commit(Some(&first), "second", &[("a", Some("2"))])).await.unwrap();
    let stale = git.commit(&commit(Some(&first), "stale", &[("a", Some("3"))])).await;
    assert!(matches!(stale, Err(Error::Conflict { .. })), "{stale:?}");
    assert_eq!(git.tip("refs/heads/main").await.unwrap(), Some(second.clone()));
    let same = git.commit(&commit(Some(&second), "same", &[("a", Some("2"))])).await;
    assert!(matches!(same, Err(Error::NothingToCommit)), "{same:?}");
    let outside = git.commit(&commit(Some(&second), "outside", &[("../a", Some("2"))])).await;
    assert!(matches!(outside, Err(Error::Invalid(_))), "{outside:?}");
}

#[tokio::test]
async fn of_twenty_writers_at_once_each_commit_stays() {
    let (_keep, git) = repository().await;
    git.commit(&commit(None, "first", &[("a", Some("1"))])).await.unwrap();
    let writer = |number: usize| {
        let git = git.clone();
        async move {
            let path = format!("file-{number}");
            loop {
                let tip = git.tip("refs/heads/main").await.unwrap();
                match git.commit(&commit(tip.as_deref(), "write", &[(&path, Some("x"))])).await {
                    Ok(_) => return,
                    Err(Error::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    };
    futures::future::join_all((0..20).map(writer)).await;
    assert_eq!(git.read_files("main", "").await.unwrap().len(), 21);
}

#[tokio::test]
async fn a_revert_undoes_one_commit_and_keeps_later_ones() {
    let (_keep, git) = repository().await;
    let rachel = Signature::now("Rachel", "rachel@example.com");
    let first = git.commit(&commit(None, "first", &[("a", Some("1\n")), ("b", Some("1\n"))])).await.unwrap();
    let second = git.commit(&commit(Some(&first), "change a", &[("a", Some("2\n"))])).await.unwrap();
    let third = git.commit(&commit(Some(&second), "change b", &[("b", Some("2\n"))])).await.unwrap();
    git.revert("refs/heads/main", &second, &rachel).await.unwrap();
    assert_eq!(git.read_file("main", "a").await.unwrap(), "1\n");
    assert_eq!(git.read_file("main", "b").await.unwrap(), "2\n");
    let newest = git.commit_at("main").await.unwrap();
    assert_eq!(newest.message, format!("Revert \"change a\"\n\nThis reverts commit {second}."));
    assert_eq!((newest.author.name.as_str(), newest.parents.as_slice()), ("Rachel", [third].as_slice()));
    let again = git.revert("refs/heads/main", &second, &rachel).await;
    assert!(matches!(again, Err(Error::NothingToCommit)), "{again:?}");
    let tip = git.tip("refs/heads/main").await.unwrap();
    git.commit(&commit(tip.as_deref(), "b again", &[("b", Some("3\n"))])).await.unwrap();
    let conflict = git.revert("refs/heads/main", "main~2", &rachel).await;
    assert!(matches!(conflict, Err(Error::NothingToCommit | Error::Merge(_))), "{conflict:?}");
}

#[tokio::test]
async fn tags_and_archives() {
    let (_keep, git) = repository().await;
    let first = git.commit(&commit(None, "first", &[("dir/a", Some("1"))])).await.unwrap();
    git.tag("light", "main", None).await.unwrap();
    let rachel = Signature::now("Rachel", "rachel@example.com");
    let id = git.tag("v1.0.0", &first, Some((&rachel, "The first release"))).await.unwrap();
    assert_ne!(id, first);
    assert_eq!(git.resolve("v1.0.0").await.unwrap(), first);
    assert!(matches!(git.tag("v1.0.0", &first, None).await, Err(Error::Conflict { .. })));
    let tar = git.archive("v1.0.0", "app").await.unwrap();
    assert!(tar.windows(9).any(|w| w == b"app/dir/a"));
}

#[tokio::test]
async fn a_cache_follows_its_remote() {
    let (_keep, git) = repository().await;
    let (_keep_too, cache) = repository().await;
    let first = git.commit(&commit(None, "first", &[("a", Some("1"))])).await.unwrap();
    git.update_ref("refs/heads/gone", &first, git::write::ZERO).await.unwrap();
    let url = git.path().to_str().unwrap().to_owned();
    let all = ["+refs/heads/*:refs/heads/*"];
    cache.fetch(&url, None, &all).await.unwrap();
    assert_eq!(cache.refs("refs/heads/").await.unwrap().len(), 2);
    git.update_ref("refs/heads/gone", git::write::ZERO, &first).await.unwrap();
    cache.fetch(&url, None, &all).await.unwrap();
    assert_eq!(
        cache.refs("refs/").await.unwrap(),
        git::repository::remote_refs(&url, None, "refs/heads/*").await.unwrap()
    );
    assert!(matches!(cache.fetch("ext::sh -c true", None, &all).await, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn tidying_keeps_everything() {
    let (_keep, git) = repository().await;
    // Many blobs in one commit are many loose objects.
    let mut many = commit(None, "many", &[]);
    many.changes = (0..90).map(|n| (format!("file-{n}"), Change::file(format!("content {n}")))).collect();
    git.commit(&many).await.unwrap();
    git.tidy().await.unwrap();
    assert_eq!(git.read_files("main", "").await.unwrap().len(), 90);
}
