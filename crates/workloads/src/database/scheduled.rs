//! ScheduledBackups: a Backup whenever the six-field schedule says so. Missed times are not made up for.

use std::sync::Arc;
use std::time::Duration;

use controller::{Cache, Controller, EventType, Next, ReconcileError, Reconciler};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use object::{Key, meta};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::api::{BACKUP, CLUSTER, SCHEDULED_BACKUP};
use crate::Work;
use crate::cron::{Schedule, parse_six};

/// A timer wakes a little late rather than a little early.
const MARGIN: Duration = Duration::from_millis(100);

pub(super) async fn run(cluster: controller::Cluster, stop: CancellationToken) {
    let reconciler = Scheduled {
        work: Work::new(&cluster, "cloudnative-pg-scheduledbackup"),
        schedules: cluster.watch(&SCHEDULED_BACKUP),
        clusters: cluster.watch(&CLUSTER),
    };
    let controller = Controller::new("postgresql-schedule", &cluster, &SCHEDULED_BACKUP);
    controller.run(Arc::new(reconciler), stop).await;
}

struct Scheduled {
    work: Work,
    schedules: Cache,
    clusters: Cache,
}

impl Reconciler for Scheduled {
    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        let Some(scheduled) = self.schedules.get(key) else { return Ok(Next::Done) };
        if meta::is_being_deleted(&scheduled) || scheduled["spec"]["suspend"] == true {
            return Ok(Next::Done);
        }
        let text = scheduled["spec"]["schedule"].as_str().unwrap_or_default();
        let schedule = match parse_six(text) {
            Ok(schedule) => schedule,
            Err(error) => {
                let message = format!("Invalid schedule {text:?}: {error}");
                self.work.events.record(&scheduled, EventType::Warning, "InvalidSchedule", &message).await;
                return Ok(Next::Done);
            }
        };
        let at = Timestamp::now();
        let plan = plan(&scheduled, &schedule, at);
        if let Some(time) = plan.start {
            let backup = self.backup(&scheduled, time);
            match self.work.cluster.create(&BACKUP, &backup).await {
                Err(error) if !error.is_already_exists() => return Err(error.into()),
                _ => {}
            }
            let message = format!("Scheduled backup {}", meta::name(&backup));
            self.work.events.record(&scheduled, EventType::Normal, "BackupSchedule", &message).await;
        }
        self.work.cluster.write_status(&SCHEDULED_BACKUP, &scheduled, &plan.status).await?;
        let wait = plan
            .next
            .map(|next| Duration::from_secs(u64::try_from(next.as_second() - at.as_second()).unwrap_or(0)));
        Ok(wait.map_or(Next::Done, |wait| Next::After(wait + MARGIN)))
    }
}

impl Scheduled {
    fn backup(&self, scheduled: &Value, time: Timestamp) -> Value {
        let (name, namespace) = (meta::name(scheduled), meta::namespace(scheduled));
        let mut metadata = json!({
            "name": format!("{name}-{}", time.strftime("%Y%m%d%H%M%S")), "namespace": namespace,
            "labels": {"cnpg.io/cluster": scheduled["spec"]["cluster"]["name"], "cnpg.io/scheduled-backup": name},
        });
        let cluster = scheduled["spec"]["cluster"]["name"].as_str().unwrap_or_default();
        let owner = match scheduled["spec"]["backupOwnerReference"].as_str() {
            Some("self") => Some(meta::controller_reference(scheduled)),
            Some("cluster") => {
                let cluster = self.clusters.get(&Key::new(namespace, cluster));
                cluster.map(|cluster| meta::controller_reference(&cluster))
            }
            _ => None,
        };
        if let Some(owner) = owner {
            metadata["ownerReferences"] = json!([owner]);
        }
        json!({
            "apiVersion": BACKUP.api_version(), "kind": BACKUP.kind, "metadata": metadata,
            "spec": {"cluster": scheduled["spec"]["cluster"], "method": scheduled["spec"]["method"]},
        })
    }
}

struct Plan {
    /// A backup is due for this time.
    start: Option<Timestamp>,
    next: Option<Timestamp>,
    status: Value,
}

fn plan(scheduled: &Value, schedule: &Schedule, now: Timestamp) -> Plan {
    let text = |time: Timestamp| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut status = if scheduled["status"].is_object() { scheduled["status"].clone() } else { json!({}) };
    let planned: Option<Timestamp> = status["nextScheduleTime"].as_str().and_then(|t| t.parse().ok());
    let is_new = !status["lastCheckTime"].is_string();
    let due = planned.filter(|time| *time <= now);
    let start = if is_new && scheduled["spec"]["immediate"] == true { Some(now) } else { due };
    let next = schedule.next(now, &TimeZone::UTC);
    if is_new || start.is_some() {
        status["lastCheckTime"] = text(now).into();
    }
    if let Some(time) = start {
        status["lastScheduleTime"] = text(time).into();
    }
    if let Some(map) = status.as_object_mut() {
        map.shift_remove("nextScheduleTime");
    }
    if let Some(time) = next {
        status["nextScheduleTime"] = text(time).into();
    }
    Plan { start, next, status }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_backup_starts() {
        let schedule = parse_six("0 0 2 * * *").unwrap();
        let check = |spec: Value, status: Value, now: &str, start: Option<&str>, next: &str| {
            let plan = plan(&json!({"spec": spec, "status": status}), &schedule, now.parse().unwrap());
            assert_eq!(plan.start.map(|t| t.to_string()).as_deref(), start, "{status}");
            assert_eq!(plan.status["nextScheduleTime"], next);
        };
        let planned = |next: &str| json!({"lastCheckTime": "2026-01-01T00:00:00Z", "nextScheduleTime": next});
        check(json!({}), Value::Null, "2026-01-01T01:00:00Z", None, "2026-01-01T02:00:00Z");
        check(
            json!({"immediate": true}),
            Value::Null,
            "2026-01-01T01:00:00Z",
            Some("2026-01-01T01:00:00Z"),
            "2026-01-01T02:00:00Z",
        );
        check(
            json!({}),
            planned("2026-01-01T02:00:00Z"),
            "2026-01-01T01:59:59Z",
            None,
            "2026-01-01T02:00:00Z",
        );
        let due = Some("2026-01-01T02:00:00Z");
        check(
            json!({}),
            planned("2026-01-01T02:00:00Z"),
            "2026-01-01T02:00:01Z",
            due,
            "2026-01-02T02:00:00Z",
        );
        check(
            json!({}),
            planned("2026-01-01T02:00:00Z"),
            "2026-01-09T03:00:00Z",
            due,
            "2026-01-10T02:00:00Z",
        );
    }
}
