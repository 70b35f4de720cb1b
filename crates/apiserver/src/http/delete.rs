//! DELETE of an object and of a collection: preconditions, propagation by finalizers, the grace period of pods.

use axum::body::Body;
use http::{Response, StatusCode};
use object::{Cause, meta};
use serde_json::{Value, json};

use super::Context;
use super::media::{self, Form};
use super::read::{Selection, answer};
use super::request::{Info, Query};
use super::write::{self, Stored};
use super::{body, finish};
use crate::admission::{self, Operation};
use crate::catalog::{Kind, fact};
use crate::convert;
use crate::error::ApiError;
use crate::store::Expect;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// `DeleteOptions`, from the body or else from the query.
#[derive(Clone, Debug, Default)]
struct Options {
    grace: Option<i64>,
    policy: Option<String>,
    uid: Option<String>,
    revision: Option<String>,
    dry_run: bool,
    /// `orphanDependents: false` was given: the old way to ask for a deletion that can be waited for.
    not_orphaned: bool,
}

/// What became of an object.
enum Outcome {
    Gone(Value),
    Waiting(Value),
}

/// DELETE of one object.
pub(crate) async fn delete(
    cx: &Context,
    kind: &Kind,
    body: Body,
    form: Form,
) -> Result<Response<Body>, ApiError> {
    let options = Options::parse(cx, body).await?;
    let response = match delete_one(cx, kind, &cx.info.name, &options).await? {
        Outcome::Waiting(object) => {
            let status = if options.not_orphaned { StatusCode::ACCEPTED } else { StatusCode::OK };
            answer(cx, kind, status, object, form)
        }
        Outcome::Gone(object) if kind.has(fact::RETURNED) => answer(cx, kind, StatusCode::OK, object, form),
        Outcome::Gone(object) => {
            let mut details = json!({"name": meta::name(&object)});
            if !kind.resource.group.is_empty() {
                details["group"] = kind.resource.group.as_ref().into();
            }
            details["kind"] = kind.resource.plural.as_ref().into();
            details["uid"] = meta::uid(&object).into();
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
            });
            media::object(StatusCode::OK, &status, Form { shape: media::Shape::Plain, ..form })
        }
    };
    Ok(finish(cx, response))
}

/// DELETE of a collection: lists, then deletes each.
pub(crate) async fn delete_collection(
    cx: &Context,
    kind: &Kind,
    body: Body,
) -> Result<Response<Body>, ApiError> {
    if kind.collection == "/namespaces" {
        return Err(ApiError::method_not_allowed());
    }
    let options = Options::parse(cx, body).await?;
    let selection = Selection::parse(cx, kind)?;
    let page = cx.api.store.list(&kind.collection, &cx.prefix(kind));
    let mut deleted = vec![];
    for (key, entry) in &page.items {
        if !selection.matches(kind, key, &entry.value) {
            continue;
        }
        let object = convert::parse(&entry.value);
        let info = Info { namespace: meta::namespace(&object).to_owned(), ..cx.info.clone() };
        let inner = cx.inner(info, Query::default());
        match delete_one(&inner, kind, meta::name(&object), &options).await {
            Ok(Outcome::Gone(object) | Outcome::Waiting(object)) => deleted.push(object),
            Err(error) if error.code == StatusCode::NOT_FOUND => {}
            Err(error) => return Err(error),
        }
    }
    let list = json!({
        "kind": kind.list_kind, "apiVersion": kind.resource.api_version(),
        "metadata": {"resourceVersion": cx.api.store.revision().to_string()}, "items": deleted,
    });
    Ok(media::object(StatusCode::OK, &list, Form::JSON))
}

/// Deletes an object for the server itself; finalizers hold it as they hold it for everyone.
pub(crate) async fn remove(cx: &Context, kind: &Kind, name: &str) -> Result<(), ApiError> {
    delete_one(cx, kind, name, &Options::default()).await.map(|_| ())
}

async fn delete_one(cx: &Context, kind: &Kind, name: &str, options: &Options) -> Result<Outcome, ApiError> {
    loop {
        let entry = cx.stored_named(kind, name)?;
        let object = convert::parse_outgoing(kind, &entry.value);
        check_preconditions(kind, &object, options)?;
        let mut last = object.clone();
        admission::mutate(cx, kind, Operation::Delete, &mut last, Some(&object)).await?;
        let grace = grace(kind, &object, options);
        let mut new = object.clone();
        let held = mark(kind, &mut new, options, grace);
        let outcome = if options.dry_run {
            Ok(new.clone())
        } else if !held {
            write::finish_deletion(cx, kind, new.clone(), entry.revision).await
        } else if new == object {
            return Ok(Outcome::Waiting(object));
        } else {
            write::store(cx, kind, new.clone(), Expect::Revision(entry.revision), false).await
        };
        match outcome {
            Ok(object) if held => return Ok(Outcome::Waiting(object)),
            Ok(object) => return Ok(Outcome::Gone(object)),
            Err(Stored::Conflict) if options.revision.is_none() => {}
            Err(Stored::Conflict) => return Err(ApiError::modified(&kind.resource, name)),
            Err(Stored::Failed(error)) => return Err(error),
        }
    }
}

