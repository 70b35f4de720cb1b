//! The event stream that other parts listen to.

use std::time::Duration;

use futures::StreamExt as _;
use git::Event;
use serde_json::json;

use crate::fixture::start;

#[tokio::test]
async fn a_listener_sees_what_it_may_read() {
    let fixture = start().await;
    fixture.create("app", true).await;
    fixture.create("hidden", true).await;
    let token = fixture.token("system:gitops", &["repo:platform/app:read"]);
    let mut hints = Box::pin(git::hints::listen(&fixture.base, &token));
    // Nothing says when the listener is connected, so events are made until one arrives.
    let first = async {
        loop {
            fixture.call("PUT", "/repos/platform/hidden/topics", Some(json!({ "names": ["x"] }))).await;
            fixture.call("PUT", "/repos/platform/app/topics", Some(json!({ "names": ["a"] }))).await;
            fixture.call("PUT", "/repos/platform/app/topics", Some(json!({ "names": ["b"] }))).await;
            if let Ok(event) = tokio::time::timeout(Duration::from_millis(200), hints.next()).await {
                return event.unwrap();
            }
        }
    };
    let event = tokio::time::timeout(Duration::from_secs(20), first).await.unwrap();
    let Event::Repository { repository, action, sender, .. } = event else { panic!("{event:?}") };
    assert_eq!((repository.as_str(), action.as_str(), sender.as_str()), ("platform/app", "edited", "sasha"));
    let inputs = json!({ "ref": "main", "inputs": { "level": "high" } });
    let path = "/repos/platform/app/actions/workflows/ci.yaml/dispatches";
    assert_eq!(fixture.call("POST", path, Some(inputs)).await.0, 204);
    let dispatch = async {
        loop {
            if let Some(Event::Dispatch { workflow, reference, inputs, .. }) = hints.next().await {
                return (workflow, reference, inputs);
            }
        }
    };
    let (workflow, reference, inputs) =
        tokio::time::timeout(Duration::from_secs(20), dispatch).await.unwrap();
    assert_eq!((workflow.as_deref(), reference.as_str()), (Some("ci.yaml"), "refs/heads/main"));
    assert_eq!(inputs, json!({ "level": "high" }));
}
