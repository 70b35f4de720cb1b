//! Rows of pods and of what makes and scales them.

use jiff::Timestamp;
use serde_json::Value;

use super::{Row, age, created, human_duration, labels, list, name, number, or, row, selector, text};

pub(super) fn pod(object: &Value, now: Timestamp) -> Row {
    let containers = list(object, "/spec/containers").len();
    let statuses = list(object, "/status/containerStatuses");
    let ready =
        statuses.iter().filter(|s| s["ready"].as_bool() == Some(true) && s["state"].get("running").is_some());
    let gates = list(object, "/spec/readinessGates");
    let gates_text = if gates.is_empty() {
        "<none>".to_owned()
    } else {
        let met = |g: &&Value| {
            crate::meta::condition_is_true(object, g["conditionType"].as_str().unwrap_or_default())
        };
        format!("{}/{}", gates.iter().filter(met).count(), gates.len())
    };
    let cells = vec![
        name(object),
        format!("{}/{containers}", ready.count()).into(),
        pod_status(object).into(),
        restarts(object, now).into(),
        created(object, now),
        or(text(object, "/status/podIP"), "<none>"),
        or(text(object, "/spec/nodeName"), "<none>"),
        or(text(object, "/status/nominatedNodeName"), "<none>"),
        gates_text.into(),
    ];
    let completed = matches!(text(object, "/status/phase"), "Succeeded" | "Failed");
    Row { cells, completed }
}

/// The word in the STATUS column: the most telling reason of phase, init containers, containers and deletion.
fn pod_status(pod: &Value) -> String {
    let phase = text(pod, "/status/phase");
    let mut reason = phase.to_owned();
    if !text(pod, "/status/reason").is_empty() {
        text(pod, "/status/reason").clone_into(&mut reason);
    }
    let gated = crate::meta::condition(pod, "PodScheduled").is_some_and(|c| c["reason"] == "SchedulingGated");
    if gated {
        "SchedulingGated".clone_into(&mut reason);
    }
    match init_reason(pod) {
        Some(init) => reason = init,
        None => {
            let mut running = false;
            for status in list(pod, "/status/containerStatuses").iter().rev() {
                if let Some(found) = container_reason(status, "") {
                    reason = found;
                } else if status["ready"].as_bool() == Some(true) && status["state"].get("running").is_some()
                {
                    running = true;
                }
            }
            if reason == "Completed" && running {
                let ready = crate::meta::condition_is_true(pod, "Ready");
                if ready { "Running" } else { "NotReady" }.clone_into(&mut reason);
            }
        }
    }
    if crate::meta::is_being_deleted(pod) {
        if text(pod, "/status/reason") == "NodeLost" {
            return "Unknown".to_owned();
        }
        if phase != "Succeeded" && phase != "Failed" {
            return "Terminating".to_owned();
        }
    }
    reason
}

/// `Init:1/2`, `Init:CrashLoopBackOff`, … while init containers have not all finished.
fn init_reason(pod: &Value) -> Option<String> {
    let specs = list(pod, "/spec/initContainers");
    for (i, status) in list(pod, "/status/initContainerStatuses").iter().enumerate() {
        let state = &status["state"];
        if state["terminated"].is_object() && state["terminated"]["exitCode"].as_i64() == Some(0) {
            continue;
        }
        let sidecar = specs
            .iter()
            .any(|c| c["name"] == status["name"] && c["restartPolicy"].as_str() == Some("Always"));
        if sidecar && status["started"].as_bool() == Some(true) {
            continue;
        }
        let waiting = state["waiting"]["reason"].as_str().unwrap_or_default();
        if state["terminated"].is_object() || (!waiting.is_empty() && waiting != "PodInitializing") {
            return container_reason(status, "Init:");
        }
        return Some(format!("Init:{i}/{}", specs.len()));
    }
    None
}

fn container_reason(status: &Value, prefix: &str) -> Option<String> {
    let state = &status["state"];
    if let Some(reason) = state["waiting"]["reason"].as_str().filter(|r| !r.is_empty()) {
        return Some(format!("{prefix}{reason}"));
    }
    let terminated = state["terminated"].as_object()?;
    if let Some(reason) = terminated.get("reason").and_then(Value::as_str).filter(|r| !r.is_empty()) {
        return Some(format!("{prefix}{reason}"));
    }
    let signal = state["terminated"]["signal"].as_i64().unwrap_or(0);
    let code = state["terminated"]["exitCode"].as_i64().unwrap_or(0);
    Some(if signal != 0 { format!("{prefix}Signal:{signal}") } else { format!("{prefix}ExitCode:{code}") })
}

/// `2 (5m ago)`: the number of restarts and when the last one was.
fn restarts(pod: &Value, now: Timestamp) -> String {
    let statuses = list(pod, "/status/containerStatuses");
    let count: i64 = statuses.iter().map(|s| s["restartCount"].as_i64().unwrap_or(0)).sum();
    let last = statuses.iter().filter_map(|s| s.pointer("/lastState/terminated/finishedAt")?.as_str()).max();
    match last {
        Some(time) if count > 0 => format!("{count} ({} ago)", age(time, now)),
        _ => count.to_string(),
    }
}

fn containers(spec: &Value) -> [Value; 2] {
    let join = |field: &str| {
        let all = list(spec, "/containers").iter().filter_map(|c| c[field].as_str());
        Value::from(all.collect::<Vec<_>>().join(","))
    };
    [join("name"), join("image")]
}

fn template_containers(object: &Value) -> [Value; 2] {
    containers(object.pointer("/spec/template/spec").unwrap_or(&Value::Null))
}

