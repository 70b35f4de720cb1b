//! CronJob: a Job at the times of a schedule (`pkg/controller/cronjob/cronjob_controllerv2.go`).

use std::sync::Arc;
use std::time::Duration;

use controller::{
    ApiError, Cache, Cluster, Controller, EventType, Next, Propagation, ReconcileError, Reconciler,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use object::{Key, kinds, meta};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::Work;
use crate::cron::{Schedule, parse_five};
use crate::pods::number;

/// A timer wakes a little late rather than a little early.
const MARGIN: Duration = Duration::from_millis(100);
/// More missed times than this are worth a warning, and are not looked at one by one.
const MANY_MISSED: usize = 100;

pub(crate) async fn run(cluster: Cluster, stop: CancellationToken) {
    let reconciler = CronJobs {
        work: Work::new(&cluster, "cronjob-controller"),
        cron_jobs: cluster.watch(&kinds::CRON_JOB),
        jobs: cluster.watch(&kinds::JOB),
    };
    let controller = Controller::new("cronjob", &cluster, &kinds::CRON_JOB).owns(&kinds::JOB, "CronJob");
    controller.run(Arc::new(reconciler), stop).await;
}

struct CronJobs {
    work: Work,
    cron_jobs: Cache,
    jobs: Cache,
}

impl Reconciler for CronJobs {
    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        let Some(cron_job) = self.cron_jobs.get(key).filter(|c| !meta::is_being_deleted(c)) else {
            return Ok(Next::Done);
        };
        let jobs = self.jobs.controlled_by(&key.namespace, meta::uid(&cron_job));
        self.prune(&cron_job, &jobs).await?;
        let now = Timestamp::now();
        let plan = match schedule(&cron_job) {
            Ok((schedule, zone)) => plan(&cron_job, &jobs, &schedule, &zone, now),
            Err((reason, message)) => {
                self.work.events.record(&cron_job, EventType::Warning, reason, &message).await;
                Plan { status: status(&cron_job, &jobs), ..Plan::default() }
            }
        };
        for (good, reason, message) in &plan.events {
            let kind = if *good { EventType::Normal } else { EventType::Warning };
            self.work.events.record(&cron_job, kind, reason, message).await;
        }
        for job in &plan.replace {
            let (at, uid) = (meta::key(job), Some(meta::uid(job)));
            self.work.cluster.delete(&kinds::JOB, &at, uid, Propagation::Background).await?;
            let text = format!("Deleted job {}", at.name);
            self.work.events.record(&cron_job, EventType::Normal, "SuccessfulDelete", &text).await;
        }
        let mut status = plan.status;
        if let Some(job) = &plan.start {
            self.start(&cron_job, job, &mut status).await?;
        }
        self.work.cluster.write_status(&kinds::CRON_JOB, &cron_job, &status).await?;
        Ok(plan.next.map_or(Next::Done, |wait| Next::After(wait + MARGIN)))
    }
}

impl CronJobs {
    async fn start(&self, cron_job: &Value, job: &Value, status: &mut Value) -> Result<(), ApiError> {
        match self.work.cluster.create(&kinds::JOB, job).await {
            Ok(created) => {
                let text = format!("Created job {}", meta::name(&created));
                self.work.events.record(cron_job, EventType::Normal, "SuccessfulCreate", &text).await;
                let mut active = status["active"].as_array().cloned().unwrap_or_default();
                active.push(meta::reference(&created));
                status["active"] = active.into();
                Ok(())
            }
            // The name is the time: this slot was started already.
            Err(error) if error.is_already_exists() => Ok(()),
            Err(error) => {
                let text = format!("Error creating job: {error}");
                self.work.events.record(cron_job, EventType::Warning, "FailedCreate", &text).await;
                Err(error)
            }
        }
    }

    /// Finished jobs beyond the history limits, oldest first.
    async fn prune(&self, cron_job: &Value, jobs: &[Arc<Value>]) -> Result<(), ApiError> {
        for (kind, field, default) in
            [("Complete", "successfulJobsHistoryLimit", 3), ("Failed", "failedJobsHistoryLimit", 1)]
        {
            let limit = usize::try_from(number(&cron_job["spec"][field], default)).unwrap_or(0);
            let mut done: Vec<&Arc<Value>> =
                jobs.iter().filter(|j| meta::condition_is_true(j, kind)).collect();
            done.sort_by_key(|j| j["status"]["startTime"].as_str().unwrap_or_default().to_owned());
            let surplus = done.len().saturating_sub(limit);
            for job in done.into_iter().take(surplus) {
                let (at, uid) = (meta::key(job), Some(meta::uid(job)));
                self.work.cluster.delete(&kinds::JOB, &at, uid, Propagation::Background).await?;
            }
        }
        Ok(())
    }
}

