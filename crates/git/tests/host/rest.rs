//! GitHub's REST API as its clients use it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::fixture::{Fixture, start};

async fn put(fixture: &Fixture, path: &str, text: &str, sha: Option<&str>) -> (u16, Value) {
    let body = json!({ "message": format!("write {path}"), "content": STANDARD.encode(text), "sha": sha });
    fixture.call("PUT", &format!("/repos/platform/app/contents/{path}"), Some(body)).await
}

#[tokio::test]
async fn repositories_are_created_listed_edited_and_removed() {
    let fixture = start().await;
    let (status, answer) = fixture.call("GET", "/users/platform", None).await;
    assert_eq!((status, &answer["type"]), (200, &json!("Organization")));
    for name in ["a", "b", "c"] {
        fixture.create(name, false).await;
    }
    let taken = fixture.call("POST", "/orgs/platform/repos", Some(json!({ "name": "A" }))).await;
    assert_eq!(
        (taken.0, &taken.1["errors"][0]["message"]),
        (422, &json!("name already exists on this account"))
    );
    let bad = fixture.call("POST", "/orgs/platform/repos", Some(json!({ "name": "../x" }))).await;
    assert_eq!((bad.0, &bad.1["errors"][0]["field"]), (422, &json!("name")));

    let url = format!("{}/api/v3/orgs/platform/repos?per_page=2", fixture.base);
    let response = fixture.client.get(&url).bearer_auth(fixture.token("x", &["*"])).send().await.unwrap();
    let link = response.headers()["link"].to_str().unwrap().to_owned();
    let next = format!("<{}/api/v3/orgs/platform/repos?per_page=2&page=2>; rel=\"next\"", fixture.base);
    assert!(link.contains(&next), "{link}");
    assert_eq!(response.json::<Value>().await.unwrap().as_array().unwrap().len(), 2);

    let (_, falling) = fixture.call("GET", "/orgs/platform/repos?sort=full_name&direction=desc", None).await;
    assert_eq!((&falling[0]["name"], &falling[2]["name"]), (&json!("c"), &json!("a")));
    let edit = json!({ "description": "An app", "default_branch": "trunk" });
    let (status, answer) = fixture.call("PATCH", "/repos/platform/a", Some(edit)).await;
    assert_eq!(
        (status, &answer["description"], &answer["default_branch"]),
        (200, &json!("An app"), &json!("trunk"))
    );
    let topics = json!({ "names": ["Flux-Managed", "node"] });
    let (status, answer) = fixture.call("PUT", "/repos/platform/a/topics", Some(topics)).await;
    assert_eq!((status, answer), (200, json!({ "names": ["flux-managed", "node"] })));
    let found = fixture.call("GET", "/search/repositories?q=topic:flux-managed+org:platform", None).await.1;
    assert_eq!((&found["total_count"], &found["items"][0]["name"]), (&json!(1), &json!("a")));
    assert_eq!(fixture.call("DELETE", "/repos/platform/a", None).await.0, 204);
    assert_eq!(fixture.call("GET", "/repos/platform/a", None).await.0, 404);
    assert_eq!(fixture.call("GET", "/nothing/here", None).await.1["message"], "Not Found");
    assert!(!fixture.directory.path().join("git/platform/a.git").exists());
}

#[tokio::test]
async fn what_a_token_does_not_cover_is_hidden_or_refused() {
    let fixture = start().await;
    fixture.create("app", true).await;
    let reader = fixture.token("allison", &["repo:platform/app:read"]);
    let stranger = fixture.token("eve", &["repo:platform/other:admin"]);
    assert_eq!(fixture.call_as(&stranger, "GET", "/repos/platform/app", None).await.0, 404);
    let (status, answer) = fixture.call_as(&reader, "GET", "/repos/platform/app", None).await;
    assert_eq!((status, &answer["permissions"]["push"]), (200, &json!(false)));
    let topics = Some(json!({ "names": [] }));
    assert_eq!(fixture.call_as(&reader, "PUT", "/repos/platform/app/topics", topics).await.0, 403);
    assert_eq!(fixture.call_as(&reader, "DELETE", "/repos/platform/app", None).await.0, 403);
    let new = Some(json!({ "name": "mine" }));
    assert_eq!(fixture.call_as(&reader, "POST", "/orgs/platform/repos", new).await.0, 403);
    assert_eq!(fixture.call_as("nonsense", "GET", "/user", None).await.0, 401);
}

