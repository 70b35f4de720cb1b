//! A Cluster's status: phases, conditions and names as CloudNativePG writes them; tools read them verbatim. Pure.

use std::sync::Arc;

use object::meta;
use serde_json::{Value, json};

use super::objects::Settings;
use crate::pods::{is_active, is_ready};

/// What a status is computed from.
pub(super) struct Observed<'a> {
    pub(super) settings: &'a Settings<'a>,
    /// The instances' pods, by serial.
    pub(super) pods: &'a [Arc<Value>],
    pub(super) claims: &'a [Arc<Value>],
    pub(super) backups: &'a [Arc<Value>],
    /// A field that is set and not supported.
    pub(super) unsupported: Option<String>,
    /// Pods are being replaced because the spec changed.
    pub(super) upgrading: bool,
}

/// The whole status.
pub(super) fn status(observed: &Observed<'_>, now: &str) -> Value {
    let s = observed.settings;
    let primary = s.instance(1);
    let active: Vec<&Arc<Value>> = observed.pods.iter().filter(|pod| is_active(pod)).collect();
    let ready: Vec<&str> = active.iter().filter(|pod| is_ready(pod)).map(|pod| meta::name(pod)).collect();
    let primary_ready = ready.contains(&primary.as_str());
    let complete = primary_ready && ready.len() as i64 >= s.instances;
    let was_up = s.cluster["status"]["currentPrimary"].is_string();
    let (phase, why) = match &observed.unsupported {
        Some(problem) => ("Invalid cluster definition", problem.clone()),
        None if complete && !observed.upgrading => ("Cluster in healthy state", String::new()),
        None if observed.upgrading => ("Upgrading cluster", "the pod's specification changed".to_owned()),
        None if primary_ready => {
            ("Creating a new replica", format!("{} of {} instances are ready", ready.len(), s.instances))
        }
        None if was_up => (
            "Waiting for the instances to become active",
            "Some instances are not yet active. Please wait.".to_owned(),
        ),
        None => ("Setting up primary", format!("Creating primary instance {primary}")),
    };
    let mut status = if s.cluster["status"].is_object() { s.cluster["status"].clone() } else { json!({}) };
    let mut set = |field: &str, value: Value| {
        if value.is_null() || value == "" {
            if let Some(map) = status.as_object_mut() {
                map.shift_remove(field);
            }
        } else {
            status[field] = value;
        }
    };
    let names: Vec<&str> = observed.claims.iter().map(|claim| meta::name(claim)).collect();
    let failed: Vec<&str> =
        active.iter().map(|pod| meta::name(pod)).filter(|name| !ready.contains(name)).collect();
    set("instances", (observed.claims.len() as i64).into());
    set("readyInstances", (ready.len() as i64).into());
    set("phase", phase.into());
    set("phaseReason", why.clone().into());
    set("instanceNames", json!(names));
    set("healthyPVC", json!(names));
    set("instancesStatus", json!({"healthy": ready, "failed": failed}));
    set("latestGeneratedNode", (names.len() as i64).into());
    set("targetPrimary", primary.clone().into());
    if primary_ready {
        set("currentPrimary", primary.into());
        if !was_up {
            set("currentPrimaryTimestamp", now.into());
        }
    }
    set("writeService", format!("{}-rw", s.name).into());
    set("readService", format!("{}-r", s.name).into());
    set("image", s.image().into());
    let last = last_backup(observed.backups, "completed");
    set("lastSuccessfulBackup", last.map_or(Value::Null, Value::from));
    let mut conditions = s.cluster["status"]["conditions"].as_array().cloned().unwrap_or_default();
    for condition in conditions_of(observed, complete, was_up || primary_ready, &why) {
        meta::set_condition(&mut conditions, condition, now);
    }
    set("conditions", conditions.into());
    status
}

fn conditions_of(observed: &Observed<'_>, complete: bool, initialized: bool, why: &str) -> Vec<Value> {
    let mut conditions = vec![];
    conditions.push(if complete && observed.unsupported.is_none() {
        json!({"type": "Ready", "status": "True", "reason": "ClusterIsReady", "message": "Cluster is Ready"})
    } else {
        let message = if observed.unsupported.is_some() { why } else { "Cluster Is Not Ready" };
        json!({"type": "Ready", "status": "False", "reason": "ClusterIsNotReady", "message": message})
    });
    conditions.push(if initialized {
        json!({"type": "Initialized", "status": "True", "reason": "BootstrapCompleted", "message": "Bootstrap completed"})
    } else {
        json!({"type": "Initialized", "status": "False", "reason": "BootstrapPending", "message": "Bootstrap pending"})
    });
    let (good, bad) = (last_backup(observed.backups, "completed"), last_backup(observed.backups, "failed"));
    if good.is_some() || bad.is_some() {
        conditions.push(if good >= bad {
            json!({"type": "LastBackupSucceeded", "status": "True", "reason": "LastBackupSucceeded", "message": "Backup was successful"})
        } else {
            json!({"type": "LastBackupSucceeded", "status": "False", "reason": "LastBackupFailed", "message": "Backup failed"})
        });
    }
    conditions
}

