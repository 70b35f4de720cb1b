//! A pod's status from what its worker knows. Pure; after the kubelet (`kubelet_pods.go getPhase`, `status/generate.go`).

use object::{meta, quantity::Quantity};
use serde_json::{Value, json};

use super::state::{Container, PodState, Role};

/// The whole status. Conditions that others wrote are kept, and times of conditions that did not change.
pub(crate) fn compute(pod: &Value, state: &PodState, host_ip: &str, now: &str) -> Value {
    let before = &pod["status"];
    let phase = phase(pod, state);
    let mut status = json!({
        "phase": phase,
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "startTime": state.started_at,
        "qosClass": qos(pod),
    });
    if let Some(ip) = &state.ip {
        status["podIP"] = ip.clone().into();
        status["podIPs"] = json!([{"ip": ip}]);
    }
    if let Some((reason, message)) = &state.failed {
        status["reason"] = reason.clone().into();
        status["message"] = message.clone().into();
    }
    let list = |init: bool| -> Vec<Value> {
        state
            .containers
            .iter()
            .filter(|one| (one.role == Role::Main) != init)
            .map(Container::status)
            .collect()
    };
    status["containerStatuses"] = list(false).into();
    if state.containers.iter().any(|one| one.role != Role::Main) {
        status["initContainerStatuses"] = list(true).into();
    }
    let mut conditions = before["conditions"].as_array().cloned().unwrap_or_default();
    for condition in conditions_of(pod, state, phase) {
        meta::set_condition(&mut conditions, condition, now);
    }
    status["conditions"] = conditions.into();
    for key in ["observedGeneration", "nominatedNodeName"] {
        if !before[key].is_null() {
            status[key] = before[key].clone();
        }
    }
    status
}

/// `Pending`, `Running`, `Succeeded` or `Failed`.
pub(crate) fn phase(pod: &Value, state: &PodState) -> &'static str {
    if state.failed.is_some() {
        return "Failed";
    }
    if let Some(terminal) = ["Succeeded", "Failed"].into_iter().find(|one| pod["status"]["phase"] == *one) {
        return terminal;
    }
    let policy = pod["spec"]["restartPolicy"].as_str().unwrap_or("Always");
    let of = |role: Role| state.containers.iter().filter(move |one| one.role == role);
    if !state.initialized {
        let failed = of(Role::Init).any(|one| one.ended().is_some_and(|ended| ended.code != 0));
        return if failed && policy == "Never" { "Failed" } else { "Pending" };
    }
    let is_waiting = |one: &Container| one.ended().is_none() && !one.is_running() && one.last.is_none();
    if of(Role::Main).any(is_waiting) {
        return "Pending";
    }
    let over = of(Role::Main).all(|one| one.ended().is_some());
    let failed = of(Role::Main).any(|one| one.ended().is_some_and(|ended| ended.code != 0));
    match (over, policy) {
        (false, _) | (true, "Always") => "Running",
        (true, "OnFailure") if failed => "Running",
        (true, _) if failed => "Failed",
        (true, _) => "Succeeded",
    }
}