pub(super) fn deployment(object: &Value, now: Timestamp) -> Row {
    let ready = format!("{}/{}", number(object, "/status/readyReplicas"), number(object, "/spec/replicas"));
    let mut cells = vec![
        name(object),
        ready.into(),
        number(object, "/status/updatedReplicas").into(),
        number(object, "/status/availableReplicas").into(),
        created(object, now),
    ];
    cells.extend(template_containers(object));
    cells.push(selector(object, "/spec/selector"));
    row(cells)
}

pub(super) fn replica_set(object: &Value, now: Timestamp) -> Row {
    let mut cells = vec![
        name(object),
        number(object, "/spec/replicas").into(),
        number(object, "/status/replicas").into(),
        number(object, "/status/readyReplicas").into(),
        created(object, now),
    ];
    cells.extend(template_containers(object));
    let plain = object["kind"].as_str() == Some("ReplicationController");
    cells.push(if plain {
        labels(object.pointer("/spec/selector"))
    } else {
        selector(object, "/spec/selector")
    });
    row(cells)
}

pub(super) fn stateful_set(object: &Value, now: Timestamp) -> Row {
    let ready = format!("{}/{}", number(object, "/status/readyReplicas"), number(object, "/spec/replicas"));
    let mut cells = vec![name(object), ready.into(), created(object, now)];
    cells.extend(template_containers(object));
    row(cells)
}

pub(super) fn daemon_set(object: &Value, now: Timestamp) -> Row {
    let count = |field: &str| Value::from(number(object, &format!("/status/{field}")));
    let mut cells = vec![
        name(object),
        count("desiredNumberScheduled"),
        count("currentNumberScheduled"),
        count("numberReady"),
        count("updatedNumberScheduled"),
        count("numberAvailable"),
        labels(object.pointer("/spec/template/spec/nodeSelector")),
        created(object, now),
    ];
    cells.extend(template_containers(object));
    cells.push(selector(object, "/spec/selector"));
    row(cells)
}

pub(super) fn job(object: &Value, now: Timestamp) -> Row {
    let succeeded = number(object, "/status/succeeded");
    let completions = match object.pointer("/spec/completions").and_then(Value::as_i64) {
        Some(wanted) => format!("{succeeded}/{wanted}"),
        None => match number(object, "/spec/parallelism") {
            many if many > 1 => format!("{succeeded}/1 of {many}"),
            _ => format!("{succeeded}/1"),
        },
    };
    let since = |time: &str| time.parse::<Timestamp>().ok().map(Timestamp::as_second);
    let start = since(text(object, "/status/startTime"));
    let end = since(text(object, "/status/completionTime")).unwrap_or(now.as_second());
    let duration = start.map(|start| human_duration(end - start)).unwrap_or_default();
    let is = |condition: &str| crate::meta::condition_is_true(object, condition);
    let status = if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if crate::meta::is_being_deleted(object) {
        "Terminating"
    } else if is("Suspended") {
        "Suspended"
    } else if is("FailureTarget") {
        "FailureTarget"
    } else if is("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    };
    let mut cells =
        vec![name(object), status.into(), completions.into(), duration.into(), created(object, now)];
    cells.extend(template_containers(object));
    cells.push(selector(object, "/spec/selector"));
    row(cells)
}

pub(super) fn cron_job(object: &Value, now: Timestamp) -> Row {
    let last = text(object, "/status/lastScheduleTime");
    let suspended = object.pointer("/spec/suspend").and_then(Value::as_bool) == Some(true);
    let mut cells = vec![
        name(object),
        text(object, "/spec/schedule").into(),
        or(text(object, "/spec/timeZone"), "<none>"),
        if suspended { "True" } else { "False" }.into(),
        list(object, "/status/active").len().into(),
        if last.is_empty() { "<none>".into() } else { age(last, now).into() },
        created(object, now),
    ];
    cells.extend(containers(object.pointer("/spec/jobTemplate/spec/template/spec").unwrap_or(&Value::Null)));
    cells.push(selector(object, "/spec/jobTemplate/spec/selector"));
    row(cells)
}

pub(super) fn autoscaler(object: &Value, now: Timestamp) -> Row {
    let kind = text(object, "/spec/scaleTargetRef/kind");
    let target = text(object, "/spec/scaleTargetRef/name");
    let mut targets = Vec::new();
    for (i, metric) in list(object, "/spec/metrics").iter().enumerate() {
        let resource = text(metric, "/resource/name");
        let wanted = number(metric, "/resource/target/averageUtilization");
        let current =
            object.pointer(&format!("/status/currentMetrics/{i}/resource/current/averageUtilization"));
        let current =
            current.and_then(Value::as_i64).map_or_else(|| "<unknown>".to_owned(), |c| format!("{c}%"));
        if !resource.is_empty() {
            targets.push(format!("{resource}: {current}/{wanted}%"));
        }
    }
    row(vec![
        name(object),
        format!("{kind}/{target}").into(),
        or(&targets.join(", "), "<none>"),
        number(object, "/spec/minReplicas").into(),
        number(object, "/spec/maxReplicas").into(),
        number(object, "/status/currentReplicas").into(),
        created(object, now),
    ])
}

pub(super) fn disruption_budget(object: &Value, now: Timestamp) -> Row {
    let shown = |pointer: &str| match object.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => "N/A".to_owned(),
    };
    row(vec![
        name(object),
        shown("/spec/minAvailable").into(),
        shown("/spec/maxUnavailable").into(),
        number(object, "/status/disruptionsAllowed").into(),
        created(object, now),
    ])
}
