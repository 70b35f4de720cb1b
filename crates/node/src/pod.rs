//! One pod on this node: its state, and what its tasks share.

pub(crate) mod backoff;
pub(crate) mod console;
pub(crate) mod container;
pub(crate) mod env;
pub(crate) mod hooks;
pub(crate) mod logs;
pub(crate) mod probe;
pub(crate) mod sources;
pub(crate) mod state;
pub(crate) mod status;
pub(crate) mod volumes;
pub(crate) mod worker;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use controller::{EventType, now};
use object::{Key, meta};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::kubelet::Kubelet;
use crate::network::{Loopback, PodNetwork};
use console::Console;
use logs::LogFile;
use state::{Container, PodState};
use volumes::Volume;

/// A pod that this node runs. Its worker and the kubelet's API share it.
pub(crate) struct Pod {
    pub(crate) node: Arc<Kubelet>,
    pub(crate) key: Key,
    pub(crate) uid: String,
    /// The newest object from the watch.
    pub(crate) object: watch::Sender<Arc<Value>>,
    state: Mutex<PodState>,
    /// Changes with the state.
    pub(crate) changed: watch::Sender<()>,
    /// The pod shall end; `deadline` says until when.
    pub(crate) ending: CancellationToken,
    /// Containers that help others end after them.
    pub(crate) sidecars_ending: CancellationToken,
    deadline: Mutex<Option<Instant>>,
    pub(crate) instances: Mutex<HashMap<String, Instance>>,
    pub(crate) network: Mutex<Option<PodNetwork>>,
    pub(crate) volumes: Mutex<HashMap<String, Volume>>,
    /// The object is gone from the API: nothing is left to report.
    pub(crate) gone: CancellationToken,
    /// The worker has nothing left to do.
    pub(crate) done: CancellationToken,
}

/// The newest and the last instance of a container, for logs and further processes.
#[derive(Clone, Default)]
pub(crate) struct Instance {
    pub(crate) log: Option<Arc<LogFile>>,
    pub(crate) previous: Option<Arc<LogFile>>,
    /// What a further process in it needs; none while it does not run.
    pub(crate) enter: Option<sandbox::EnterSpec>,
    /// What it says and hears while it runs.
    pub(crate) console: Option<Arc<Console>>,
}

impl Pod {
    pub(crate) fn new(node: &Arc<Kubelet>, object: &Arc<Value>) -> Arc<Pod> {
        let pod = Pod {
            node: node.clone(),
            key: meta::key(object),
            uid: meta::uid(object).to_owned(),
            state: Mutex::new(PodState::new(object, &now())),
            object: watch::Sender::new(object.clone()),
            changed: watch::Sender::new(()),
            ending: CancellationToken::new(),
            sidecars_ending: CancellationToken::new(),
            deadline: Mutex::default(),
            instances: Mutex::default(),
            network: Mutex::default(),
            volumes: Mutex::default(),
            gone: CancellationToken::new(),
            done: CancellationToken::new(),
        };
        pod.find_logs(object);
        Arc::new(pod)
    }

    /// Logs of instances that ran before the node started again.
    fn find_logs(&self, object: &Value) {
        for list in ["containerStatuses", "initContainerStatuses"] {
            for status in object["status"][list].as_array().into_iter().flatten() {
                let name = status["name"].as_str().unwrap_or_default();
                let path =
                    self.log_dir(name).join(format!("{}.log", status["restartCount"].as_u64().unwrap_or(0)));
                if path.is_file()
                    && let Ok(log) = LogFile::create(&path)
                {
                    log.close();
                    self.change_instance(name, |instance| instance.log = Some(log));
                }
            }
        }
    }

    pub(crate) fn object(&self) -> Arc<Value> {
        self.object.borrow().clone()
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.node.config.data_dir.join("pods").join(&self.uid)
    }

    pub(crate) fn log_dir(&self, container: &str) -> PathBuf {
        let pod = format!("{}_{}_{}", self.key.namespace, self.key.name, self.uid);
        self.node.config.data_dir.join("logs").join(pod).join(container)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, PodState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and has the status written if it follows.
    pub(crate) fn update(&self, change: impl FnOnce(&mut PodState)) {
        change(&mut self.state());
        self.changed.send_replace(());
    }

    pub(crate) fn update_container(&self, name: &str, change: impl FnOnce(&mut Container)) {
        self.update(|state| {
            if let Some(container) = state.container(name) {
                change(container);
            }
        });
    }

    pub(crate) fn ip(&self) -> String {
        self.state().ip.clone().unwrap_or_default()
    }

    /// Connects to a port of the pod as its own programs do.
    pub(crate) async fn dial(&self, port: u16) -> io::Result<TcpStream> {
        self.loopback()?.dial(port).await
    }

    fn loopback(&self) -> io::Result<Loopback> {
        let network = self.network.lock().unwrap_or_else(PoisonError::into_inner);
        let none = || io::Error::new(io::ErrorKind::NotConnected, "the pod has no network");
        network.as_ref().ok_or_else(none)?.loopback()
    }

    /// Asks the pod to end within `grace`; a shorter grace later on takes effect.
    pub(crate) fn end_within(&self, grace: Duration) {
        let until = Instant::now() + grace;
        let mut deadline = self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        if deadline.is_none_or(|known| until < known) {
            *deadline = Some(until);
        }
        drop(deadline);
        self.ending.cancel();
    }

    /// How long containers may still take to end. The kubelet never gives less than two seconds.
    pub(crate) fn grace_left(&self) -> Duration {
        let deadline = *self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        let left =
            deadline.map_or(Duration::ZERO, |deadline| deadline.saturating_duration_since(Instant::now()));
        if self.gone.is_cancelled() { left } else { left.max(Duration::from_secs(2)) }
    }

    pub(crate) fn instance(&self, container: &str) -> Instance {
        self.instances
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(container)
            .cloned()
            .unwrap_or_default()
    }

    pub(crate) fn change_instance(&self, container: &str, change: impl FnOnce(&mut Instance)) {
        let mut all = self.instances.lock().unwrap_or_else(PoisonError::into_inner);
        change(all.entry(container.to_owned()).or_default());
    }

    pub(crate) async fn event(&self, kind: EventType, reason: &str, message: &str) {
        self.node.recorder.record(&self.object(), kind, reason, message).await;
    }
}
