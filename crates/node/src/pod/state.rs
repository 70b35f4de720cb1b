//! What a pod's worker knows about its containers; the source of the pod's status.

use serde_json::{Value, json};

/// Which list of the pod a container is from, and whether it stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Init,
    /// An init container with `restartPolicy: Always`.
    Sidecar,
    Main,
}

/// One container, as it is now.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) image: String,
    /// `repository@sha256:…` once pulled.
    pub(crate) image_id: String,
    /// Of the newest instance, empty before the first.
    pub(crate) id: String,
    pub(crate) state: State,
    pub(crate) last: Option<Ended>,
    pub(crate) restarts: u64,
    /// Running, and its startup probe (if any) has passed.
    pub(crate) started: bool,
    pub(crate) ready: bool,
    /// The first process, for further ones and signals.
    pub(crate) pid: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Waiting { reason: String, message: String },
    Running { since: String },
    Ended(Ended),
}

/// An instance that is no more. Times are RFC 3339 with seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) signal: Option<i32>,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) started_at: String,
    pub(crate) finished_at: String,
    pub(crate) id: String,
}

/// A pod, as its worker knows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodState {
    pub(crate) ip: Option<String>,
    /// Network and volumes stand.
    pub(crate) sandbox_ready: bool,
    /// All regular init containers have succeeded.
    pub(crate) initialized: bool,
    /// Init containers first, in the pod's order.
    pub(crate) containers: Vec<Container>,
    /// The whole pod is refused or over: reason and message.
    pub(crate) failed: Option<(String, String)>,
    pub(crate) started_at: String,
}

impl PodState {
    /// The state before anything runs; what an earlier run of the node wrote into the status is taken up.
    pub(crate) fn new(pod: &Value, now: &str) -> PodState {
        let mut containers = Vec::new();
        let policy = if ["Succeeded", "Failed"].iter().any(|phase| pod["status"]["phase"] == *phase) {
            // Nothing of it runs again.
            "Never"
        } else {
            pod["spec"]["restartPolicy"].as_str().unwrap_or("Always")
        };
        for (list, statuses) in
            [("initContainers", "initContainerStatuses"), ("containers", "containerStatuses")]
        {
            for spec in array(&pod["spec"][list]) {
                let known = array(&pod["status"][statuses]).iter().find(|one| one["name"] == spec["name"]);
                containers.push(Container::new(spec, list == "initContainers", known, policy, now));
            }
        }
        let started_at = pod["status"]["startTime"].as_str().unwrap_or(now).to_owned();
        PodState { containers, started_at, ..PodState::default() }
    }

    pub(crate) fn container(&mut self, name: &str) -> Option<&mut Container> {
        self.containers.iter_mut().find(|one| one.name == name)
    }
}

impl Container {
    fn new(spec: &Value, init: bool, known: Option<&Value>, policy: &str, now: &str) -> Container {
        let role = match (init, spec["restartPolicy"] == "Always") {
            (false, _) => Role::Main,
            (true, true) => Role::Sidecar,
            (true, false) => Role::Init,
        };
        let mut container = Container {
            name: text(&spec["name"]),
            role,
            image: text(&spec["image"]),
            image_id: String::new(),
            id: String::new(),
            state: State::Waiting { reason: "ContainerCreating".into(), message: String::new() },
            last: None,
            restarts: 0,
            started: false,
            ready: false,
            pid: None,
        };
        if let Some(known) = known {
            container.take_up(known, policy, now);
        }
        container
    }

    /// An instance that ran when the node last wrote the status is gone now. It is the last one, and its successor
    /// counts as a restart; a container that the pod's policy does not restart has ended for good.
    fn take_up(&mut self, known: &Value, policy: &str, now: &str) {
        self.restarts = known["restartCount"].as_u64().unwrap_or(0);
        self.last = Ended::read(&known["lastState"]["terminated"]);
        self.image_id = text(&known["imageID"]);
        let lost = || Ended {
            code: 137,
            signal: None,
            reason: "ContainerStatusUnknown".into(),
            message: "The container could not be located when the node started again".into(),
            started_at: text(&known["state"]["running"]["startedAt"]),
            finished_at: now.to_owned(),
            id: text(&known["containerID"]),
        };
        let ended = Ended::read(&known["state"]["terminated"])
            .or_else(|| known["state"]["running"].is_object().then(lost));
        let Some(ended) = ended else { return };
        let for_good = policy == "Never" || policy == "OnFailure" && ended.code == 0;
        if for_good && self.role != Role::Sidecar {
            self.id.clone_from(&ended.id);
            self.state = State::Ended(ended);
        } else {
            self.last = Some(ended);
            self.restarts += 1;
        }
    }

    /// Its `containerStatuses` entry.
    pub(crate) fn status(&self) -> Value {
        let state = match &self.state {
            State::Waiting { reason, message } if message.is_empty() => {
                json!({"waiting": {"reason": reason}})
            }
            State::Waiting { reason, message } => json!({"waiting": {"reason": reason, "message": message}}),
            State::Running { since } => json!({"running": {"startedAt": since}}),
            State::Ended(ended) => json!({"terminated": ended.status()}),
        };
        let last =
            self.last.as_ref().map_or_else(|| json!({}), |ended| json!({"terminated": ended.status()}));
        let mut status = json!({
            "name": self.name,
            "state": state,
            "lastState": last,
            "ready": self.ready,
            "restartCount": self.restarts,
            "image": self.image,
            "imageID": self.image_id,
            "started": self.started,
        });
        if !self.id.is_empty() {
            status["containerID"] = self.id.clone().into();
        }
        status
    }

    pub(crate) fn ended(&self) -> Option<&Ended> {
        match &self.state {
            State::Ended(ended) => Some(ended),
            _ => None,
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }
}

impl Ended {
    fn read(status: &Value) -> Option<Ended> {
        status.as_object()?;
        Some(Ended {
            code: status["exitCode"].as_i64().and_then(|code| i32::try_from(code).ok()).unwrap_or(0),
            signal: status["signal"].as_i64().and_then(|signal| i32::try_from(signal).ok()),
            reason: text(&status["reason"]),
            message: text(&status["message"]),
            started_at: text(&status["startedAt"]),
            finished_at: text(&status["finishedAt"]),
            id: text(&status["containerID"]),
        })
    }

    fn status(&self) -> Value {
        let mut status = json!({
            "exitCode": self.code,
            "reason": self.reason,
            "startedAt": self.started_at,
            "finishedAt": self.finished_at,
            "containerID": self.id,
        });
        if let Some(signal) = self.signal {
            status["signal"] = signal.into();
        }
        if !self.message.is_empty() {
            status["message"] = self.message.clone().into();
        }
        status
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
