//! The status of one run while it runs: changed by many, written by one task, a few times a second at most.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use controller::{Cluster, now};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::api::{self, JobStatus, RunStatus, StepStatus};

/// Changes within this time are written together.
const COALESCE: Duration = Duration::from_millis(250);
/// Waits between tries of the last write, which must not get lost.
const RETRIES: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
    Duration::from_secs(30),
];

/// Handle on the status; clones are the same.
#[derive(Clone)]
pub(crate) struct Tracker {
    shared: Arc<Shared>,
}

struct Shared {
    status: Mutex<RunStatus>,
    dirty: Notify,
    cluster: Cluster,
    /// The object as it was last written.
    written: tokio::sync::Mutex<Value>,
}

impl Tracker {
    /// For a run whose object is `object`.
    pub(crate) fn new(cluster: &Cluster, object: Value, status: RunStatus) -> Tracker {
        let shared = Shared {
            status: Mutex::new(status),
            dirty: Notify::new(),
            cluster: cluster.clone(),
            written: tokio::sync::Mutex::new(object),
        };
        Tracker { shared: Arc::new(shared) }
    }

    /// Writes changes until dropped.
    pub(crate) async fn write_changes(self) {
        loop {
            self.shared.dirty.notified().await;
            tokio::time::sleep(COALESCE).await;
            if let Err(error) = self.write().await {
                tracing::warn!(%error, "cannot write the status of a run");
            }
        }
    }

    /// Writes now, trying for a while.
    pub(crate) async fn flush(&self) {
        for wait in RETRIES {
            match self.write().await {
                Ok(()) => return,
                Err(error) if error.is_not_found() => return,
                Err(error) => tracing::warn!(%error, "cannot write the status of a run"),
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Changes the status.
    pub(crate) fn change(&self, change: impl FnOnce(&mut RunStatus)) {
        change(&mut self.shared.status.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared.dirty.notify_one();
    }

    /// Changes one job.
    pub(crate) fn job(&self, id: &str, change: impl FnOnce(&mut JobStatus)) {
        self.change(|status| {
            if let Some(job) = status.jobs.iter_mut().find(|job| job.id == id) {
                change(job);
            }
        });
    }

    /// Changes one step.
    pub(crate) fn step(&self, job: &str, number: usize, change: impl FnOnce(&mut StepStatus)) {
        self.job(job, |job| {
            if let Some(step) = job.steps.iter_mut().find(|step| step.number == number) {
                change(step);
            }
        });
    }

    async fn write(&self) -> Result<(), controller::ApiError> {
        let mut written = self.shared.written.lock().await;
        let status = self.shared.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let status = json!(status);
        self.shared.cluster.write_status(&api::WORKFLOW_RUN, &written, &status).await?;
        written["status"] = status;
        Ok(())
    }
}

impl StepStatus {
    /// The step begins.
    pub(crate) fn begin(&mut self) {
        self.status = "in_progress".to_owned();
        self.started_at = Some(now());
    }

    /// The step is over.
    pub(crate) fn end(&mut self, conclusion: &str) {
        self.status = "completed".to_owned();
        self.conclusion = Some(conclusion.to_owned());
        self.completed_at = Some(now());
    }
}

impl JobStatus {
    /// The job is over; steps that never began are skipped.
    pub(crate) fn end(&mut self, conclusion: &str) {
        self.status = "completed".to_owned();
        self.conclusion = Some(conclusion.to_owned());
        self.completed_at = Some(now());
        for step in self.steps.iter_mut().filter(|step| step.status != "completed") {
            step.status = "completed".to_owned();
            step.conclusion = Some("skipped".to_owned());
        }
    }
}