/// Puts the deletion into the object; true if something still has to happen before it may go.
fn mark(kind: &Kind, object: &mut Value, options: &Options, grace: i64) -> bool {
    propagate(object, options.policy.as_deref());
    let is_namespace = kind.collection == "/namespaces";
    let content = is_namespace && object["spec"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
    let finalized = meta::finalizers(object).next().is_some();
    if !finalized && !content && grace == 0 {
        return false;
    }
    let marked = meta::is_being_deleted(object);
    let left = object["metadata"]["deletionGracePeriodSeconds"].as_i64();
    if !marked || left.is_some_and(|left| grace < left) {
        object["metadata"]["deletionTimestamp"] = after(grace).into();
        object["metadata"]["deletionGracePeriodSeconds"] = grace.into();
    }
    if !marked && meta::generation(object) > 0 {
        object["metadata"]["generation"] = (meta::generation(object) + 1).into();
    }
    if is_namespace {
        object["status"]["phase"] = "Terminating".into();
    }
    if kind.is(&object::kinds::CUSTOM_RESOURCE_DEFINITION) && !marked {
        crate::custom::set_terminating(object, &write::now());
    }
    true
}

/// The finalizers that stand for a propagation policy.
fn propagate(object: &mut Value, policy: Option<&str>) {
    let Some(policy) = policy else { return };
    let mut finalizers: Vec<Value> =
        meta::finalizers(object).filter(|f| !matches!(*f, ORPHAN | FOREGROUND)).map(Value::from).collect();
    match policy {
        "Orphan" => finalizers.push(ORPHAN.into()),
        "Foreground" => finalizers.push(FOREGROUND.into()),
        _ => {}
    }
    if finalizers.is_empty() {
        write::remove(&mut object["metadata"], "finalizers");
    } else {
        object["metadata"]["finalizers"] = finalizers.into();
    }
}

/// Seconds that a pod gets to end; 0 for everything else.
fn grace(kind: &Kind, object: &Value, options: &Options) -> i64 {
    if kind.collection != "/pods" {
        return 0;
    }
    let unscheduled = object["spec"]["nodeName"].as_str().unwrap_or_default().is_empty();
    let ended = matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if unscheduled || ended {
        return 0;
    }
    let wanted =
        options.grace.or_else(|| object["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30);
    if wanted < 0 { 1 } else { wanted }
}

fn after(seconds: i64) -> String {
    let at = jiff::Timestamp::now().as_second().saturating_add(seconds);
    jiff::Timestamp::from_second(at).map(|t| t.to_string()).unwrap_or_default()
}

fn check_preconditions(kind: &Kind, object: &Value, options: &Options) -> Result<(), ApiError> {
    let name = meta::name(object);
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != meta::uid(object)) {
        let why = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been \
             deleted and then recreated",
            meta::uid(object)
        );
        return Err(ApiError::conflict(&kind.resource, name, why));
    }
    if let Some(revision) = options.revision.as_deref().filter(|r| *r != meta::resource_version(object)) {
        let why = format!(
            "the ResourceVersion in the precondition ({revision}) does not match the ResourceVersion in record ({}). The \
             object might have been modified",
            meta::resource_version(object)
        );
        return Err(ApiError::conflict(&kind.resource, name, why));
    }
    Ok(())
}

impl Options {
    async fn parse(cx: &Context, body: Body) -> Result<Self, ApiError> {
        let given = body::optional(cx, body).await?.filter(Value::is_object);
        let value = match given {
            Some(value) => value,
            None => Self::query(cx)?,
        };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let policy = text(&value["propagationPolicy"]);
        let orphan = value["orphanDependents"].as_bool();
        let invalid = |cause: Cause| ApiError::invalid_kind("meta.k8s.io", "DeleteOptions", "", &[cause]);
        if policy.is_some() && orphan.is_some() {
            let detail = "orphanDependents and deletionPropagation cannot be both set";
            return Err(invalid(Cause::invalid("propagationPolicy", &value["propagationPolicy"], detail)));
        }
        if let Some(other) =
            policy.as_deref().filter(|p| !matches!(*p, "Orphan" | "Background" | "Foreground"))
        {
            let supported = ["Foreground", "Background", "Orphan"].map(str::to_owned);
            return Err(invalid(Cause::not_supported("propagationPolicy", &other.into(), &supported)));
        }
        let dry_run = cx.query.get("dryRun") == Some("All") || value["dryRun"] == json!(["All"]);
        let policy = policy.or_else(|| orphan.map(|o| if o { "Orphan".into() } else { "Background".into() }));
        Ok(Self {
            grace: value["gracePeriodSeconds"].as_i64(),
            policy,
            uid: text(&value["preconditions"]["uid"]),
            revision: text(&value["preconditions"]["resourceVersion"]),
            dry_run,
            not_orphaned: orphan == Some(false),
        })
    }

    fn query(cx: &Context) -> Result<Value, ApiError> {
        let mut value = json!({});
        if let Some(grace) = cx.query.number("gracePeriodSeconds")? {
            value["gracePeriodSeconds"] = grace.into();
        }
        if let Some(policy) = cx.query.get("propagationPolicy") {
            value["propagationPolicy"] = policy.into();
        }
        if cx.query.has("orphanDependents") {
            value["orphanDependents"] = cx.query.boolean("orphanDependents")?.into();
        }
        Ok(value)
    }
}