/// When the newest backup of a phase ended.
fn last_backup(backups: &[Arc<Value>], phase: &str) -> Option<String> {
    let ended = backups.iter().filter(|b| b["status"]["phase"] == phase);
    ended.filter_map(|b| b["status"]["stoppedAt"].as_str().map(str::to_owned)).max()
}

/// The first field that asks for something that is not done here.
pub(super) fn unsupported(cluster: &Value) -> Option<String> {
    let spec = &cluster["spec"];
    let rows = [
        ("bootstrap.recovery", &spec["bootstrap"]["recovery"]),
        ("bootstrap.pg_basebackup", &spec["bootstrap"]["pg_basebackup"]),
        ("replica", &spec["replica"]),
        ("walStorage", &spec["walStorage"]),
        ("tablespaces", &spec["tablespaces"]),
        ("backup", &spec["backup"]["barmanObjectStore"]),
        ("plugins", &spec["plugins"]),
        ("bootstrap.initdb.import", &spec["bootstrap"]["initdb"]["import"]),
        ("bootstrap.initdb.postInitSQLRefs", &spec["bootstrap"]["initdb"]["postInitSQLRefs"]),
        ("managed", &spec["managed"]),
    ];
    let set = |value: &Value| {
        value.as_object().is_some_and(|m| !m.is_empty()) || value.as_array().is_some_and(|a| !a.is_empty())
    };
    rows.into_iter().find(|(_, value)| set(value)).map(|(name, _)| format!("spec.{name} is not supported"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, ready: bool) -> Arc<Value> {
        let value = if ready { "True" } else { "False" };
        Arc::new(
            json!({"metadata": {"name": name}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": value}]}}),
        )
    }

    #[test]
    fn phases() {
        let check = |spec: Value, status_before: Value, pods: &[Arc<Value>], expected: (&str, &str)| {
            let cluster =
                json!({"metadata": {"name": "pg", "namespace": "n"}, "spec": spec, "status": status_before});
            let settings = Settings::new(&cluster);
            let claims: Vec<Arc<Value>> = pods.to_vec();
            let observed = Observed {
                settings: &settings,
                pods,
                claims: &claims,
                backups: &[],
                unsupported: unsupported(&cluster),
                upgrading: false,
            };
            let status = status(&observed, "t");
            let ready = meta::condition(&json!({"status": status}), "Ready").cloned().unwrap();
            assert_eq!((status["phase"].as_str().unwrap(), ready["reason"].as_str().unwrap()), expected);
        };
        let up = json!({"currentPrimary": "pg-1"});
        check(json!({"instances": 1}), json!({}), &[], ("Setting up primary", "ClusterIsNotReady"));
        check(
            json!({"instances": 1}),
            json!({}),
            &[pod("pg-1", true)],
            ("Cluster in healthy state", "ClusterIsReady"),
        );
        check(
            json!({"instances": 2}),
            json!({}),
            &[pod("pg-1", true)],
            ("Creating a new replica", "ClusterIsNotReady"),
        );
        check(
            json!({"instances": 1}),
            up,
            &[pod("pg-1", false)],
            ("Waiting for the instances to become active", "ClusterIsNotReady"),
        );
        let recovery = json!({"instances": 1, "bootstrap": {"recovery": {"backup": {"name": "b"}}}});
        check(recovery, json!({}), &[], ("Invalid cluster definition", "ClusterIsNotReady"));
    }

    #[test]
    fn the_last_backup_decides_its_condition() {
        let backup = |phase: &str, at: &str| Arc::new(json!({"status": {"phase": phase, "stoppedAt": at}}));
        let cluster = json!({"metadata": {"name": "pg", "namespace": "n"}, "spec": {}});
        let settings = Settings::new(&cluster);
        let check = |backups: &[Arc<Value>], expected: Option<&str>| {
            let observed = Observed {
                settings: &settings,
                pods: &[],
                claims: &[],
                backups,
                unsupported: None,
                upgrading: false,
            };
            let object = json!({"status": status(&observed, "t")});
            let condition = meta::condition(&object, "LastBackupSucceeded");
            assert_eq!(condition.and_then(|c| c["status"].as_str()), expected);
        };
        check(&[], None);
        check(&[backup("completed", "2026-01-01T00:00:00Z")], Some("True"));
        check(
            &[backup("completed", "2026-01-01T00:00:00Z"), backup("failed", "2026-01-02T00:00:00Z")],
            Some("False"),
        );
    }
}
