//! Job: pods that run to their end, counted exactly once (`pkg/controller/job/job_controller.go`). Each pod carries a
//! finalizer until the Job's status has counted it.

mod plan;

use std::sync::Arc;

use controller::{
    ApiError, Cache, Cluster, Controller, EventType, Next, Patch, Propagation, ReconcileError, Reconciler,
};
use jiff::Timestamp;
use object::{Key, kinds, meta};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::Work;
use crate::recent::Recent;
use plan::{Observed, TRACKING};

pub(crate) async fn run(cluster: Cluster, stop: CancellationToken) {
    let reconciler = Jobs {
        work: Work::new(&cluster, "job-controller"),
        recent: Recent::new(&cluster, cluster.watch(&kinds::POD)),
        jobs: cluster.watch(&kinds::JOB),
    };
    let controller = Controller::new("job", &cluster, &kinds::JOB).owns(&kinds::POD, "Job");
    controller.run(Arc::new(reconciler), stop).await;
}

struct Jobs {
    work: Work,
    recent: Recent,
    jobs: Cache,
}

impl Reconciler for Jobs {
    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        let job = self.jobs.get(key);
        let mut pods = self.recent.list(key).await?;
        let Some(job) = job else {
            pods.retain(|pod| {
                meta::controller_of(pod).is_some_and(|o| o["kind"] == "Job" && o["name"] == *key.name)
            });
            return self.let_go(&pods).await;
        };
        pods.retain(|pod| meta::is_controlled_by(pod, meta::uid(&job)));
        if meta::is_being_deleted(&job) {
            return self.let_go(&pods).await;
        }
        if job["spec"]["managedBy"].as_str().is_some_and(|by| by != "kubernetes.io/job-controller") {
            return Ok(Next::Done);
        }
        let plan = plan::plan(&Observed { job: &job, pods: &pods, now: Timestamp::now() });
        if plan.expired {
            let uid = Some(meta::uid(&job));
            self.work.cluster.delete(&kinds::JOB, key, uid, Propagation::Foreground).await?;
            return Ok(Next::Done);
        }
        for pod in &plan.create {
            let created = self.work.cluster.create(&kinds::POD, pod).await?;
            self.recent.created(key, &created);
            let text = format!("Created pod: {}", meta::name(&created));
            self.work.events.record(&job, EventType::Normal, "SuccessfulCreate", &text).await;
        }
        for pod in &plan.delete {
            let (at, uid) = (meta::key(pod), Some(meta::uid(pod)));
            self.work.cluster.delete(&kinds::POD, &at, uid, Propagation::Background).await?;
            self.recent.deleted(key, pod);
            let text = format!("Deleted pod: {}", at.name);
            self.work.events.record(&job, EventType::Normal, "SuccessfulDelete", &text).await;
        }
        // What is to be counted is written down first, and only then let go.
        self.work.cluster.write_status(&kinds::JOB, &job, &plan.status).await?;
        for pod in &plan.release {
            self.release(pod).await?;
        }
        if let Some((reason, message, is_good)) = &plan.event {
            let kind = if *is_good { EventType::Normal } else { EventType::Warning };
            self.work.events.record(&job, kind, reason, message).await;
        }
        Ok(plan.again.map_or(Next::Done, Next::After))
    }
}

impl Jobs {
    /// The pods of a Job that goes are not counted any more.
    async fn let_go(&self, pods: &[Arc<Value>]) -> Result<Next, ReconcileError> {
        for pod in pods.iter().filter(|pod| meta::has_finalizer(pod, TRACKING)) {
            self.release(pod).await?;
        }
        Ok(Next::Done)
    }

    async fn release(&self, pod: &Value) -> Result<(), ApiError> {
        let left: Vec<&str> = meta::finalizers(pod).filter(|f| *f != TRACKING).collect();
        let metadata = json!({"uid": meta::uid(pod), "finalizers": left});
        let patch = json!({ "metadata": metadata });
        match self.work.cluster.patch(&kinds::POD, &meta::key(pod), "", Patch::Merge(&patch)).await {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
            _ => Ok(()),
        }
    }
}
