//! The controller of Clusters: makes what is missing, replaces what runs something else, and reports.

use std::sync::Arc;
use std::time::Duration;

use controller::{
    ApiError, Cache, Controller, EventType, Next, Patch, Propagation, ReconcileError, Reconciler, now,
};
use object::{Key, Resource, kinds, meta};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::api::{BACKUP, CLUSTER};
use super::objects::{self, CLUSTER_LABEL, INSTANCE_LABEL, SERIAL, SPEC_HASH, Settings};
use super::status;
use crate::Work;
use crate::pods::{is_finished, is_ready};

/// Characters of a generated password, as CloudNativePG's length.
const PASSWORD_LENGTH: usize = 64;

pub(super) async fn run(cluster: controller::Cluster, stop: CancellationToken) {
    let of_backup = |backup: &Value| {
        let name = backup["spec"]["cluster"]["name"].as_str().unwrap_or_default();
        vec![Key::new(meta::namespace(backup), name)]
    };
    let reconciler = Clusters {
        work: Work::new(&cluster, "cloudnative-pg"),
        clusters: cluster.watch(&CLUSTER),
        pods: cluster.watch(&kinds::POD),
        claims: cluster.watch(&kinds::PERSISTENT_VOLUME_CLAIM),
        backups: cluster.watch(&BACKUP),
    };
    let controller = Controller::new("postgresql", &cluster, &CLUSTER)
        .owns(&kinds::POD, "Cluster")
        .owns(&kinds::PERSISTENT_VOLUME_CLAIM, "Cluster")
        .owns(&kinds::SERVICE, "Cluster")
        .owns(&kinds::SECRET, "Cluster")
        .watches(&BACKUP, of_backup);
    controller.run(Arc::new(reconciler), stop).await;
}

struct Clusters {
    work: Work,
    clusters: Cache,
    pods: Cache,
    claims: Cache,
    backups: Cache,
}

impl Reconciler for Clusters {
    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        let Some(cluster) = self.clusters.get(key) else { return Ok(Next::Done) };
        if meta::is_being_deleted(&cluster)
            || meta::annotation(&cluster, "cnpg.io/reconciliationLoop") == Some("disabled")
        {
            return Ok(Next::Done);
        }
        let settings = Settings::new(&cluster);
        let unsupported = status::unsupported(&cluster);
        let mut upgrading = false;
        if unsupported.is_none() {
            self.ensure_secrets(&settings).await?;
            for service in objects::services(&settings) {
                self.ensure(&kinds::SERVICE, &service).await?;
            }
            upgrading = self.ensure_instances(&settings).await?;
        }
        let pods = self.instances(&settings, &self.pods);
        let claims = self.instances(&settings, &self.claims);
        let backups: Vec<Arc<Value>> = self.backups.list_in(&key.namespace);
        let backups: Vec<Arc<Value>> =
            backups.into_iter().filter(|b| b["spec"]["cluster"]["name"] == *key.name).collect();
        let observed = status::Observed {
            settings: &settings,
            pods: &pods,
            claims: &claims,
            backups: &backups,
            unsupported,
            upgrading,
        };
        let status = status::status(&observed, &now());
        if status["phase"] != cluster["status"]["phase"] {
            let phase = status["phase"].as_str().unwrap_or_default();
            self.work.events.record(&cluster, EventType::Normal, "PhaseChanged", phase).await;
        }
        self.work.cluster.write_status(&CLUSTER, &cluster, &status).await?;
        Ok(if upgrading { Next::After(Duration::from_secs(1)) } else { Next::Done })
    }
}

impl Clusters {
    /// The objects of one kind that belong to an instance, by serial.
    fn instances(&self, s: &Settings<'_>, cache: &Cache) -> Vec<Arc<Value>> {
        let mine = |o: &Arc<Value>| {
            meta::label(o, CLUSTER_LABEL) == Some(s.name)
                && meta::label(o, INSTANCE_LABEL).is_some()
                && meta::is_controlled_by(o, meta::uid(s.cluster))
        };
        let mut all: Vec<Arc<Value>> = cache.list_in(s.namespace).into_iter().filter(mine).collect();
        all.sort_by_key(|o| meta::annotation(o, SERIAL).and_then(|n| n.parse::<i64>().ok()));
        all
    }

