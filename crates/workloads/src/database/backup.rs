//! Backups: one dump of the application's database, written by a pod into the claim `<cluster>-backups`.
//!
//! A narrow choice: CloudNativePG ships base backups and write-ahead log to an object store; here a Backup, whatever its
//! `method`, is a `pg_dump` in custom format beside the cluster, made by the role `streaming_replica`,
//! which may read all data.

use std::sync::Arc;

use controller::{Cache, Controller, EventType, Next, Propagation, ReconcileError, Reconciler, now};
use object::{Key, kinds, meta};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::api::{BACKUP, CLUSTER};
use super::objects::{self, Settings};
use crate::Work;
use crate::pods::phase;

pub(super) async fn run(cluster: controller::Cluster, stop: CancellationToken) {
    let backups = cluster.watch(&BACKUP);
    let waiting = backups.clone();
    let reconciler = Backups {
        work: Work::new(&cluster, "cloudnative-pg-backup"),
        clusters: cluster.watch(&CLUSTER),
        pods: cluster.watch(&kinds::POD),
        claims: cluster.watch(&kinds::PERSISTENT_VOLUME_CLAIM),
        backups,
    };
    let controller = Controller::new("postgresql-backup", &cluster, &BACKUP)
        .owns(&kinds::POD, "Backup")
        .watches(&CLUSTER, move |c| {
            let of_it = |b: &Arc<Value>| b["spec"]["cluster"]["name"] == *meta::name(c) && !is_done(b);
            waiting.list_in(meta::namespace(c)).iter().filter(|b| of_it(b)).map(|b| meta::key(b)).collect()
        });
    controller.run(Arc::new(reconciler), stop).await;
}

struct Backups {
    work: Work,
    backups: Cache,
    clusters: Cache,
    pods: Cache,
    claims: Cache,
}

pub(super) fn is_done(backup: &Value) -> bool {
    matches!(backup["status"]["phase"].as_str(), Some("completed" | "failed"))
}

impl Reconciler for Backups {
    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        let Some(backup) = self.backups.get(key) else { return Ok(Next::Done) };
        if meta::is_being_deleted(&backup) || is_done(&backup) {
            return Ok(Next::Done);
        }
        let name = backup["spec"]["cluster"]["name"].as_str().unwrap_or_default();
        let cluster = self.clusters.get(&Key::new(&*key.namespace, name));
        let pod = self.pods.get(&Key::new(&*key.namespace, format!("{}-dump", key.name)));
        let status = next_status(&backup, cluster.as_deref(), pod.as_deref(), &now());
        let before = backup["status"]["phase"].as_str().unwrap_or_default();
        if let (Some(cluster), None, "started") =
            (&cluster, &pod, status["phase"].as_str().unwrap_or_default())
        {
            self.start(&Settings::new(cluster), &backup, &status).await?;
        }
        self.work.cluster.write_status(&BACKUP, &backup, &status).await?;
        match status["phase"].as_str() {
            Some("started") if before != "started" => {
                self.work
                    .events
                    .record(
                        &backup,
                        EventType::Normal,
                        "Starting",
                        &format!("Starting backup for cluster {name}"),
                    )
                    .await;
            }
            Some("completed") => {
                self.work.events.record(&backup, EventType::Normal, "Completed", "Backup completed").await;
                if let Some(pod) = pod {
                    let uid = Some(meta::uid(&pod));
                    self.work
                        .cluster
                        .delete(&kinds::POD, &meta::key(&pod), uid, Propagation::Background)
                        .await?;
                }
            }
            Some("failed") => {
                let text = format!("Backup failed: {}", status["error"].as_str().unwrap_or_default());
                self.work.events.record(&backup, EventType::Warning, "Failed", &text).await;
            }
            _ => {}
        }
        Ok(Next::Done)
    }
}

