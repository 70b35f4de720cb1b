//! Probes of one container instance. After the kubelet (`pkg/kubelet/prober`).

use std::sync::Arc;
use std::time::Duration;

use controller::EventType;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::Pod;
use super::hooks::{self, ActionError};

/// Redirects on the same host that are followed.
const REDIRECTS: usize = 10;

/// A probe that failed as often as its threshold says: the instance shall be ended.
pub(crate) struct Kill {
    pub(crate) message: String,
    pub(crate) grace: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Startup,
    Liveness,
    Readiness,
}

/// Times and thresholds with the API's defaults.
struct Timing {
    initial_delay: Duration,
    period: Duration,
    timeout: Duration,
    successes: u64,
    failures: u64,
}

impl Timing {
    fn of(probe: &Value) -> Timing {
        let number = |key: &str, default: u64| probe[key].as_u64().filter(|n| *n > 0).unwrap_or(default);
        Timing {
            initial_delay: Duration::from_secs(probe["initialDelaySeconds"].as_u64().unwrap_or(0)),
            period: Duration::from_secs(number("periodSeconds", 10)),
            timeout: Duration::from_secs(number("timeoutSeconds", 1)),
            successes: number("successThreshold", 1),
            failures: number("failureThreshold", 3),
        }
    }
}

/// Probes the instance until the task is dropped. Sets `started` and `ready` of its container.
pub(crate) async fn watch(pod: Arc<Pod>, container: Value, kill: mpsc::Sender<Kill>) {
    let begun = Instant::now();
    let name = container["name"].as_str().unwrap_or_default().to_owned();
    if container["startupProbe"].is_object() && !until_started(&pod, &container, begun, &kill).await {
        return;
    }
    let gated = container["readinessProbe"].is_object();
    pod.update_container(&name, |one| {
        one.started = true;
        one.ready = !gated;
    });
    let liveness = async {
        if container["livenessProbe"].is_object() {
            stay_alive(&pod, &container, begun, &kill).await;
        }
    };
    let readiness = async {
        if gated {
            follow_readiness(&pod, &container, &name, begun).await;
        }
    };
    tokio::join!(liveness, readiness);
}

async fn until_started(pod: &Arc<Pod>, container: &Value, begun: Instant, kill: &mpsc::Sender<Kill>) -> bool {
    let probe = &container["startupProbe"];
    let timing = Timing::of(probe);
    tokio::time::sleep_until(begun + timing.initial_delay).await;
    let mut failures = 0;
    loop {
        match once(pod, container, probe, Kind::Startup, timing.timeout).await {
            Some(true) => return true,
            Some(false) => failures += 1,
            None => {}
        }
        if failures >= timing.failures {
            ask_to_kill(container, probe, "startup", kill).await;
            return false;
        }
        tokio::time::sleep(timing.period).await;
    }
}

async fn stay_alive(pod: &Arc<Pod>, container: &Value, begun: Instant, kill: &mpsc::Sender<Kill>) {
    let probe = &container["livenessProbe"];
    let timing = Timing::of(probe);
    tokio::time::sleep_until(begun + timing.initial_delay).await;
    let mut failures = 0;
    while !pod.ending.is_cancelled() {
        match once(pod, container, probe, Kind::Liveness, timing.timeout).await {
            Some(true) => failures = 0,
            Some(false) => failures += 1,
            None => {}
        }
        if failures >= timing.failures {
            ask_to_kill(container, probe, "liveness", kill).await;
            return;
        }
        tokio::time::sleep(timing.period).await;
    }
}

async fn follow_readiness(pod: &Arc<Pod>, container: &Value, name: &str, begun: Instant) {
    let probe = &container["readinessProbe"];
    let timing = Timing::of(probe);
    tokio::time::sleep_until(begun + timing.initial_delay).await;
    let (mut successes, mut failures) = (0, 0);
    loop {
        match once(pod, container, probe, Kind::Readiness, timing.timeout).await {
            Some(true) => (successes, failures) = (successes + 1, 0),
            Some(false) => (successes, failures) = (0, failures + 1),
            None => {}
        }
        let ready = pod.state().container(name).is_some_and(|one| one.ready);
        if !ready && successes >= timing.successes {
            pod.update_container(name, |one| one.ready = true);
        } else if ready && failures >= timing.failures {
            pod.update_container(name, |one| one.ready = false);
        }
        // Until the first success the period would only delay the pod: it is asked more often, as soon as it
        // can be ready, but no faster than ten times in a period.
        let pause = if ready || successes > 0 || failures > 30 { timing.period } else { timing.period / 10 };
        tokio::time::sleep(pause).await;
    }
}

