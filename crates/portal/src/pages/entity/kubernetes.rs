//! An entity's workloads in every cluster: pods, the last events, and the end of a pod's log.

use controller::Cluster;
use http::Method;
use http_body_util::BodyExt as _;
use maud::{Markup, html};
use object::kinds;
use serde_json::Value;

use crate::caller::Caller;
use crate::fleet::{self, Pod, Seen, Workload};
use crate::layout::encode;
use crate::{Config, marks, when};

/// Lines of a log that are shown, from its end.
const LOG_LINES: u32 = 200;
/// Largest log that is read, in bytes: long lines.
const LOG_LIMIT: usize = 1 << 20;
/// Events of one environment that are shown, newest first.
const EVENTS: usize = 8;

/// The pod whose log is shown: `environment/namespace/pod`.
pub(super) struct LogOf<'a> {
    environment: &'a str,
    namespace: &'a str,
    pod: &'a str,
}

impl<'a> LogOf<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (environment, rest) = text.split_once('/')?;
        let (namespace, pod) = rest.split_once('/')?;
        let plain = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c))
        };
        (plain(namespace) && plain(pod)).then_some(Self { environment, namespace, pod })
    }
}

pub(super) async fn tab(
    config: &Config,
    caller: &Caller,
    seen: &[Seen],
    components: &[String],
    (path, log): (&str, Option<LogOf<'_>>),
) -> Markup {
    let mut content = vec![];
    for one in seen {
        let workloads: Vec<&Workload> =
            one.workloads.iter().filter(|w| components.contains(&w.component)).collect();
        let environment = config.environments.iter().find(|e| e.name == one.environment);
        let cluster = environment.map(|environment| fleet::cluster(environment, caller));
        let events = match &cluster {
            Some(cluster) if !workloads.is_empty() => events(cluster, &workloads).await,
            _ => Ok(vec![]),
        };
        let here = log.as_ref().filter(|log| log.environment == one.environment);
        let text = match (&cluster, here) {
            (Some(cluster), Some(of)) => Some((of.pod, tail(cluster, of).await)),
            _ => None,
        };
        content.push(html! {
            h2 { (one.environment) }
            @if let Some(problem) = &one.problem { p.notice.bad { (problem) } }
            @if workloads.is_empty() { p.muted { "Not here." } } @else {
                @for workload in &workloads { (one_workload(one, workload, path)) }
                (events_list(&events))
                @if let Some((pod, text)) = &text { (log_of(pod, text)) }
                (by_hand(&one.environment, &workloads))
            }
        });
    }
    html! { @for part in &content { (part) } }
}

fn one_workload(seen: &Seen, workload: &Workload, path: &str) -> Markup {
    html! {
        h3 { (workload.name) " " span.small.faint { (workload.kind) " in " (workload.namespace) ", " (workload.ready) " ready" } " " (marks::state(workload.state, &workload.words)) }
        @if workload.pods.is_empty() { p.muted { "No pod." } } @else { div.scroll { table.pods {
            thead { tr { th { "Pod" } th { "State" } th { "Image" } th.number { "Restarts" } th { "Started" } th { "Log" } } }
            tbody { @for pod in &workload.pods { (pod_row(seen, workload, pod, path)) } }
        } } }
    }
}

fn pod_row(seen: &Seen, workload: &Workload, pod: &Pod, path: &str) -> Markup {
    let log = format!(
        "{path}?tab=kubernetes&log={}",
        encode(&format!("{}/{}/{}", seen.environment, workload.namespace, pod.name))
    );
    html! { tr {
        td.mono { (pod.name) }
        td { (marks::state(pod.state, &pod.words)) }
        td.mono { span.cut title=(pod.image) { (pod.image.rsplit('/').next().unwrap_or_default()) } }
        td.number { (pod.restarts) }
        td.muted { @if !pod.started.is_empty() { (when::ago(&pod.started)) } }
        td { a href={ (log) "#log" } { "Log" } }
    } }
}

/// The newest events of the workloads and of everything that is named after them.
async fn events(cluster: &Cluster, workloads: &[&Workload]) -> Result<Vec<Value>, controller::ApiError> {
    let namespace = workloads.first().map(|w| w.namespace.as_str()).unwrap_or_default();
    let mut found = cluster.list(&kinds::EVENT, namespace, "").await?.items;
    found.retain(|event| {
        let about = event["involvedObject"]["name"].as_str().unwrap_or_default();
        workloads
            .iter()
            .any(|w| about == w.name || about.strip_prefix(&w.name).is_some_and(|rest| rest.starts_with('-')))
    });
    found.sort_by_key(|event| std::cmp::Reverse(time_of(event).to_owned()));
    found.truncate(EVENTS);
    Ok(found)
}

fn time_of(event: &Value) -> &str {
    let text = |key: &str| event[key].as_str();
    let time = text("lastTimestamp").or(text("eventTime")).or(text("firstTimestamp"));
    time.or(event["metadata"]["creationTimestamp"].as_str()).unwrap_or_default()
}

fn events_list(events: &Result<Vec<Value>, controller::ApiError>) -> Markup {
    html! { @match events {
        Err(error) => p.notice.bad { "Events cannot be read: " (error) },
        Ok(events) if events.is_empty() => {},
        Ok(events) => details {
            summary.small { "Last events" }
            div.scroll { table {
                thead { tr { th { "When" } th { "About" } th { "Reason" } th { "Message" } } }
                tbody { @for event in events { tr {
                    td.muted { (when::ago(time_of(event))) }
                    td { (event["involvedObject"]["kind"].as_str().unwrap_or_default()) " " (event["involvedObject"]["name"].as_str().unwrap_or_default()) }
                    td { @if event["type"] == "Warning" { (marks::state(marks::State::Degraded, event["reason"].as_str().unwrap_or_default())) } @else { (event["reason"].as_str().unwrap_or_default()) } }
                    td.muted { (event["message"].as_str().unwrap_or_default()) }
                } } }
            } }
        },
    } }
}

/// The end of a pod's log, as the person themselves may read it.
async fn tail(cluster: &Cluster, of: &LogOf<'_>) -> Result<String, String> {
    let path = format!("/api/v1/namespaces/{}/pods/{}/log?tailLines={LOG_LINES}", of.namespace, of.pod);
    let response = cluster.send(Method::GET, &path, None, b"").await.map_err(|e| e.to_string())?;
    let status = response.status();
    let body = http_body_util::Limited::new(response.into_body(), LOG_LIMIT).collect().await;
    let text = String::from_utf8_lossy(&body.map_err(|e| e.to_string())?.to_bytes()).into_owned();
    if status.is_success() {
        Ok(text)
    } else {
        Err(crate::failure::Failure::from_api(status, text.as_bytes()).message)
    }
}

fn log_of(pod: &str, text: &Result<String, String>) -> Markup {
    html! {
        h3 #log { "Log of " (pod) " " span.small.faint { "last " (LOG_LINES) " lines" } }
        @match text {
            Err(message) => p.notice.bad { "The log cannot be read: " (message) },
            Ok(text) if text.is_empty() => p.muted { "The pod has written nothing." },
            Ok(text) => div.log { pre { (text) } },
        }
    }
}

fn by_hand(environment: &str, workloads: &[&Workload]) -> Markup {
    let namespace = workloads.first().map(|w| w.namespace.as_str()).unwrap_or_default();
    html! { details { summary.small.muted { "The same with kubectl" } pre.mono { "kubectl --context " (environment) " -n " (namespace) " get pods,events" } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_asked_for_by_plain_names_only() {
        assert!(LogOf::parse("dev/shop/web-1").is_some());
        for text in ["dev/shop", "dev/shop/../secrets", "dev/sh op/x", "dev//x", "dev/shop/x?follow=true"] {
            assert!(LogOf::parse(text).is_none(), "{text}");
        }
    }
}