impl Backups {
    async fn start(&self, s: &Settings<'_>, backup: &Value, status: &Value) -> Result<(), ReconcileError> {
        let claim = objects::backup_claim(s);
        if self.claims.get(&meta::key(&claim)).is_none() {
            match self.work.cluster.create(&kinds::PERSISTENT_VOLUME_CLAIM, &claim).await {
                Err(error) if !error.is_already_exists() => return Err(error.into()),
                _ => {}
            }
        }
        let id = status["backupId"].as_str().unwrap_or_default();
        match self.work.cluster.create(&kinds::POD, &objects::dump_pod(s, backup, id)).await {
            Err(error) if !error.is_already_exists() => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// From what is there to the next phase: pending, started, running, completed or failed.
fn next_status(backup: &Value, cluster: Option<&Value>, pod: Option<&Value>, now: &str) -> Value {
    let mut status = if backup["status"].is_object() { backup["status"].clone() } else { json!({}) };
    let Some(cluster) = cluster else {
        status["phase"] = "pending".into();
        let name = backup["spec"]["cluster"]["name"].as_str().unwrap_or_default();
        status["error"] = format!("unknown cluster {name:?}").into();
        return status;
    };
    if let Some(map) = status.as_object_mut() {
        map.shift_remove("error");
    }
    let Some(pod) = pod else {
        // The pod of a started backup may not be seen yet; a cluster that is not up is waited for.
        let started = matches!(status["phase"].as_str(), Some("started" | "running"));
        if !started && !meta::condition_is_true(cluster, "Ready") {
            status["phase"] = "pending".into();
            return status;
        }
        if !status["startedAt"].is_string() {
            let id: String = now.chars().filter(|c| c.is_ascii_digit() || *c == 'T').collect();
            status["startedAt"] = now.into();
            status["backupId"] = id.clone().into();
            status["backupName"] = format!("backup-{id}").into();
        }
        status["phase"] = "started".into();
        status["method"] = backup["spec"]["method"].clone();
        status["instanceID"] = json!({"podName": cluster["status"]["currentPrimary"]});
        return status;
    };
    match phase(pod) {
        "Succeeded" => {
            status["phase"] = "completed".into();
            status["stoppedAt"] = now.into();
        }
        "Failed" => {
            let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
            let message = ended["message"].as_str().or(pod["status"]["message"].as_str());
            status["phase"] = "failed".into();
            status["stoppedAt"] = now.into();
            status["error"] = message.unwrap_or("the dump failed without a message").trim().into();
        }
        "Running" => status["phase"] = "running".into(),
        _ => status["phase"] = "started".into(),
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_of_a_backup() {
        let up = json!({"status": {"currentPrimary": "pg-1", "conditions": [{"type": "Ready", "status": "True"}]}});
        let backup = |status: Value| json!({"spec": {"cluster": {"name": "pg"}, "method": "plugin"}, "status": status});
        let at = "2026-01-02T03:04:05Z";
        assert_eq!(
            next_status(&backup(Value::Null), None, None, at),
            json!({"phase": "pending", "error": "unknown cluster \"pg\""})
        );
        assert_eq!(
            next_status(&backup(Value::Null), Some(&json!({})), None, at),
            json!({"phase": "pending"})
        );
        let started = next_status(&backup(Value::Null), Some(&up), None, at);
        assert_eq!((&started["phase"], &started["backupId"]), (&json!("started"), &json!("20260102T030405")));
        let pod = |phase: &str| json!({"status": {"phase": phase, "containerStatuses": [{"state": {"terminated": {"message": "no route\n"}}}]}});
        let next = |phase: &str| {
            next_status(&backup(started.clone()), Some(&up), Some(&pod(phase)), "2026-01-02T03:04:09Z")
        };
        assert_eq!(next("Running")["phase"], "running");
        assert_eq!(next("Succeeded")["stoppedAt"], "2026-01-02T03:04:09Z");
        assert_eq!(
            (next("Failed")["phase"].clone(), next("Failed")["error"].clone()),
            (json!("failed"), json!("no route"))
        );
    }
}
