//! What a server does by itself: it deletes the objects of deleted definitions, and events that nobody will read any more.

use std::sync::{Arc, Weak};
use std::time::Duration;

use object::{kinds, meta};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::api::Api;
use crate::catalog::{Kind, collection};
use crate::custom::CLEANUP;
use crate::error::ApiError;
use crate::http::request::Info;
use crate::http::write::{self, Options, Part, Validation};
use crate::http::{Context, delete};

/// Kubernetes keeps events for an hour after their last change.
const EVENT_LIFETIME_S: i64 = 3600;
const EVENTS_EVERY: Duration = Duration::from_secs(300);
/// How soon a definition whose objects have finalizers is looked at again.
const DEFINITIONS_AGAIN: Duration = Duration::from_secs(1);

/// Starts the work; it ends with the server.
pub(crate) fn start(api: &Arc<Api>) {
    let closing = api.closing.clone();
    let definitions = collection(&kinds::CUSTOM_RESOURCE_DEFINITION);
    let Ok(mut changes) = api.store.watch(&definitions, "", api.store.revision()) else { return };
    let api: Weak<Api> = Arc::downgrade(api);
    tokio::spawn(async move {
        let mut next_events = Instant::now() + EVENTS_EVERY;
        let mut again = Instant::now();
        loop {
            tokio::select! {
                () = closing.cancelled() => return,
                seen = changes.next() => if seen.is_err() {
                    // It fell behind the window: what matters is the present state, which is read below.
                    let Some(api) = api.upgrade() else { return };
                    let Ok(fresh) = api.store.watch(&definitions, "", api.store.revision()) else { return };
                    changes = fresh;
                },
                () = sleep_until(again.min(next_events)) => {}
            }
            let Some(api) = api.upgrade() else { return };
            if Instant::now() >= next_events {
                next_events = Instant::now() + EVENTS_EVERY;
                expire_events(&api, jiff::Timestamp::now().as_second()).await;
            }
            let waiting = clean_definitions(&api).await;
            again = if waiting { Instant::now() + DEFINITIONS_AGAIN } else { next_events };
        }
    });
}

fn context(api: &Arc<Api>, verb: &'static str, namespace: &str, name: &str) -> Context {
    let info = Info { verb, namespace: namespace.to_owned(), name: name.to_owned(), ..Info::default() };
    Context::internal(api, info)
}

/// Removes the objects of each definition that is being deleted, then the definition. True if some are held by finalizers.
async fn clean_definitions(api: &Arc<Api>) -> bool {
    let mut waiting = false;
    for definition in api.definitions() {
        if !meta::is_being_deleted(&definition) || !meta::has_finalizer(&definition, CLEANUP) {
            continue;
        }
        match clean_definition(api, &definition).await {
            Ok(done) => waiting |= !done,
            Err(error) => {
                tracing::warn!(definition = meta::name(&definition), %error, "its objects could not be deleted yet");
                waiting = true;
            }
        }
    }
    waiting
}

async fn clean_definition(api: &Arc<Api>, definition: &Value) -> Result<bool, ApiError> {
    let spec = &definition["spec"];
    let (group, plural) =
        (spec["group"].as_str().unwrap_or_default(), spec["names"]["plural"].as_str().unwrap_or_default());
    let catalog = api.catalog();
    let kind = catalog.kinds.iter().find(|k| k.resource.group == group && k.resource.plural == plural);
    if let Some(kind) = kind {
        for (_, entry) in api.store.list(&kind.collection, "").items {
            let object = crate::convert::parse(&entry.value);
            if !meta::is_being_deleted(&object) {
                remove(api, kind, &object).await?;
            }
        }
        if api.store.count(&kind.collection) > 0 {
            return Ok(false);
        }
    }
    let r = kinds::CUSTOM_RESOURCE_DEFINITION;
    let Some(kind) = catalog.find(&r.group, &r.version, &r.plural) else { return Ok(true) };
    let cx = context(api, "update", "", meta::name(definition));
    let make = |old: &Value| {
        let mut new = old.clone();
        let left: Vec<Value> = meta::finalizers(old).filter(|f| *f != CLEANUP).map(Value::from).collect();
        new["metadata"]["finalizers"] = left.into();
        Ok(new)
    };
    let options = Options {
        dry_run: false,
        manager: "kube-apiserver".into(),
        validation: Validation::Ignore,
        force: false,
    };
    write::modify(&cx, kind, meta::name(definition), Part::Through("finalize"), &options, false, make)
        .await?;
    Ok(true)
}

async fn remove(api: &Arc<Api>, kind: &Kind, object: &Value) -> Result<(), ApiError> {
    let cx = context(api, "delete", meta::namespace(object), meta::name(object));
    match delete::remove(&cx, kind, meta::name(object)).await {
        Err(error) if error.code != http::StatusCode::NOT_FOUND => Err(error),
        _ => Ok(()),
    }
}

/// Deletes events whose last change is an hour ago.
async fn expire_events(api: &Arc<Api>, now_s: i64) {
    let catalog = api.catalog();
    let Some(kind) = catalog.find("", "v1", "events") else { return };
    for (_, entry) in api.store.list(&kind.collection, "").items {
        let event = crate::convert::parse(&entry.value);
        if last_change_s(&event).is_some_and(|at| now_s - at > EVENT_LIFETIME_S)
            && let Err(error) = remove(api, kind, &event).await
        {
            tracing::debug!(%error, "an old event could not be deleted");
        }
    }
}

fn last_change_s(event: &Value) -> Option<i64> {
    let times = [
        &event["lastTimestamp"],
        &event["eventTime"],
        &event["series"]["lastObservedTime"],
        &event["metadata"]["creationTimestamp"],
    ];
    let seconds = |v: &&Value| v.as_str()?.parse::<jiff::Timestamp>().ok().map(|t| t.as_second());
    times.iter().filter_map(seconds).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_lives_from_its_last_change() {
        let check =
            |event: Value, expected: Option<i64>| assert_eq!(last_change_s(&event), expected, "{event}");
        check(json!({"metadata": {"creationTimestamp": "1970-01-01T00:00:10Z"}}), Some(10));
        check(
            json!({"metadata": {"creationTimestamp": "1970-01-01T00:00:10Z"}, "lastTimestamp": "1970-01-01T00:01:00Z"}),
            Some(60),
        );
        check(json!({"eventTime": "1970-01-01T00:00:05.000000Z", "lastTimestamp": null}), Some(5));
        check(json!({}), None);
    }
}
