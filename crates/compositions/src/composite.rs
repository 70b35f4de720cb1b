//! Composite resources of one kind: chooses a Composition, runs its pipeline, and brings the composed resources to what
//! it says (`internal/controller/apiextensions/composite`).

mod plan;
mod select;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use controller::{
    ApiError, Cache, Cluster, Controller, EventType, Next, Patch, Propagation, ReconcileError, Reconciler,
    Recorder, now,
};
use object::{Key, Resource, meta};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::api::composite::{fields, fields_patch};
use crate::api::{COMPOSITION, REVISION};
use crate::pipeline::{self, Observed};
use plan::{Outcome, RESOURCE_NAME};
use watch::Watches;

/// The field owner of what Crossplane writes to composites.
const COMPOSITE_OWNER: &str = "apiextensions.crossplane.io/composite";
/// A composite is looked at this often even if no watch says anything.
const POLL: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(2);

/// One kind of composites.
pub(crate) struct Config {
    pub(crate) cluster: Cluster,
    pub(crate) resource: Resource,
    /// Crossplane's fields are flat in `spec`.
    pub(crate) legacy: bool,
    /// Its CompositeResourceDefinition.
    pub(crate) definition: Key,
    pub(crate) definitions: Cache,
}

pub(crate) async fn run(config: Config, stop: CancellationToken) {
    let (cluster, resource) = (config.cluster.clone(), config.resource.clone());
    let composites = cluster.watch(&resource);
    let (revisions, compositions) = (cluster.watch(&REVISION), cluster.watch(&COMPOSITION));
    let (hints, incoming) = mpsc::unbounded_channel();
    let all = composites.clone();
    let of_kind = resource.clone();
    let is_for = move |object: &Value| {
        let target = &object["spec"]["compositeTypeRef"];
        target["kind"] == *of_kind.kind && target["apiVersion"] == of_kind.api_version()
    };
    let reconciler = Composites {
        events: Recorder::new(&cluster, &format!("defined/{resource}")),
        watches: Watches::new(&cluster, &resource, hints),
        composites,
        revisions,
        compositions,
        config,
    };
    let controller = Controller::new("composite", &cluster, &resource).hints(incoming).watches(
        &REVISION,
        move |revision| {
            if is_for(revision) {
                all.list().iter().map(|composite| meta::key(composite)).collect()
            } else {
                vec![]
            }
        },
    );
    controller.run(Arc::new(reconciler), stop).await;
}

struct Composites {
    config: Config,
    composites: Cache,
    revisions: Cache,
    compositions: Cache,
    events: Recorder,
    watches: Watches,
}

/// What is the matter with a composite, in the words of its condition Synced.
enum Trouble {
    /// The user has to do something, or something has to appear.
    Stays(String),
    /// Trying again may help.
    Passes(Box<ApiError>),
}

impl From<ApiError> for Trouble {
    fn from(error: ApiError) -> Self {
        Self::Passes(Box::new(error))
    }
}

impl Reconciler for Composites {
    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        if self.composites.get(key).is_none() {
            return Ok(Next::Done);
        }
        // References to composed resources must be as new as the last write: the watch may lag behind.
        let live = self.config.cluster.get(&self.config.resource, key).await?;
        let Some(composite) = live.filter(|c| !meta::is_being_deleted(c)) else { return Ok(Next::Done) };
        if meta::annotation(&composite, "crossplane.io/paused") == Some("true") {
            let text = "Reconciliation (including deletion) is paused via the pause annotation";
            self.report(
                &composite,
                json!({}),
                &[plan::condition("Synced", "False", "ReconcilePaused", text)],
            )
            .await?;
            return Ok(Next::Done);
        }
        match self.compose(composite.clone()).await {
            Ok(outcome) => {
                self.report(&composite, outcome.status, &outcome.conditions).await?;
                for warning in &outcome.warnings {
                    self.events.record(&composite, EventType::Warning, "ComposeResources", warning).await;
                }
                Ok(Next::After(if outcome.retry { RETRY } else { POLL }))
            }
            Err(Trouble::Passes(error)) if error.is_conflict() => Ok(Next::After(Duration::from_millis(100))),
            Err(trouble) => {
                let text = match &trouble {
                    Trouble::Stays(text) => text.clone(),
                    Trouble::Passes(error) => format!("cannot compose resources: {error}"),
                };
                self.events.record(&composite, EventType::Warning, "ComposeResources", &text).await;
                let synced = plan::condition("Synced", "False", "ReconcileError", &text);
                self.report(&composite, json!({}), &[synced]).await?;
                match trouble {
                    Trouble::Stays(_) => Ok(Next::After(POLL)),
                    Trouble::Passes(error) => Err(error),
                }
            }
        }
    }
}

