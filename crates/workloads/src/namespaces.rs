//! Namespaces that are being deleted: their content goes first, then the namespace
//! (`pkg/controller/namespace/deletion/namespaced_resources_deleter.go`).

use std::sync::Arc;
use std::time::Duration;

use controller::{ApiError, Cache, Cluster, Controller, Next, Propagation, ReconcileError, Reconciler, now};
use http::Method;
use object::{Key, kinds, meta};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::discovery;

/// Between two looks at what is left: pods need a moment to end.
const PAUSE: Duration = Duration::from_millis(300);

pub(crate) async fn run(cluster: Cluster, stop: CancellationToken) {
    let namespaces = cluster.watch(&kinds::NAMESPACE);
    let controller = Controller::new("namespace", &cluster, &kinds::NAMESPACE);
    controller.run(Arc::new(Namespaces { cluster, namespaces }), stop).await;
}

struct Namespaces {
    cluster: Cluster,
    namespaces: Cache,
}

impl Reconciler for Namespaces {
    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        let Some(namespace) = self.namespaces.get(key).filter(|n| meta::is_being_deleted(n)) else {
            return Ok(Next::Done);
        };
        let remains = self.empty(&key.name).await?;
        if !remains.is_empty() {
            self.cluster
                .write_status(&kinds::NAMESPACE, &namespace, &terminating(&namespace, &remains, &now()))
                .await?;
            return Ok(Next::After(PAUSE));
        }
        let Some(mut live) = self.cluster.get(&kinds::NAMESPACE, key).await? else { return Ok(Next::Done) };
        let finalizers = live["spec"]["finalizers"].as_array().cloned().unwrap_or_default();
        live["spec"]["finalizers"] = finalizers.into_iter().filter(|f| f != "kubernetes").collect();
        let path = format!("{}/finalize", kinds::NAMESPACE.object_path(key));
        let body = live.to_string();
        match self.cluster.call(Method::PUT, &path, Some("application/json"), body.as_bytes()).await {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error.into()),
            _ => Ok(Next::Done),
        }
    }
}

/// What is left in a namespace.
#[derive(Default)]
struct Remains {
    /// Kinds with a count.
    kinds: Vec<(String, usize)>,
    /// Finalizers that hold objects, with a count.
    finalizers: std::collections::BTreeMap<String, usize>,
    /// Kinds that could not be looked at or deleted.
    errors: Vec<String>,
}

impl Remains {
    fn is_empty(&self) -> bool {
        self.kinds.is_empty() && self.errors.is_empty()
    }
}

impl Namespaces {
    async fn empty(&self, namespace: &str) -> Result<Remains, ApiError> {
        let served = discovery::served(&self.cluster).await?;
        let mut remains = Remains { errors: served.failed, ..Remains::default() };
        for resource in served.resources.iter().filter(|r| r.namespaced) {
            let items = match self.cluster.list(resource, namespace, "").await {
                Ok(list) => list.items,
                Err(error) if error.is_not_found() || error.code() == 405 => continue,
                Err(error) => {
                    remains.errors.push(format!("{resource}: {error}"));
                    continue;
                }
            };
            for item in items.iter().filter(|item| !meta::is_being_deleted(item)) {
                let (key, uid) = (meta::key(item), Some(meta::uid(item)));
                let outcome = self.cluster.delete(resource, &key, uid, Propagation::Background).await;
                if let Err(error) = outcome
                    && !error.is_conflict()
                {
                    remains.errors.push(format!("{resource}: {error}"));
                }
            }
            // Most kinds are gone at once; what has a grace period or a finalizer shows up in this second look.
            let left = if items.is_empty() {
                items
            } else {
                self.cluster.list(resource, namespace, "").await?.items
            };
            if !left.is_empty() {
                remains.kinds.push((resource.to_string(), left.len()));
            }
            for finalizer in left.iter().flat_map(meta::finalizers) {
                *remains.finalizers.entry(finalizer.to_owned()).or_default() += 1;
            }
        }
        Ok(remains)
    }
}

fn terminating(namespace: &Value, remains: &Remains, now: &str) -> Value {
    let mut status = namespace["status"].clone();
    status["phase"] = "Terminating".into();
    let mut conditions = namespace["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let counts: Vec<String> =
        remains.kinds.iter().map(|(kind, n)| format!("{kind} has {n} resource instances")).collect();
    let held: Vec<String> =
        remains.finalizers.iter().map(|(f, n)| format!("{f} in {n} resource instances")).collect();
    let errors = remains.errors.join("; ");
    let rows = [
        (
            "NamespaceDeletionContentFailure",
            !errors.is_empty(),
            "ContentDeletionFailed",
            "ContentDeleted",
            errors,
            "All content successfully deleted, may be waiting on finalization",
        ),
        (
            "NamespaceContentRemaining",
            !counts.is_empty(),
            "SomeResourcesRemain",
            "ContentRemoved",
            format!("Some resources are remaining: {}", counts.join(", ")),
            "All content successfully removed",
        ),
        (
            "NamespaceFinalizersRemaining",
            !held.is_empty(),
            "SomeFinalizersRemain",
            "ContentHasNoFinalizers",
            format!("Some content in the namespace has finalizers remaining: {}", held.join(", ")),
            "All content-preserving finalizers finished",
        ),
    ];
    for (kind, bad, bad_reason, good_reason, bad_message, good_message) in rows {
        let (value, reason) = if bad { ("True", bad_reason) } else { ("False", good_reason) };
        let message = if bad { bad_message } else { good_message.to_owned() };
        let condition = json!({"type": kind, "status": value, "reason": reason, "message": message});
        meta::set_condition(&mut conditions, condition, now);
    }
    status["conditions"] = conditions.into();
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_say_what_holds_a_namespace() {
        let remains = Remains {
            kinds: vec![("pods".into(), 1)],
            finalizers: [("a/b".to_owned(), 2)].into(),
            errors: vec![],
        };
        let status = terminating(&json!({"status": {"phase": "Active"}}), &remains, "t");
        let text = |kind: &str| {
            let object = json!({"status": status});
            let c = meta::condition(&object, kind).cloned().unwrap();
            format!("{} {}", c["status"].as_str().unwrap(), c["message"].as_str().unwrap())
        };
        assert_eq!(status["phase"], "Terminating");
        assert_eq!(
            text("NamespaceContentRemaining"),
            "True Some resources are remaining: pods has 1 resource instances"
        );
        assert_eq!(
            text("NamespaceFinalizersRemaining"),
            "True Some content in the namespace has finalizers remaining: a/b in 2 resource instances"
        );
        assert!(
            text("NamespaceDeletionContentFailure").starts_with("False All content successfully deleted")
        );
    }
}