#[tokio::test]
async fn files_are_written_with_a_check_of_what_they_replace() {
    let fixture = start().await;
    fixture.create("app", false).await;
    let (status, answer) = put(&fixture, "dir/a.txt", "one\n", None).await;
    assert_eq!(status, 201, "{answer}");
    let sha = answer["content"]["sha"].as_str().unwrap().to_owned();
    assert_eq!(put(&fixture, "dir/a.txt", "two\n", None).await.0, 422);
    assert_eq!(put(&fixture, "dir/a.txt", "two\n", Some(&"1".repeat(40))).await.0, 409);
    let (status, answer) = put(&fixture, "dir/a.txt", "two\n", Some(&sha)).await;
    assert_eq!((status, &answer["commit"]["author"]["name"]), (200, &json!("Name of sasha")));
    assert_eq!(put(&fixture, "../x", "x", None).await.0, 404);
    assert_eq!(put(&fixture, ".git/config", "x", None).await.0, 422);

    let (_, file) = fixture.call("GET", "/repos/platform/app/contents/dir/a.txt", None).await;
    assert_eq!((&file["type"], &file["content"]), (&json!("file"), &json!("dHdvCg==\n")));
    let (_, list) = fixture.call("GET", "/repos/platform/app/contents/dir", None).await;
    assert_eq!((&list[0]["path"], &list[0]["type"]), (&json!("dir/a.txt"), &json!("file")));
    let url = format!("{}/api/v3/repos/platform/app/contents/dir/a.txt?ref=main", fixture.base);
    let raw = fixture.client.get(&url).bearer_auth(fixture.token("x", &["*"]));
    let raw = raw.header("accept", "application/vnd.github.raw").send().await.unwrap();
    assert_eq!(raw.text().await.unwrap(), "two\n");
    let removal = json!({ "message": "bye", "sha": file["sha"] });
    assert_eq!(fixture.call("DELETE", "/repos/platform/app/contents/dir/a.txt", Some(removal)).await.0, 200);
    assert_eq!(fixture.call("GET", "/repos/platform/app/contents/dir/a.txt", None).await.0, 404);
}

#[tokio::test]
async fn history_is_listed_compared_and_shown_with_patches() {
    let fixture = start().await;
    fixture.create("app", true).await;
    put(&fixture, "a.txt", "one\n", None).await;
    put(&fixture, "b.txt", "two\n", None).await;
    let (_, list) = fixture.call("GET", "/repos/platform/app/commits?per_page=2", None).await;
    assert_eq!(list[0]["commit"]["message"], "write b.txt");
    let head = list[0]["sha"].as_str().unwrap();
    let (_, one) = fixture.call("GET", &format!("/repos/platform/app/commits/{head}"), None).await;
    assert_eq!(
        (&one["files"][0]["patch"], &one["stats"]["total"]),
        (&json!("@@ -0,0 +1 @@\n+two"), &json!(1))
    );
    let (_, of_path) = fixture.call("GET", "/repos/platform/app/commits?path=a.txt", None).await;
    assert_eq!(of_path.as_array().unwrap().len(), 1);
    let (_, compared) = fixture.call("GET", "/repos/platform/app/compare/main~2...main", None).await;
    assert_eq!((&compared["status"], &compared["ahead_by"]), (&json!("ahead"), &json!(2)));
    assert_eq!(compared["files"].as_array().unwrap().len(), 2);
    let (_, branch) = fixture.call("GET", "/repos/platform/app/branches/main", None).await;
    assert_eq!((&branch["commit"]["sha"], &branch["protected"]), (&json!(head), &json!(false)));
    assert_eq!(fixture.call("GET", "/repos/platform/app/commits/nope", None).await.0, 404);
    let url = format!("{}/api/v3/repos/platform/app/tarball/main", fixture.base);
    let tarball = fixture.client.get(&url).bearer_auth(fixture.token("x", &["*"])).send().await.unwrap();
    assert_eq!(&tarball.bytes().await.unwrap()[..2], [0x1f, 0x8b]);
}