impl Composites {
    async fn compose(&self, composite: Value) -> Result<Outcome, Trouble> {
        let composite = self.configure(composite).await?;
        let revision = self.revision(&composite)?;
        let composite = self.remember_revision(composite, &revision).await?;
        let observed = self.observe(&composite).await?;
        let state =
            pipeline::run(&revision["spec"], &Observed { composite: &composite, composed: &observed })
                .map_err(|text| Trouble::Stays(format!("cannot compose resources: {text}")))?;
        let mut kinds = BTreeMap::new();
        for desired in state.desired.values() {
            let (api_version, kind) = (meta::api_version(&desired.object), meta::kind(&desired.object));
            let resource = match self.config.cluster.resolve(api_version, kind).await {
                Ok(resource) => resource,
                Err(error @ ApiError::NoKind { .. }) => {
                    return Err(Trouble::Stays(format!("cannot compose resources: {error}")));
                }
                Err(error) => return Err(error.into()),
            };
            kinds.insert((api_version.to_owned(), kind.to_owned()), resource);
        }
        let plan = plan::plan(&composite, &self.config.resource, &observed, state, &kinds)
            .map_err(Trouble::Stays)?;
        for gone in &plan.delete {
            self.collect(gone).await?;
        }
        self.write_references(&composite, &plan.references).await?;
        let mut refused = BTreeMap::new();
        for wanted in &plan.apply {
            self.watches.ensure(&wanted.resource);
            match self.config.cluster.apply(&wanted.resource, &wanted.object, &wanted.owner).await {
                Ok(_) => {}
                Err(error) if error.is_terminal() => {
                    let text = format!("cannot apply composed resource {:?}: {error}", wanted.name);
                    self.events.record(&composite, EventType::Warning, "ComposeResources", &text).await;
                    refused.insert(wanted.name.clone(), error.to_string());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(plan.outcome(&composite, &refused))
    }

    /// The label that composed resources inherit, and the Composition, chosen once.
    async fn configure(&self, composite: Value) -> Result<Value, Trouble> {
        let definition = self.config.definitions.get(&self.config.definition);
        let chosen = select::composition(
            &composite,
            self.config.legacy,
            &self.config.resource,
            definition.as_deref().unwrap_or(&Value::Null),
            &self.compositions.list(),
        )
        .map_err(|text| Trouble::Stays(format!("cannot select Composition: {text}")))?;
        let current = fields(&composite, self.config.legacy)["compositionRef"]["name"].as_str();
        let mut patch = json!({});
        if current != Some(&chosen) {
            patch = fields_patch(json!({"compositionRef": {"name": chosen}}), self.config.legacy);
            let text = format!("Successfully selected composition: {chosen}");
            self.events.record(&composite, EventType::Normal, "SelectComposition", &text).await;
        }
        if meta::label(&composite, plan::COMPOSITE).is_none() {
            meta::set_label(&mut patch, plan::COMPOSITE, meta::name(&composite));
        }
        self.patch(composite, patch).await
    }

    fn revision(&self, composite: &Value) -> Result<Arc<Value>, Trouble> {
        select::revision(fields(composite, self.config.legacy), &self.revisions.list())
            .map_err(|text| Trouble::Stays(format!("cannot fetch Composition: {text}")))
    }

    async fn remember_revision(&self, composite: Value, revision: &Value) -> Result<Value, Trouble> {
        let current = fields(&composite, self.config.legacy)["compositionRevisionRef"]["name"].as_str();
        if current == Some(meta::name(revision)) {
            return Ok(composite);
        }
        let reference = json!({"compositionRevisionRef": {"name": meta::name(revision)}});
        let text = format!("Selected composition revision: {}", meta::name(revision));
        self.events.record(&composite, EventType::Normal, "SelectComposition", &text).await;
        self.patch(composite, fields_patch(reference, self.config.legacy)).await
    }

    async fn patch(&self, composite: Value, mut patch: Value) -> Result<Value, Trouble> {
        if patch.as_object().is_none_or(serde_json::Map::is_empty) {
            return Ok(composite);
        }
        patch["metadata"]["resourceVersion"] = meta::resource_version(&composite).into();
        let key = meta::key(&composite);
        Ok(self.config.cluster.patch(&self.config.resource, &key, "", Patch::Merge(&patch)).await?)
    }

    /// The composed resources that the references lead to, by their name in the composition.
    async fn observe(&self, composite: &Value) -> Result<BTreeMap<String, Value>, Trouble> {
        let mut observed = BTreeMap::new();
        let references = fields(composite, self.config.legacy)["resourceRefs"].as_array();
        for reference in references.into_iter().flatten() {
            let text = |field: &str| reference[field].as_str().unwrap_or_default();
            let resource = match self.config.cluster.resolve(text("apiVersion"), text("kind")).await {
                Ok(resource) => resource,
                Err(ApiError::NoKind { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            let own = meta::namespace(composite);
            let namespace = match (resource.namespaced, text("namespace")) {
                (false, _) => "",
                (true, "") => own,
                (true, namespace) => namespace,
            };
            let key = Key::new(namespace, text("name"));
            let Some(object) = self.config.cluster.get(&resource, &key).await? else { continue };
            let name = meta::annotation(&object, RESOURCE_NAME).map(str::to_owned);
            // What another controls is not ours, whatever the reference says.
            let foreign = meta::controller_of(&object).is_some()
                && !meta::is_controlled_by(&object, meta::uid(composite));
            if let Some(name) = name.filter(|_| !foreign) {
                self.watches.ensure(&resource);
                observed.insert(name, object);
            }
        }
        Ok(observed)
    }

    /// Deletes what is no longer wanted; never what the composite does not control.
    async fn collect(&self, gone: &plan::Gone) -> Result<(), Trouble> {
        let resource =
            self.config.cluster.resolve(meta::api_version(&gone.object), meta::kind(&gone.object)).await?;
        let (key, uid) = (meta::key(&gone.object), Some(meta::uid(&gone.object)));
        let outcome = self.config.cluster.delete(&resource, &key, uid, Propagation::Foreground).await;
        match outcome {
            Err(error) if !error.is_conflict() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Written before the objects, so that a crash in between leaks nothing.
    async fn write_references(&self, composite: &Value, references: &[Value]) -> Result<(), Trouble> {
        let current = fields(composite, self.config.legacy)["resourceRefs"].as_array();
        if current.map_or(&[][..], Vec::as_slice) == references {
            return Ok(());
        }
        let patch = fields_patch(json!({ "resourceRefs": references }), self.config.legacy);
        let key = meta::key(composite);
        self.config.cluster.patch(&self.config.resource, &key, "", Patch::Merge(&patch)).await?;
        Ok(())
    }

    /// One write of the status, if it differs: what the functions say, and the conditions.
    async fn report(&self, composite: &Value, status: Value, new: &[Value]) -> Result<(), ReconcileError> {
        let mut conditions = composite["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let before = conditions.clone();
        for condition in new {
            let mut condition = condition.clone();
            condition["observedGeneration"] = meta::generation(composite).into();
            meta::set_condition(&mut conditions, condition, &now());
        }
        let mut wanted = status;
        wanted["conditions"] = conditions.clone().into();
        let mut object = json!({
            "apiVersion": self.config.resource.api_version(), "kind": self.config.resource.kind,
            "metadata": {"name": meta::name(composite)}, "status": wanted,
        });
        if !meta::namespace(composite).is_empty() {
            object["metadata"]["namespace"] = meta::namespace(composite).into();
        }
        let patch = Patch::Apply { object: &object, manager: COMPOSITE_OWNER, force: true };
        let key = meta::key(composite);
        match self.config.cluster.patch(&self.config.resource, &key, "status", patch).await {
            Err(error) if !error.is_not_found() => return Err(error.into()),
            _ => {}
        }
        if conditions.iter().any(|c| c["type"] == "Synced" && c["status"] == "True" && !before.contains(c)) {
            self.events
                .record(composite, EventType::Normal, "ComposeResources", "Successfully composed resources")
                .await;
        }
        Ok(())
    }
}
