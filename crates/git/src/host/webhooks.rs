//! Webhook deliveries: GitHub's events and headers, signed, retried a few times, bounded. A receiver that is down for
//! longer misses events, as it would with GitHub; that is why receivers poll too.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use super::metadata::Webhook;
use super::{Host, Hosted};
use crate::http::shapes;
use crate::repository::Log;
use crate::write::ZERO;
use crate::{Error, Event};

/// Events that wait for their payload; more than this many at once are a storm, of which the rest is dropped.
const QUEUE_LIMIT: usize = 1024;
/// Deliveries under way at once.
const DELIVERY_LIMIT: usize = 16;
/// GitHub gives a receiver ten seconds too.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Waits before each further try.
const RETRIES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(10), Duration::from_secs(30)];
/// Commits in a push payload, as on GitHub.
const COMMIT_LIMIT: usize = 20;

struct Job {
    host: Host,
    hosted: Arc<Hosted>,
    event: Event,
}

/// Takes events; one task makes payloads, in order, and delivers.
pub(crate) struct Sender(mpsc::Sender<Job>);

/// Starts the task; it ends when the sender is dropped.
pub(crate) fn start() -> Result<Sender, Error> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(DELIVERY_TIMEOUT)
        .user_agent("portolan-hookshot")
        .build();
    let client = client.map_err(|error| Error::Invalid(format!("cannot make an HTTP client: {error}")))?;
    let (sender, mut jobs) = mpsc::channel::<Job>(QUEUE_LIMIT);
    tokio::spawn(async move {
        let slots = Arc::new(Semaphore::new(DELIVERY_LIMIT));
        while let Some(job) = jobs.recv().await {
            for (hook, delivery) in prepare(&job).await {
                let Ok(slot) = slots.clone().acquire_owned().await else { return };
                let client = client.clone();
                tokio::spawn(async move {
                    send(&client, &hook, &delivery).await;
                    drop(slot);
                });
            }
        }
    });
    Ok(Sender(sender))
}

impl Sender {
    /// Queues an event for the hooks of a repository, if it has any.
    pub(crate) fn deliver(&self, host: &Host, hosted: &Arc<Hosted>, event: &Event) {
        if hosted.metadata().hooks.is_empty() {
            return;
        }
        let job = Job { host: host.clone(), hosted: hosted.clone(), event: event.clone() };
        if self.0.try_send(job).is_err() {
            tracing::warn!(repository = hosted.full_name, "webhook queue is full: an event is dropped");
        }
    }
}

struct Delivery {
    event: &'static str,
    body: Vec<u8>,
    id: String,
}

/// The deliveries of one event: a pushed ref that is new or gone is also `create` or `delete`.
async fn prepare(job: &Job) -> Vec<(Webhook, Delivery)> {
    let hooks: Vec<Webhook> = job.hosted.metadata().hooks.into_iter().filter(|hook| hook.active).collect();
    let mut deliveries = Vec::new();
    for (event, payload) in payloads(job).await {
        let body = serde_json::to_vec(&payload).unwrap_or_default();
        for hook in
            hooks.iter().filter(|hook| hook.events.iter().any(|wanted| wanted == "*" || wanted == event))
        {
            deliveries.push((
                hook.clone(),
                Delivery { event, body: body.clone(), id: delivery_id(&body, hook.id) },
            ));
        }
    }
    deliveries
}

async fn payloads(job: &Job) -> Vec<(&'static str, Value)> {
    let base = job.host.inner.options.public_url.clone().unwrap_or_else(|| "http://localhost".to_owned());
    let repository = shapes::repository(&base, &job.hosted);
    let common = |sender: &str, mut payload: Value| {
        payload["repository"] = repository.clone();
        payload["organization"] = shapes::owner(&base, job.hosted.owner());
        payload["sender"] = shapes::user(&base, sender);
        payload
    };
    match &job.event {
        Event::Push { reference, before, after, sender, .. } => {
            let mut all =
                vec![("push", common(sender, push(job, &base, reference, before, after, sender).await))];
            if let Some(payload) = created_or_deleted(reference, before, after) {
                all.push((payload.0, common(sender, payload.1)));
            }
            all
        }
        Event::Repository { action, sender, .. } => {
            vec![("repository", common(sender, json!({ "action": action })))]
        }
        Event::Status { sha, context, state, sender, .. } => {
            vec![("status", common(sender, json!({ "sha": sha, "context": context, "state": state })))]
        }
        Event::Dispatch { workflow, event_type, reference, inputs, sender, .. } => match workflow {
            Some(workflow) => {
                let payload = json!({ "workflow": workflow, "ref": reference, "inputs": inputs });
                vec![("workflow_dispatch", common(sender, payload))]
            }
            None => {
                let payload = json!({ "action": event_type, "branch": reference, "client_payload": inputs });
                vec![("repository_dispatch", common(sender, payload))]
            }
        },
    }
}