fn schedule(cron_job: &Value) -> Result<(Schedule, TimeZone), (&'static str, String)> {
    let text = cron_job["spec"]["schedule"].as_str().unwrap_or_default();
    let schedule = parse_five(text)
        .map_err(|e| ("UnparseableSchedule", format!("unparseable schedule: {text:?} : {e}")))?;
    let zone = match cron_job["spec"]["timeZone"].as_str() {
        Some(name) => TimeZone::get(name)
            .map_err(|e| ("UnknownTimeZone", format!("invalid timeZone: {name:?}: {e}")))?,
        None => TimeZone::system(),
    };
    Ok((schedule, zone))
}

#[derive(Default)]
struct Plan {
    start: Option<Value>,
    replace: Vec<Arc<Value>>,
    /// Good news or not, reason, message.
    events: Vec<(bool, &'static str, String)>,
    status: Value,
    next: Option<Duration>,
}

fn is_finished(job: &Value) -> bool {
    meta::condition_is_true(job, "Complete") || meta::condition_is_true(job, "Failed")
}

/// Active jobs, and when the last one succeeded.
fn status(cron_job: &Value, jobs: &[Arc<Value>]) -> Value {
    let mut status = if cron_job["status"].is_object() { cron_job["status"].clone() } else { json!({}) };
    let active: Vec<Value> = jobs.iter().filter(|j| !is_finished(j)).map(|j| meta::reference(j)).collect();
    if let Some(map) = status.as_object_mut() {
        map.shift_remove("active");
    }
    if !active.is_empty() {
        status["active"] = active.into();
    }
    let done = jobs.iter().filter_map(|j| j["status"]["completionTime"].as_str()).max();
    let known = status["lastSuccessfulTime"].as_str();
    if let Some(done) = done.filter(|done| known.is_none_or(|known| known < *done)) {
        status["lastSuccessfulTime"] = done.into();
    }
    status
}

fn plan(cron_job: &Value, jobs: &[Arc<Value>], schedule: &Schedule, zone: &TimeZone, now: Timestamp) -> Plan {
    let mut plan = Plan { status: status(cron_job, jobs), ..Plan::default() };
    let known = cron_job["status"]["active"].as_array().into_iter().flatten();
    for reference in known {
        let ended = jobs.iter().find(|j| reference["uid"] == *meta::uid(j)).filter(|j| is_finished(j));
        if let Some(job) = ended {
            let kind = if meta::condition_is_true(job, "Complete") { "Complete" } else { "Failed" };
            plan.events.push((
                true,
                "SawCompletedJob",
                format!("Saw completed job: {}, condition: {kind}", meta::name(job)),
            ));
        }
    }
    if cron_job["spec"]["suspend"] == true {
        return plan;
    }
    let wait =
        |next: Timestamp| Duration::from_secs(u64::try_from(next.as_second() - now.as_second()).unwrap_or(0));
    plan.next = schedule.next(now, zone).map(wait);
    let (missed, count) = most_recent_missed(cron_job, schedule, zone, now);
    if count > MANY_MISSED {
        plan.events.push((
            false,
            "TooManyMissedTimes",
            "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
                .to_owned(),
        ));
    }
    let Some(time) = missed else { return plan };
    let deadline = cron_job["spec"]["startingDeadlineSeconds"].as_i64();
    if deadline.is_some_and(|deadline| time.as_second() + deadline < now.as_second()) {
        plan.events.push((false, "MissSchedule", format!("Missed scheduled time to start a job: {time}")));
        return plan;
    }
    let fresh = job(cron_job, time, zone);
    // The watch may not show yet that this slot was started.
    if jobs.iter().any(|j| meta::name(j) == meta::name(&fresh)) {
        return plan;
    }
    let active: Vec<Arc<Value>> = jobs.iter().filter(|j| !is_finished(j)).cloned().collect();
    match cron_job["spec"]["concurrencyPolicy"].as_str() {
        Some("Forbid") if !active.is_empty() => {
            let text = "Not starting job because prior execution is running and concurrency policy is Forbid";
            plan.events.push((true, "JobAlreadyActive", text.to_owned()));
            return plan;
        }
        Some("Replace") => plan.replace = active,
        _ => {}
    }
    plan.status["lastScheduleTime"] = time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
    plan.start = Some(fresh);
    plan
}

/// Only the latest of several missed times starts a job.
fn most_recent_missed(
    cron_job: &Value,
    schedule: &Schedule,
    zone: &TimeZone,
    now: Timestamp,
) -> (Option<Timestamp>, usize) {
    let time = |text: &Value| text.as_str().and_then(|t| t.parse::<Timestamp>().ok());
    let created = time(&cron_job["metadata"]["creationTimestamp"]);
    let mut from = time(&cron_job["status"]["lastScheduleTime"]).or(created).unwrap_or(now);
    if let Some(deadline) = cron_job["spec"]["startingDeadlineSeconds"].as_i64()
        && let Ok(earliest) = Timestamp::from_second(now.as_second() - deadline)
    {
        from = from.max(earliest);
    }
    let (mut last, mut count) = (None, 0);
    while let Some(next) = schedule.next(from, zone).filter(|next| *next <= now) {
        count += 1;
        if count > MANY_MISSED {
            // A long pause: look only at its last hour, or at the last year for rare schedules.
            let recent = [3600, 86_400, 366 * 86_400].into_iter().find_map(|span| {
                let from = Timestamp::from_second(now.as_second() - span).ok()?;
                schedule.next(from, zone).filter(|next| *next <= now)
            });
            let mut at = recent.unwrap_or(next);
            while let Some(later) = schedule.next(at, zone).filter(|later| *later <= now) {
                at = later;
            }
            return (Some(at), count);
        }
        last = Some(next);
        from = next;
    }
    (last, count)
}

fn job(cron_job: &Value, time: Timestamp, zone: &TimeZone) -> Value {
    let template = &cron_job["spec"]["jobTemplate"];
    let mut job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {
            "name": format!("{}-{}", meta::name(cron_job), time.as_second().div_euclid(60)),
            "namespace": meta::namespace(cron_job),
            "ownerReferences": [meta::controller_reference(cron_job)],
        },
        "spec": template["spec"],
    });
    for field in ["labels", "annotations"] {
        if let Some(map) = template["metadata"].get(field).filter(|m| m.is_object()) {
            job["metadata"][field] = map.clone();
        }
    }
    let local = time.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    let local = local.strip_suffix("+00:00").map_or_else(|| local.clone(), |utc| format!("{utc}Z"));
    meta::set_annotation(&mut job, "batch.kubernetes.io/cronjob-scheduled-timestamp", &local);
    job
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron_job(spec: Value, status: Value) -> Value {
        let mut spec = spec;
        spec["jobTemplate"] = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"template": {}}});
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "spec": spec, "status": status,
            "metadata": {"name": "tick", "namespace": "n", "uid": "u", "creationTimestamp": "2026-01-01T00:00:30Z"}})
    }

    fn planned(spec: Value, status: Value, jobs: &[Arc<Value>], now: &str) -> Plan {
        let schedule = parse_five("*/10 * * * *").unwrap();
        plan(&cron_job(spec, status), jobs, &schedule, &TimeZone::UTC, now.parse().unwrap())
    }

    #[test]
    fn when_a_job_starts() {
        let check = |spec: Value, status: Value, now: &str, expected: Option<&str>| {
            let plan = planned(spec, status, &[], now);
            let at = plan
                .start
                .as_ref()
                .and_then(|j| meta::annotation(j, "batch.kubernetes.io/cronjob-scheduled-timestamp"));
            assert_eq!(at, expected, "at {now}");
        };
        check(json!({}), json!({}), "2026-01-01T00:09:59Z", None);
        check(json!({}), json!({}), "2026-01-01T00:10:00Z", Some("2026-01-01T00:10:00Z"));
        check(json!({}), json!({"lastScheduleTime": "2026-01-01T00:10:00Z"}), "2026-01-01T00:10:01Z", None);
        check(json!({}), json!({}), "2026-01-01T00:35:00Z", Some("2026-01-01T00:30:00Z"));
        check(json!({"suspend": true}), json!({}), "2026-01-01T00:35:00Z", None);
        check(json!({"startingDeadlineSeconds": 60}), json!({}), "2026-01-01T00:35:00Z", None);
        check(json!({}), json!({}), "2026-03-01T00:05:00Z", Some("2026-03-01T00:00:00Z"));
    }

    #[test]
    fn concurrency_policies() {
        let running = [Arc::new(json!({"metadata": {"name": "tick-1", "uid": "j"}}))];
        let check = |policy: &str, starts: bool, replaced: usize| {
            let plan =
                planned(json!({"concurrencyPolicy": policy}), json!({}), &running, "2026-01-01T00:10:00Z");
            assert_eq!((plan.start.is_some(), plan.replace.len()), (starts, replaced), "{policy}");
        };
        check("Allow", true, 0);
        check("Forbid", false, 0);
        check("Replace", true, 1);
    }

    #[test]
    fn the_name_is_the_minute() {
        let plan = planned(json!({}), json!({}), &[], "2026-01-01T00:10:00Z");
        let job = plan.start.unwrap();
        assert_eq!((meta::name(&job), meta::label(&job, "a")), ("tick-29453770", Some("b")));
        assert_eq!(plan.next, Some(Duration::from_secs(600)));
        assert_eq!(plan.status["lastScheduleTime"], "2026-01-01T00:10:00Z");
    }
}