/// The quality-of-service class, which the server knows too; computed where it did not say.
pub(crate) fn qos(pod: &Value) -> &'static str {
    if let Some(known) =
        ["Guaranteed", "Burstable", "BestEffort"].iter().find(|one| pod["status"]["qosClass"] == **one)
    {
        return known;
    }
    let all = ["initContainers", "containers"].iter().flat_map(|list| array(&pod["spec"][*list]));
    let (mut any, mut guaranteed) = (false, true);
    for container in all {
        let resources = &container["resources"];
        for name in ["cpu", "memory"] {
            let amount =
                |part: &str| Quantity::from_value(&resources[part][name]).ok().map(Quantity::milli_value);
            let (limit, request) = (amount("limits"), amount("requests"));
            any |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn conditions_of(pod: &Value, state: &PodState, phase: &str) -> Vec<Value> {
    let over = match phase {
        "Succeeded" => Some("PodCompleted"),
        "Failed" => Some("PodFailed"),
        _ => None,
    };
    let names = |wanted: fn(&Container) -> bool| -> Vec<&str> {
        state.containers.iter().filter(|one| wanted(one)).map(|one| one.name.as_str()).collect()
    };
    let unready = names(|one| one.role != Role::Init && !one.ready);
    let unfinished = names(|one| match one.role {
        Role::Init => one.ended().is_none_or(|ended| ended.code != 0),
        Role::Sidecar => !one.started,
        Role::Main => false,
    });
    let initialized = if phase == "Succeeded" {
        condition("Initialized", true, "PodCompleted", String::new())
    } else if state.initialized || unfinished.is_empty() {
        condition("Initialized", true, "", String::new())
    } else {
        let message = format!("containers with incomplete status: [{}]", unfinished.join(" "));
        condition("Initialized", false, "ContainersNotInitialized", message)
    };
    let containers_ready = match over {
        Some(reason) => condition("ContainersReady", false, reason, String::new()),
        None if unready.is_empty() && state.sandbox_ready => {
            condition("ContainersReady", true, "", String::new())
        }
        None => {
            let message = format!("containers with unready status: [{}]", unready.join(" "));
            condition("ContainersReady", false, "ContainersNotReady", message)
        }
    };
    let missing_gate = array(&pod["spec"]["readinessGates"])
        .iter()
        .filter_map(|gate| gate["conditionType"].as_str())
        .find(|gate| !meta::condition_is_true(pod, gate));
    let mut ready = containers_ready.clone();
    ready["type"] = "Ready".into();
    if let (Some(gate), true) = (missing_gate, ready["status"] == "True") {
        let message = format!("corresponding condition of pod readiness gate {gate:?} does not exist.");
        ready = condition("Ready", false, "ReadinessGatesNotReady", message);
    }
    let scheduled = condition("PodScheduled", true, "", String::new());
    let start =
        condition("PodReadyToStartContainers", state.sandbox_ready && over.is_none(), "", String::new());
    vec![start, initialized, ready, containers_ready, scheduled]
}

fn condition(kind: &str, is_true: bool, reason: &str, message: String) -> Value {
    let mut condition = json!({
        "type": kind,
        "status": if is_true { "True" } else { "False" },
        "lastProbeTime": null,
    });
    if !reason.is_empty() {
        condition["reason"] = reason.into();
    }
    if !message.is_empty() {
        condition["message"] = message.into();
    }
    condition
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::state::{Ended, State};
    use super::*;

    const NOW: &str = "2026-01-02T03:04:05Z";

    /// `r` running, `w` waiting, `b` waiting after an end, a digit: ended with that code.
    fn state_of(pod: &Value, init: &str, main: &str) -> PodState {
        let mut state = PodState::new(pod, NOW);
        for (container, letter) in state.containers.iter_mut().zip(init.chars().chain(main.chars())) {
            match letter {
                'r' => {
                    container.state = State::Running { since: NOW.into() };
                    (container.started, container.ready) = (true, true);
                }
                'w' => {}
                'b' => container.last = Some(Ended::default()),
                digit => {
                    let code = digit.to_digit(10).unwrap() as i32;
                    container.state = State::Ended(Ended { code, ..Ended::default() });
                }
            }
        }
        state.sandbox_ready = true;
        state.initialized = init.chars().all(|letter| letter == '0');
        state
    }

    fn pod(policy: &str, init: usize, main: usize) -> Value {
        let list = |head: &str, count: usize| -> Vec<Value> {
            (0..count).map(|n| json!({"name": format!("{head}{n}"), "image": "x"})).collect()
        };
        json!({"metadata": {"name": "p"}, "spec": {"restartPolicy": policy,
            "initContainers": list("i", init), "containers": list("c", main)}})
    }

    #[test]
    fn phases() {
        let check = |policy: &str, init: &str, main: &str, expected: &str| {
            let pod = pod(policy, init.len(), main.len());
            assert_eq!(phase(&pod, &state_of(&pod, init, main)), expected, "{policy} {init} {main}");
        };
        check("Always", "", "w", "Pending");
        check("Always", "", "r", "Running");
        check("Always", "", "rw", "Pending");
        check("Always", "", "rb", "Running");
        check("Always", "", "00", "Running");
        check("Never", "", "00", "Succeeded");
        check("Never", "", "01", "Failed");
        check("Never", "", "0r", "Running");
        check("OnFailure", "", "01", "Running");
        check("OnFailure", "", "00", "Succeeded");
        check("Never", "1", "w", "Failed");
        check("Always", "1", "w", "Pending");
        check("Always", "r", "w", "Pending");
        check("Always", "0", "r", "Running");
    }

    #[test]
    fn conditions_and_messages() {
        let check = |init: &str, main: &str, kind: &str, expected: (&str, &str, &str)| {
            let pod = pod("Always", init.len(), main.len());
            let status = compute(&pod, &state_of(&pod, init, main), "10.244.0.1", NOW);
            let found = array(&status["conditions"]).iter().find(|one| one["type"] == kind).unwrap();
            let text = |key: &str| found[key].as_str().unwrap_or_default();
            assert_eq!((text("status"), text("reason"), text("message")), expected, "{init} {main} {kind}");
        };
        check("", "rr", "Ready", ("True", "", ""));
        check("", "rw", "Ready", ("False", "ContainersNotReady", "containers with unready status: [c1]"));
        check(
            "w",
            "w",
            "Initialized",
            ("False", "ContainersNotInitialized", "containers with incomplete status: [i0]"),
        );
        check("0", "r", "Initialized", ("True", "", ""));
        check("", "r", "PodScheduled", ("True", "", ""));
    }

    #[test]
    fn quality_of_service() {
        let check = |resources: Value, expected: &str| {
            let pod = json!({"spec": {"containers": [{"name": "a", "resources": resources}]}});
            assert_eq!(qos(&pod), expected, "{resources}");
        };
        check(json!({}), "BestEffort");
        check(json!({"requests": {"cpu": "1"}}), "Burstable");
        check(json!({"limits": {"cpu": "1"}}), "Burstable");
        check(
            json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1Gi"}}),
            "Guaranteed",
        );
    }

    #[test]
    fn what_ran_before_the_node_s_restart_counts_as_ended() {
        let mut pod = pod("Always", 0, 1);
        pod["status"] = json!({"phase": "Running", "containerStatuses": [{"name": "c0", "restartCount": 2,
            "containerID": "portolan://x", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]});
        let state = PodState::new(&pod, NOW);
        let container = &state.containers[0];
        assert_eq!(container.restarts, 3);
        let last = container.last.as_ref().unwrap();
        assert_eq!(
            (last.code, last.reason.as_str(), last.id.as_str()),
            (137, "ContainerStatusUnknown", "portolan://x")
        );
    }
}