fn created_or_deleted(reference: &str, before: &str, after: &str) -> Option<(&'static str, Value)> {
    let (kind, name) = match reference.strip_prefix("refs/heads/") {
        Some(branch) => ("branch", branch),
        None => ("tag", reference.strip_prefix("refs/tags/")?),
    };
    let payload = json!({ "ref": name, "ref_type": kind });
    match (before == ZERO, after == ZERO) {
        (true, false) => Some(("create", payload)),
        (false, true) => Some(("delete", payload)),
        _ => None,
    }
}

/// The payload of a `push` event. A failed read of the history leaves the list of commits empty.
async fn push(job: &Job, base: &str, reference: &str, before: &str, after: &str, sender: &str) -> Value {
    let git = &job.hosted.git;
    let mut commits = Vec::new();
    if after != ZERO {
        let exclude = (before != ZERO).then_some(before);
        let limit = if exclude.is_some() { COMMIT_LIMIT } else { 1 };
        let log = git.log(&Log { revision: after, exclude, limit, ..Log::default() }).await;
        for commit in log.unwrap_or_default().iter().rev() {
            let parent = commit.parents.first().map(String::as_str);
            let files = git.changed_paths(parent, &commit.id).await.unwrap_or_default();
            commits.push(shapes::hook_commit(base, &job.hosted.full_name, commit, &files));
        }
    }
    let forced = before != ZERO && after != ZERO && !git.is_ancestor(before, after).await.unwrap_or(true);
    json!({
        "ref": reference,
        "before": before,
        "after": after,
        "created": before == ZERO,
        "deleted": after == ZERO,
        "forced": forced,
        "compare": format!("{base}/{}/compare/{before}...{after}", job.hosted.full_name),
        "head_commit": commits.last(),
        "commits": commits,
        "pusher": { "name": sender },
    })
}

/// Sends one delivery until it is answered with 2xx, or the tries are used up.
async fn send(client: &reqwest::Client, hook: &Webhook, delivery: &Delivery) {
    let mut waits = RETRIES.iter();
    loop {
        let problem = match request(client, hook, delivery).send().await {
            Ok(response) if response.status().is_success() => return,
            // A receiver that understands and refuses will not change its mind.
            Ok(response) if response.status().is_client_error() => {
                tracing::warn!(hook = hook.id, event = delivery.event, status = %response.status(), "webhook refused");
                return;
            }
            Ok(response) => response.status().to_string(),
            Err(error) => error.without_url().to_string(),
        };
        let Some(wait) = waits.next() else {
            tracing::warn!(hook = hook.id, event = delivery.event, problem, "webhook not delivered");
            return;
        };
        tokio::time::sleep(*wait).await;
    }
}

fn request(client: &reqwest::Client, hook: &Webhook, delivery: &Delivery) -> reqwest::RequestBuilder {
    let mut request = client
        .post(&hook.url)
        .header("x-github-event", delivery.event)
        .header("x-github-delivery", &delivery.id)
        .header("x-github-hook-id", hook.id);
    let body = if hook.content_type == "form" {
        request = request.header("content-type", "application/x-www-form-urlencoded");
        format!("payload={}", form_encode(&delivery.body)).into_bytes()
    } else {
        request = request.header("content-type", "application/json");
        delivery.body.clone()
    };
    if let Some(secret) = &hook.secret {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag = hmac::sign(&key, &body);
        request = request.header("x-hub-signature-256", format!("sha256={}", hex(tag.as_ref())));
    }
    request.body(body)
}

fn form_encode(bytes: &[u8]) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    bytes.iter().map(|b| if plain(*b) { char::from(*b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// A delivery is named like a UUID, from its content and its time, so that a receiver can tell a retry from a new event.
fn delivery_id(body: &[u8], hook: u64) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    context.update(body);
    context.update(&hook.to_be_bytes());
    context.update(&jiff::Timestamp::now().as_nanosecond().to_be_bytes());
    let text = hex(context.finish().as_ref());
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..32])
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