    async fn ensure_secrets(&self, s: &Settings<'_>) -> Result<(), ApiError> {
        if s.generates_app_secret() {
            let secret = objects::credentials(s, &s.app_secret(), s.owner, s.database, &password());
            self.ensure(&kinds::SECRET, &secret).await?;
        }
        if let Some(name) = s.superuser_secret().filter(|_| !s.cluster["spec"]["superuserSecret"].is_object())
        {
            let secret = objects::credentials(s, &name, "postgres", "*", &password());
            self.ensure(&kinds::SECRET, &secret).await?;
        }
        self.ensure(&kinds::SECRET, &objects::replication(s, &password())).await
    }

    /// Creates an object unless one of its name is there. A secret is never written again: its password is in use.
    async fn ensure(&self, resource: &Resource, wanted: &Value) -> Result<(), ApiError> {
        let cluster = &self.work.cluster;
        let known = cluster.watch(resource).get(&meta::key(wanted));
        let Some(existing) = known else {
            return match cluster.create(resource, wanted).await {
                Err(error) if !error.is_already_exists() => Err(error),
                _ => Ok(()),
            };
        };
        if *resource == kinds::SERVICE && existing["spec"]["selector"] != wanted["spec"]["selector"] {
            let patch = json!({"spec": {"selector": wanted["spec"]["selector"]}});
            cluster.patch(resource, &meta::key(wanted), "", Patch::Merge(&patch)).await?;
        }
        Ok(())
    }

    /// One instance after the other: a replica is made when everything before it is ready. Says whether a pod is
    /// being replaced.
    async fn ensure_instances(&self, s: &Settings<'_>) -> Result<bool, ApiError> {
        for serial in 1..=s.instances {
            let wanted = objects::instance(s, serial, serial == 1);
            self.ensure(&kinds::PERSISTENT_VOLUME_CLAIM, &objects::claim(s, serial)).await?;
            let Some(pod) = self.pods.get(&meta::key(&wanted)) else {
                self.ensure(&kinds::POD, &wanted).await?;
                return Ok(false);
            };
            if meta::is_being_deleted(&pod) {
                return Ok(meta::annotation(&pod, SPEC_HASH) != meta::annotation(&wanted, SPEC_HASH));
            }
            let changed = meta::annotation(&pod, SPEC_HASH) != meta::annotation(&wanted, SPEC_HASH);
            if changed || is_finished(&pod) {
                let (key, uid) = (meta::key(&pod), Some(meta::uid(&pod)));
                self.work.cluster.delete(&kinds::POD, &key, uid, Propagation::Background).await?;
                return Ok(changed);
            }
            if !is_ready(&pod) {
                return Ok(false);
            }
        }
        self.remove_surplus(s).await?;
        Ok(false)
    }

    /// Scaling down: the highest replica goes, with its data, as CloudNativePG does.
    async fn remove_surplus(&self, s: &Settings<'_>) -> Result<(), ApiError> {
        for (resource, cache) in [(kinds::POD, &self.pods), (kinds::PERSISTENT_VOLUME_CLAIM, &self.claims)] {
            for object in self.instances(s, cache) {
                let serial: i64 = meta::annotation(&object, SERIAL).and_then(|n| n.parse().ok()).unwrap_or(1);
                if serial > s.instances.max(1) && !meta::is_being_deleted(&object) {
                    let (key, uid) = (meta::key(&object), Some(meta::uid(&object)));
                    self.work.cluster.delete(&resource, &key, uid, Propagation::Background).await?;
                }
            }
        }
        Ok(())
    }
}

/// Letters and digits only, so that it needs no escaping anywhere.
fn password() -> String {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    (0..PASSWORD_LENGTH).map(|_| LETTERS[rand::random_range(0..LETTERS.len())] as char).collect()
}
