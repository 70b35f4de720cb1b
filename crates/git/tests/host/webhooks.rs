//! Webhooks: signed, tried again, and without their secret in any answer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::fixture::start;

type Received = (HeaderMap, Bytes);

/// A receiver that fails its first request.
async fn receiver() -> (String, mpsc::UnboundedReceiver<Received>) {
    let (sender, received) = mpsc::unbounded_channel();
    let failures = Arc::new(Mutex::new(1));
    let handler = move |headers: HeaderMap, body: Bytes| async move {
        let mut failures = failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        sender.send((headers, body)).unwrap();
        StatusCode::OK
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/hook", axum::routing::post(handler));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, received)
}

#[tokio::test]
async fn a_push_is_delivered_with_a_signature() {
    let fixture = start().await;
    fixture.create("app", true).await;
    let (url, mut received) = receiver().await;
    let hook = json!({ "name": "web", "events": ["push", "create"],
        "config": { "url": url, "content_type": "json", "secret": "s3cret" } });
    let (status, hook) = fixture.call("POST", "/repos/platform/app/hooks", Some(hook)).await;
    assert_eq!((status, &hook["config"]["secret"]), (201, &json!("********")));

    let content = json!({ "message": "hello", "content": "aGk=", "branch": "topic" });
    let (status, _) = fixture.call("PUT", "/repos/platform/app/contents/x", Some(content)).await;
    assert_eq!(status, 201);
    let mut events = Vec::new();
    for _ in 0..2 {
        let (headers, body) =
            tokio::time::timeout(Duration::from_secs(20), received.recv()).await.unwrap().unwrap();
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"s3cret");
        let tag = aws_lc_rs::hmac::sign(&key, &body);
        let tag: String = tag.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(headers["x-hub-signature-256"], format!("sha256={tag}"));
        let payload: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(payload["repository"]["full_name"], "platform/app");
        events.push((headers["x-github-event"].to_str().unwrap().to_owned(), payload));
    }
    events.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!((events[0].0.as_str(), &events[0].1["ref"]), ("create", &json!("topic")));
    let push = &events[1].1;
    assert_eq!(
        (&push["ref"], &push["created"], &push["forced"]),
        (&json!("refs/heads/topic"), &json!(true), &json!(false))
    );
    assert_eq!(
        (&push["head_commit"]["message"], &push["head_commit"]["added"]),
        (&json!("hello"), &json!(["x"]))
    );

    let id = hook["id"].as_u64().unwrap();
    let path = format!("/repos/platform/app/hooks/{id}");
    assert_eq!(fixture.call("PATCH", &path, Some(json!({ "active": false }))).await.1["active"], false);
    assert_eq!(fixture.call("DELETE", &path, None).await.0, 204);
    assert_eq!(fixture.call("GET", &path, None).await.0, 404);
}
