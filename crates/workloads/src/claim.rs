//! Which objects a workload controls: those with its controller reference whose labels its selector matches.
//! Orphans that match are adopted, owned ones that no longer match are released
//! (`pkg/controller/controller_ref_manager.go`).

use std::sync::Arc;

use controller::{ApiError, Cluster, Patch};
use object::selector::LabelSelector;
use object::{Resource, meta};
use serde_json::{Value, json};

/// The objects among `candidates` that `owner` controls, after adopting and releasing.
pub(crate) async fn claim(
    cluster: &Cluster,
    owner_resource: &Resource,
    owner: &Value,
    selector: &LabelSelector,
    resource: &Resource,
    candidates: Vec<Arc<Value>>,
) -> Result<Vec<Arc<Value>>, ApiError> {
    let mut mine = vec![];
    let mut may_adopt = None;
    for object in candidates {
        match verdict(owner, selector, &object) {
            Verdict::Mine => mine.push(object),
            Verdict::Others => {}
            Verdict::Release => release(cluster, owner, resource, &object).await?,
            Verdict::Adopt => {
                if may_adopt.is_none() {
                    // The watch may be stale: only a live owner of the same uid may adopt.
                    let live = cluster.get(owner_resource, &meta::key(owner)).await?;
                    let alive = |o: &Value| meta::uid(o) == meta::uid(owner) && !meta::is_being_deleted(o);
                    may_adopt = Some(live.as_ref().is_some_and(alive));
                }
                if may_adopt == Some(true)
                    && let Some(adopted) = adopt(cluster, owner, resource, &object).await?
                {
                    mine.push(Arc::new(adopted));
                }
            }
        }
    }
    Ok(mine)
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Mine,
    Others,
    Adopt,
    Release,
}

fn verdict(owner: &Value, selector: &LabelSelector, object: &Value) -> Verdict {
    let matches = selector.matches(&object["metadata"]["labels"]);
    match meta::controller_of(object) {
        Some(reference) if reference["uid"].as_str() == Some(meta::uid(owner)) => {
            if matches || meta::is_being_deleted(owner) { Verdict::Mine } else { Verdict::Release }
        }
        Some(_) => Verdict::Others,
        None if matches && !meta::is_being_deleted(owner) && !meta::is_being_deleted(object) => {
            Verdict::Adopt
        }
        None => Verdict::Others,
    }
}

async fn adopt(
    cluster: &Cluster,
    owner: &Value,
    resource: &Resource,
    object: &Value,
) -> Result<Option<Value>, ApiError> {
    let mut owners: Vec<Value> = meta::owners(object).cloned().collect();
    owners.push(meta::controller_reference(owner));
    set_owners(cluster, resource, object, &owners).await
}

async fn release(
    cluster: &Cluster,
    owner: &Value,
    resource: &Resource,
    object: &Value,
) -> Result<(), ApiError> {
    let keep = |o: &&Value| o["uid"].as_str() != Some(meta::uid(owner));
    let owners: Vec<Value> = meta::owners(object).filter(keep).cloned().collect();
    set_owners(cluster, resource, object, &owners).await.map(drop)
}

/// None when the object is gone or changed meanwhile; its change brings the owner here again.
async fn set_owners(
    cluster: &Cluster,
    resource: &Resource,
    object: &Value,
    owners: &[Value],
) -> Result<Option<Value>, ApiError> {
    let metadata = json!({
        "uid": meta::uid(object),
        "resourceVersion": meta::resource_version(object),
        "ownerReferences": owners,
    });
    let patch = json!({ "metadata": metadata });
    match cluster.patch(resource, &meta::key(object), "", Patch::Merge(&patch)).await {
        Ok(patched) => Ok(Some(patched)),
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_controls_what() {
        let owner = json!({"metadata": {"uid": "u"}});
        let leaving = json!({"metadata": {"uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let selector = LabelSelector::from_map(&json!({"app": "a"}));
        let object = |app: &str, controller: Option<&str>| {
            let owners: Vec<Value> =
                controller.iter().map(|uid| json!({"uid": uid, "controller": true})).collect();
            json!({"metadata": {"labels": {"app": app}, "ownerReferences": owners}})
        };
        let check = |owner: &Value, object: Value, expected: Verdict| {
            assert_eq!(verdict(owner, &selector, &object), expected, "{object}");
        };
        check(&owner, object("a", Some("u")), Verdict::Mine);
        check(&owner, object("b", Some("u")), Verdict::Release);
        check(&owner, object("a", None), Verdict::Adopt);
        check(&owner, object("b", None), Verdict::Others);
        check(&owner, object("a", Some("other")), Verdict::Others);
        check(&leaving, object("a", None), Verdict::Others);
        check(&leaving, object("b", Some("u")), Verdict::Mine);
    }
}