#[tokio::test]
async fn a_commit_can_be_built_from_objects() {
    let fixture = start().await;
    fixture.create("app", true).await;
    let api = |path: &str| format!("/repos/platform/app/git{path}");
    let (_, main) = fixture.call("GET", &api("/ref/heads/main"), None).await;
    let parent = main["object"]["sha"].clone();
    let blob = json!({ "content": "aGk=", "encoding": "base64" });
    let (_, blob) = fixture.call("POST", &api("/blobs"), Some(blob)).await;
    let tree = json!({ "base_tree": parent, "tree": [
        { "path": "bin/run", "mode": "100755", "type": "blob", "sha": blob["sha"] },
        { "path": "text", "mode": "100644", "type": "blob", "content": "inline" },
        { "path": "README.md", "mode": "100644", "type": "blob", "sha": null },
    ]});
    let (status, tree) = fixture.call("POST", &api("/trees"), Some(tree)).await;
    assert_eq!(status, 201, "{tree}");
    let commit = json!({ "message": "built", "tree": tree["sha"], "parents": [parent] });
    let (_, commit) = fixture.call("POST", &api("/commits"), Some(commit)).await;
    let new = json!({ "ref": "refs/heads/built", "sha": commit["sha"] });
    assert_eq!(fixture.call("POST", &api("/refs"), Some(new.clone())).await.0, 201);
    let moved = fixture.call("PATCH", &api("/refs/heads/built"), Some(json!({ "sha": parent }))).await;
    assert_eq!((moved.0, &moved.1["message"]), (422, &json!("Update is not a fast forward")));
    let (_, tree) = fixture.call("GET", &api("/trees/built?recursive=1"), None).await;
    let paths: Vec<&str> =
        tree["tree"].as_array().unwrap().iter().map(|e| e["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["bin/run", "text"]);
    assert_eq!(fixture.call("DELETE", &api("/refs/heads/built"), None).await.0, 204);
    assert_eq!(fixture.call("DELETE", &api("/refs/heads/main"), None).await.0, 422);
}

#[tokio::test]
async fn statuses_are_kept_per_context_and_summed() {
    let fixture = start().await;
    fixture.create("app", true).await;
    let sha = fixture.host.repository("platform/app").unwrap().git.resolve("main").await.unwrap();
    let runner = fixture.token("system:pipelines", &["repo:platform/app:read", "status:platform/app:write"]);
    let path = format!("/repos/platform/app/statuses/{sha}");
    let combined = format!("/repos/platform/app/commits/{sha}/status");
    assert_eq!(fixture.call("GET", &combined, None).await.1["state"], "pending");
    for (context, state, sum) in [
        ("ci / test", "pending", "pending"),
        ("ci / test", "success", "success"),
        ("ci / build", "failure", "failure"),
    ] {
        let body = json!({ "state": state, "context": context, "target_url": "http://portal/runs/1" });
        assert_eq!(fixture.call_as(&runner, "POST", &path, Some(body)).await.0, 201);
        assert_eq!(fixture.call("GET", &combined, None).await.1["state"], sum);
    }
    let (_, all) = fixture.call("GET", "/repos/platform/app/commits/main/statuses", None).await;
    assert_eq!((all.as_array().unwrap().len(), &all[0]["context"]), (3, &json!("ci / build")));
    assert_eq!(fixture.call("POST", &path, Some(json!({ "state": "fine" }))).await.0, 422);
}
