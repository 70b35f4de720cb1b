//! Jobs from their start to their last condition, against pods that end as told.

use super::*;

struct World {
    job: Value,
    pods: Vec<Value>,
    clock: i64,
    made: usize,
}

impl World {
    fn new(spec: Value) -> Self {
        let mut spec = spec;
        spec["template"] =
            json!({"metadata": {}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c"}]}});
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "n", "uid": "u"}, "spec": spec});
        Self { job, pods: vec![], clock: 1_767_225_600, made: 0 }
    }

    fn step(&mut self) -> Plan {
        self.clock += 1;
        let pods: Vec<Arc<Value>> = self.pods.iter().cloned().map(Arc::new).collect();
        let plan =
            plan(&Observed { job: &self.job, pods: &pods, now: Timestamp::from_second(self.clock).unwrap() });
        for pod in &plan.create {
            let mut pod = pod.clone();
            self.made += 1;
            pod["metadata"]["uid"] = format!("p{}", self.made).into();
            pod["spec"]["nodeName"] = "node".into();
            self.pods.push(pod);
        }
        let gone: Vec<String> = plan.delete.iter().map(|p| meta::uid(p).to_owned()).collect();
        self.pods.retain(|p| !gone.contains(&meta::uid(p).to_owned()));
        self.job["status"] = plan.status.clone();
        for pod in &plan.release {
            let released = self.pods.iter_mut().find(|p| meta::uid(p) == meta::uid(pod)).unwrap();
            released["metadata"]["finalizers"] = json!([]);
        }
        plan
    }

    /// Ends all running pods.
    fn end(&mut self, phase: &str) {
        let at = Timestamp::from_second(self.clock).unwrap().to_string();
        for pod in self.pods.iter_mut().filter(|pod| !is_finished(pod)) {
            pod["status"] =
                json!({"phase": phase, "containerStatuses": [{"state": {"terminated": {"finishedAt": at}}}]});
        }
    }

    fn running(&self) -> usize {
        self.pods.iter().filter(|pod| !is_finished(pod)).count()
    }

    /// Until nothing changes, ending each new pod as told.
    fn play(&mut self, phase: &str) {
        for _ in 0..60 {
            self.step();
            self.end(phase);
            self.clock += 700;
        }
    }

    fn conditions(&self) -> Vec<String> {
        let all = self.job["status"]["conditions"].as_array().into_iter().flatten();
        all.filter(|c| c["status"] == "True")
            .map(|c| format!("{}/{}", c["type"].as_str().unwrap(), c["reason"].as_str().unwrap()))
            .collect()
    }
}

#[test]
fn success_is_announced_counted_and_then_final() {
    let mut world = World::new(json!({"completions": 3, "parallelism": 2, "backoffLimit": 6}));
    world.step();
    assert_eq!((world.running(), &world.job["status"]["active"]), (2, &json!(2)));
    world.end("Succeeded");
    world.step();
    assert_eq!(world.job["status"]["uncountedTerminatedPods"]["succeeded"], json!(["p1", "p2"]));
    assert_eq!(world.running(), 1, "one is left to do");
    world.play("Succeeded");
    assert_eq!(world.job["status"]["succeeded"], 3);
    assert_eq!(world.conditions(), ["SuccessCriteriaMet/CompletionsReached", "Complete/CompletionsReached"]);
    assert!(world.job["status"]["completionTime"].is_string());
    assert_eq!(world.made, 3);
}

#[test]
fn failures_back_off_and_end_at_the_limit() {
    let mut world = World::new(json!({"completions": 1, "parallelism": 1, "backoffLimit": 2}));
    world.step();
    world.end("Failed");
    let plan = world.step();
    assert_eq!(
        (plan.create.len(), plan.again),
        (0, Some(Duration::from_secs(9))),
        "the first pause is ten seconds"
    );
    world.play("Failed");
    assert_eq!((world.made, &world.job["status"]["failed"]), (3, &json!(3)));
    assert_eq!(world.conditions(), ["FailureTarget/BackoffLimitExceeded", "Failed/BackoffLimitExceeded"]);
}

#[test]
fn the_deadline_stops_what_runs() {
    let mut world = World::new(json!({"completions": 1, "parallelism": 1, "activeDeadlineSeconds": 60}));
    assert_eq!(world.step().again, Some(Duration::from_secs(60)));
    world.clock += 60;
    world.step();
    assert_eq!(world.running(), 0);
    world.step();
    assert_eq!(world.conditions(), ["FailureTarget/DeadlineExceeded", "Failed/DeadlineExceeded"]);
}

#[test]
fn a_suspended_job_runs_nothing_and_starts_anew() {
    let mut world = World::new(json!({"completions": 1, "parallelism": 1, "suspend": true}));
    world.step();
    assert_eq!((world.running(), world.conditions()), (0, vec!["Suspended/JobSuspended".to_owned()]));
    world.job["spec"]["suspend"] = false.into();
    world.step();
    assert_eq!((world.running(), world.conditions().len()), (1, 0));
    assert!(world.job["status"]["startTime"].is_string());
}

#[test]
fn indexed_jobs_do_each_index_once() {
    let mut world = World::new(json!({"completions": 4, "parallelism": 2, "completionMode": "Indexed"}));
    world.step();
    assert_eq!(world.pods[1]["spec"]["hostname"], "j-1");
    assert_eq!(
        world.pods[1]["spec"]["containers"][0]["env"],
        json!([{"name": "JOB_COMPLETION_INDEX", "value": "1"}])
    );
    world.end("Failed");
    world.clock += 700;
    world.play("Succeeded");
    assert_eq!(world.job["status"]["completedIndexes"], "0-3");
    assert_eq!((world.made, &world.job["status"]["failed"]), (6, &json!(2)));
}

#[test]
fn a_work_queue_ends_with_its_last_worker() {
    let mut world = World::new(json!({"parallelism": 2}));
    world.step();
    world.pods[0]["status"] = json!({"phase": "Succeeded"});
    world.step();
    assert_eq!(world.running(), 1, "no new worker after a success");
    world.play("Succeeded");
    assert_eq!(world.conditions().last().map(String::as_str), Some("Complete/CompletionsReached"));
}

#[test]
fn a_finished_job_goes_after_its_time() {
    let mut world =
        World::new(json!({"completions": 1, "parallelism": 1, "ttlSecondsAfterFinished": 100_000}));
    world.play("Succeeded");
    assert!(!world.step().expired);
    world.clock += 100_000;
    assert!(world.step().expired);
}

#[test]
fn index_ranges() {
    for text in ["", "0", "0,1", "0-2,5", "1,3,5-9"] {
        assert_eq!(print_indexes(&parse_indexes(text)), text);
    }
}