async fn ask_to_kill(container: &Value, probe: &Value, kind: &str, kill: &mpsc::Sender<Kill>) {
    let name = container["name"].as_str().unwrap_or_default();
    let grace = probe["terminationGracePeriodSeconds"].as_u64().map(Duration::from_secs);
    let message = format!("Container {name} failed {kind} probe, will be restarted");
    let _ = kill.send(Kill { message, grace }).await;
}

/// One attempt: success, failure (with its event), or none when the container could not be asked.
async fn once(pod: &Arc<Pod>, container: &Value, probe: &Value, kind: Kind, limit: Duration) -> Option<bool> {
    let result = match timeout(limit, attempt(pod, container, probe, kind)).await {
        Ok(result) => result,
        Err(_) if probe["exec"].is_object() => {
            Err(ActionError::Failed(format!("command timed out after {}s", limit.as_secs())))
        }
        Err(_) => Err(ActionError::Failed("context deadline exceeded".into())),
    };
    let word = match kind {
        Kind::Startup => "Startup",
        Kind::Liveness => "Liveness",
        Kind::Readiness => "Readiness",
    };
    match result {
        Ok(()) => Some(true),
        Err(ActionError::Failed(output)) => {
            // A pod that has just begun is not news.
            if kind != Kind::Readiness
                || pod.state().container(name_of(container)).is_some_and(|one| one.ready)
            {
                pod.event(EventType::Warning, "Unhealthy", &format!("{word} probe failed: {output}")).await;
            }
            Some(false)
        }
        Err(ActionError::Impossible(error)) => {
            let message = format!("{word} probe errored and resulted in unknown state: {error}");
            pod.event(EventType::Warning, "Unhealthy", &message).await;
            None
        }
    }
}

async fn attempt(pod: &Arc<Pod>, container: &Value, probe: &Value, kind: Kind) -> Result<(), ActionError> {
    if probe["exec"].is_object() {
        let (code, output) = hooks::exec(pod, name_of(container), &probe["exec"]["command"]).await?;
        return if code == 0 { Ok(()) } else { Err(ActionError::Failed(output)) };
    }
    if probe["tcpSocket"].is_object() {
        let address = hooks::address(pod, container, &probe["tcpSocket"])?;
        let dialled = pod.node.network.dial(address).await;
        return dialled
            .map(drop)
            .map_err(|error| ActionError::Failed(format!("dial tcp {address}: {error}")));
    }
    if probe["httpGet"].is_object() {
        return get(pod, container, &probe["httpGet"], kind).await;
    }
    Err(ActionError::Impossible("the probe's kind is not available on this node".into()))
}

async fn get(pod: &Arc<Pod>, container: &Value, action: &Value, kind: Kind) -> Result<(), ActionError> {
    let mut path = action["path"].as_str().unwrap_or("/").to_owned();
    for _ in 0..REDIRECTS {
        let answer = hooks::get(pod, container, action, Some(&path)).await?;
        match (answer.status, answer.location) {
            (300..400, Some(location)) if location.starts_with('/') => path = location,
            (200..400, location) => {
                if location.is_some() {
                    let message = "Probe terminated redirects, Response body: ".to_owned() + &answer.body;
                    let word = if kind == Kind::Readiness { "Readiness" } else { "Liveness" };
                    pod.event(
                        EventType::Warning,
                        "ProbeWarning",
                        &format!("{word} probe warning: {message}"),
                    )
                    .await;
                }
                return Ok(());
            }
            (status, _) => {
                return Err(ActionError::Failed(format!("HTTP probe failed with statuscode: {status}")));
            }
        }
    }
    Err(ActionError::Failed(format!("stopped after {REDIRECTS} redirects")))
}

fn name_of(container: &Value) -> &str {
    container["name"].as_str().unwrap_or_default()
}
