//! The arithmetic of rolling updates, and whole rollouts played against simulated ReplicaSets.

use super::*;

const T0: &str = "2026-01-01T00:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn deployment(replicas: i64, strategy: Value, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "n", "uid": "d", "generation": 1},
        "spec": {
            "replicas": replicas, "revisionHistoryLimit": 2, "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": strategy,
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}},
        },
    })
}

fn rolling(surge: Value, unavailable: Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

#[test]
fn surge_rounds_up_and_unavailable_down() {
    let check = |replicas: i64, surge: Value, unavailable: Value, expected: (i64, i64)| {
        assert_eq!(
            fenceposts(&deployment(replicas, rolling(surge, unavailable), "a")),
            expected,
            "{replicas}"
        );
    };
    for (replicas, expected) in [
        (1, (1, 0)),
        (2, (1, 0)),
        (3, (1, 0)),
        (4, (1, 1)),
        (5, (2, 1)),
        (8, (2, 2)),
        (9, (3, 2)),
        (10, (3, 2)),
    ] {
        check(replicas, json!("25%"), json!("25%"), expected);
    }
    check(10, json!(0), json!(0), (0, 1));
    check(3, json!(0), json!("10%"), (0, 1));
    check(2, json!(1), json!(5), (1, 2));
    check(0, json!("25%"), json!("25%"), (0, 0));
}

/// ReplicaSets that obey at once; pods become available when the test says so.
struct World {
    deployment: Value,
    sets: Vec<Value>,
    clock: i64,
}

impl World {
    fn new(deployment: Value) -> Self {
        Self { deployment, sets: vec![], clock: at(T0).as_second() }
    }

    /// One pass; says whether anything changed but the status.
    fn step(&mut self) -> bool {
        self.clock += 1;
        let sets: Vec<Arc<Value>> = self.sets.iter().cloned().map(Arc::new).collect();
        let now = Timestamp::from_second(self.clock).unwrap();
        let plan = plan(&Observed { deployment: &self.deployment, sets: &sets, pods: &[], now });
        let busy = plan.create.is_some() || !plan.changes.is_empty() || !plan.delete.is_empty();
        if let Some(mut set) = plan.create {
            set["metadata"]["uid"] = set["metadata"]["name"].clone();
            set["metadata"]["creationTimestamp"] = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
            self.sets.push(set);
        }
        for change in plan.changes {
            let set = self.sets.iter_mut().find(|s| meta::key(s) == change.key).unwrap();
            *set = object::patch::merge::apply(set, &change.patch);
        }
        self.sets.retain(|s| !plan.delete.iter().any(|d| meta::name(d) == meta::name(s)));
        if let Some(revision) = plan.revision {
            meta::set_annotation(&mut self.deployment, sets::REVISION, &revision);
        }
        self.deployment["status"] = plan.status;
        busy
    }

    /// The ReplicaSet controller: `available` says how many of its pods are up.
    fn obey(&mut self, available: impl Fn(&Value, i64) -> i64) {
        for set in &mut self.sets {
            let replicas = number(&set["spec"]["replicas"], 1);
            let up = available(set, replicas);
            set["status"] = json!({
                "replicas": replicas, "readyReplicas": up, "availableReplicas": up, "observedGeneration": 0});
        }
    }

    fn settle(&mut self) {
        for _ in 0..200 {
            let busy = self.step();
            self.obey(|_, replicas| replicas);
            if !busy && !self.step() {
                return;
            }
        }
        panic!("did not settle: {:?}", self.sizes());
    }

    fn sizes(&self) -> Vec<i64> {
        self.sets.iter().map(|s| number(&s["spec"]["replicas"], 1)).collect()
    }

    fn total(&self) -> i64 {
        self.sizes().iter().sum()
    }

    fn condition(&self, kind: &str) -> String {
        let c = meta::condition(&self.deployment, kind).cloned().unwrap_or_default();
        format!("{} {}", c["status"].as_str().unwrap_or_default(), c["reason"].as_str().unwrap_or_default())
    }

    fn set_image(&mut self, image: &str) {
        self.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
    }
}

#[test]
fn a_rollout_stays_within_its_bounds_whatever_comes_up() {
    for replicas in 1..=10 {
        for (surge, unavailable) in
            [(json!("25%"), json!("25%")), (json!(1), json!(0)), (json!(0), json!(1)), (json!(3), json!(2))]
        {
            let mut world = World::new(deployment(replicas, rolling(surge, unavailable), "one"));
            world.settle();
            assert_eq!(world.sizes(), [replicas]);
            assert_eq!(world.condition("Progressing"), "True NewReplicaSetAvailable");
            assert_eq!(world.condition("Available"), "True MinimumReplicasAvailable");
            world.set_image("two");
            let (surge, unavailable) = fenceposts(&world.deployment);
            let mut seed = replicas;
            for _ in 0..400 {
                let busy = world.step();
                assert!(world.total() <= replicas + surge, "{:?} of {replicas}", world.sizes());
                seed = (seed * 7 + 3) % 11;
                // Old pods stay up; of the new ones, one more comes up now and then.
                world.obey(|set, asked| {
                    let before = number(&set["status"]["availableReplicas"], 0);
                    if set["metadata"]["annotations"][sets::REVISION] == "1" {
                        asked
                    } else {
                        asked.min(before + i64::from(seed % 3 == 0))
                    }
                });
                let up: i64 = world.sets.iter().map(|s| number(&s["status"]["availableReplicas"], 0)).sum();
                assert!(up >= replicas - unavailable, "{up} of {replicas} up");
                if !busy && world.sizes() == [0, replicas] && up == replicas {
                    break;
                }
            }
            world.settle();
            assert_eq!(world.sizes(), [0, replicas]);
            assert_eq!(meta::annotation(&world.deployment, sets::REVISION), Some("2"));
        }
    }
}

#[test]
fn going_back_takes_the_old_set_and_a_new_revision() {
    let mut world = World::new(deployment(2, rolling(json!(1), json!(0)), "one"));
    world.settle();
    world.set_image("two");
    world.settle();
    world.set_image("one");
    world.settle();
    assert_eq!(world.sizes(), [2, 0]);
    assert_eq!(meta::annotation(&world.sets[0], sets::REVISION), Some("3"));
    assert_eq!(meta::annotation(&world.sets[0], "deployment.kubernetes.io/revision-history"), Some("1"));
    assert_eq!(meta::annotation(&world.deployment, sets::REVISION), Some("3"));
}

#[test]
fn unhealthy_old_pods_go_first() {
    let mut world = World::new(deployment(4, rolling(json!(1), json!(1)), "one"));
    world.settle();
    world.set_image("two");
    world.step();
    // Two of the four old pods are broken: they can go at once.
    world.obey(
        |set, asked| if set["metadata"]["annotations"][sets::REVISION] == "1" { 2 } else { asked.min(0) },
    );
    world.step();
    assert_eq!(world.sizes(), [3, 1]);
}

#[test]
fn history_beyond_the_limit_is_deleted() {
    let mut world = World::new(deployment(1, rolling(json!(1), json!(0)), "0"));
    for image in ["1", "2", "3", "4"] {
        world.settle();
        world.set_image(image);
    }
    world.settle();
    assert_eq!(world.sizes(), [0, 0, 1]);
}

#[test]
fn a_missed_deadline_shows_and_heals() {
    let mut world = World::new(deployment(1, rolling(json!(1), json!(0)), "one"));
    world.step();
    world.obey(|_, _| 0);
    world.step();
    world.clock += 601;
    world.step();
    assert_eq!(world.condition("Progressing"), "False ProgressDeadlineExceeded");
    assert_eq!(world.condition("Available"), "False MinimumReplicasUnavailable");
    world.obey(|_, asked| asked);
    world.step();
    assert_eq!(world.condition("Progressing"), "True NewReplicaSetAvailable");
}

#[test]
fn scaling_in_the_middle_of_a_rollout_keeps_the_proportions() {
    let mut world = World::new(deployment(10, rolling(json!(3), json!(2)), "one"));
    world.settle();
    world.set_image("two");
    world.step();
    world.obey(|set, asked| if set["metadata"]["annotations"][sets::REVISION] == "1" { asked } else { 0 });
    world.step();
    assert_eq!(world.sizes(), [8, 3]);
    world.obey(|set, asked| if set["metadata"]["annotations"][sets::REVISION] == "1" { asked } else { 0 });
    world.step();
    assert_eq!(world.sizes(), [8, 5]);
    world.deployment["spec"]["replicas"] = 15.into();
    world.step();
    assert_eq!(world.sizes(), [11, 7], "the example of the Kubernetes documentation");
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut world = World::new(deployment(2, rolling(json!(1), json!(0)), "one"));
    world.settle();
    world.deployment["spec"]["paused"] = true.into();
    world.set_image("two");
    world.deployment["spec"]["replicas"] = 4.into();
    world.step();
    world.obey(|_, asked| asked);
    world.step();
    assert_eq!(world.sizes(), [4]);
    assert_eq!(world.condition("Progressing"), "Unknown DeploymentPaused");
    world.deployment["spec"]["paused"] = false.into();
    world.settle();
    assert_eq!(world.sizes(), [0, 4]);
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    let mut world = World::new(deployment(2, json!({"type": "Recreate"}), "one"));
    world.settle();
    world.set_image("two");
    world.step();
    assert_eq!(world.sizes(), [0]);
    world.obey(|_, asked| asked);
    let owner = json!({"uid": meta::uid(&world.sets[0]), "controller": true});
    let leaving = Arc::new(json!({"metadata": {"deletionTimestamp": T0, "ownerReferences": [owner]}}));
    let sets: Vec<Arc<Value>> = world.sets.iter().cloned().map(Arc::new).collect();
    let observed = Observed { deployment: &world.deployment, sets: &sets, pods: &[leaving], now: at(T0) };
    assert!(plan(&observed).create.is_none(), "a pod that is still ending holds the new ones back");
    world.settle();
    assert_eq!(world.sizes(), [0, 2]);
}
