//! CompositeResourceDefinitions: each becomes a CustomResourceDefinition and a running controller for its composites
//! (`internal/controller/apiextensions/definition`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use controller::{Cache, Cluster, Controller, EventType, Next, ReconcileError, Reconciler, Recorder, now};
use object::{Key, Resource, kinds, meta};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{DEFINITION, composite as schema};
use crate::composite;

/// The field owner of generated CustomResourceDefinitions.
const MANAGER: &str = "apiextensions.crossplane.io/definition";

pub(crate) async fn run(cluster: Cluster, stop: CancellationToken) {
    let (definitions, crds) = (cluster.watch(&DEFINITION), cluster.watch(&kinds::CUSTOM_RESOURCE_DEFINITION));
    let tasks = TaskTracker::new();
    let reconciler = Definitions {
        events: Recorder::new(&cluster, "defined/compositeresourcedefinition.apiextensions.crossplane.io"),
        cluster: cluster.clone(),
        definitions,
        crds,
        running: Mutex::default(),
        tasks: tasks.clone(),
        stop: stop.clone(),
    };
    // A CustomResourceDefinition has the name of its CompositeResourceDefinition.
    let controller = Controller::new("composite-definition", &cluster, &DEFINITION)
        .owns(&kinds::CUSTOM_RESOURCE_DEFINITION, "CompositeResourceDefinition");
    controller.run(Arc::new(reconciler), stop).await;
    tasks.close();
    tasks.wait().await;
}

struct Definitions {
    cluster: Cluster,
    events: Recorder,
    definitions: Cache,
    crds: Cache,
    running: Mutex<HashMap<Key, Running>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// The controller of one kind of composites.
struct Running {
    resource: Resource,
    legacy: bool,
    stop: CancellationToken,
}

impl Reconciler for Definitions {
    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        let definition = self.definitions.get(key).filter(|d| !meta::is_being_deleted(d));
        let Some(definition) = definition else {
            // The CustomResourceDefinition goes by its owner reference, and its composites with it.
            self.halt(key);
            return Ok(Next::Done);
        };
        let crd = match schema::crd(&definition) {
            Ok(crd) => crd,
            Err(problem) => {
                return self
                    .refuse(
                        &definition,
                        &format!("cannot render composite resource CustomResourceDefinition: {problem}"),
                    )
                    .await;
            }
        };
        let is_foreign = |crd: &Arc<Value>| {
            meta::controller_of(crd).is_some() && !meta::is_controlled_by(crd, meta::uid(&definition))
        };
        if self.crds.get(key).as_ref().is_some_and(is_foreign) {
            let text = "cannot apply rendered composite resource CustomResourceDefinition: it is controlled by another object";
            return self.refuse(&definition, text).await;
        }
        match self.cluster.apply(&kinds::CUSTOM_RESOURCE_DEFINITION, &crd, MANAGER).await {
            Ok(live) if meta::condition_is_true(&live, "Established") => {}
            // Its change comes back here.
            Ok(_) => {
                self.write(
                    &definition,
                    "False",
                    "WatchingCompositeResource",
                    "waiting for composite resource CustomResourceDefinition to be established",
                )
                .await?;
                return Ok(Next::After(Duration::from_secs(1)));
            }
            Err(error) if error.is_terminal() => {
                let text =
                    format!("cannot apply rendered composite resource CustomResourceDefinition: {error}");
                return self.refuse(&definition, &text).await;
            }
            Err(error) => return Err(error.into()),
        }
        self.ensure_running(key, &definition);
        self.write(&definition, "True", "WatchingCompositeResource", "").await?;
        Ok(Next::Done)
    }
}

impl Definitions {
    fn ensure_running(&self, key: &Key, definition: &Value) {
        let Some(resource) = schema::resource(definition) else { return };
        let legacy = schema::is_legacy(definition);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = running.get(key) {
            if old.resource == resource && old.legacy == legacy {
                return;
            }
            old.stop.cancel();
        }
        let stop = self.stop.child_token();
        let config = composite::Config {
            cluster: self.cluster.clone(),
            resource: resource.clone(),
            legacy,
            definition: key.clone(),
            definitions: self.definitions.clone(),
        };
        self.tasks.spawn(composite::run(config, stop.clone()));
        running.insert(key.clone(), Running { resource, legacy, stop });
    }

    fn halt(&self, key: &Key) {
        if let Some(old) = self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(key) {
            old.stop.cancel();
            self.cluster.forget_kinds(&old.resource.group);
        }
    }

    async fn refuse(&self, definition: &Value, text: &str) -> Result<Next, ReconcileError> {
        self.events.record(definition, EventType::Warning, "EstablishComposite", text).await;
        self.write(definition, "False", "ReconcileError", text).await?;
        Ok(Next::Done)
    }

    async fn write(
        &self,
        definition: &Value,
        established: &str,
        reason: &str,
        message: &str,
    ) -> Result<(), ReconcileError> {
        let status = status(definition, established, reason, message, &now());
        self.cluster.write_status(&DEFINITION, definition, &status).await?;
        Ok(())
    }
}

fn status(definition: &Value, established: &str, reason: &str, message: &str, now: &str) -> Value {
    let mut status = if definition["status"].is_object() { definition["status"].clone() } else { json!({}) };
    let mut conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let generation = meta::generation(definition);
    let condition = |kind: &str, value: &str, reason: &str, message: &str| {
        let mut c =
            json!({"type": kind, "status": value, "reason": reason, "observedGeneration": generation});
        if !message.is_empty() {
            c["message"] = message.into();
        }
        c
    };
    meta::set_condition(&mut conditions, condition("Established", established, reason, message), now);
    if definition["spec"]["claimNames"].is_object() {
        let text = "claims are not served; create the composite resource itself";
        meta::set_condition(&mut conditions, condition("Offered", "False", "ClaimsNotServed", text), now);
    }
    status["conditions"] = conditions.into();
    if established == "True"
        && let Some(resource) = schema::resource(definition)
    {
        let kind = json!({"apiVersion": resource.api_version(), "kind": resource.kind});
        status["controllers"] = json!({"compositeResourceType": kind});
    }
    status
}
