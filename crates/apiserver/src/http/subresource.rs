//! Subresources: status, scale, binding, eviction, finalize, token, approval; and the ways into a running pod.

use std::sync::Arc;

use axum::body::Body;
use http::{Method, Request, Response, StatusCode};
use object::selector::LabelSelector;
use object::{Cause, kinds, meta};
use serde_json::{Value, json};

use super::media::{self, Form};
use super::patch::Style;
use super::read::answer;
use super::write::{self, Options, Part, now};
use super::{Context, body, finish, stream};
use crate::catalog::{Kind, collection};
use crate::convert;
use crate::error::ApiError;
use crate::tokens::Grant;

/// Answers a request for a subresource.
pub(crate) async fn serve(
    cx: Context,
    kind: &Arc<Kind>,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let name = cx.info.subresource.clone();
    let known = kind.subresources.iter().find(|s| s.name == name).ok_or_else(ApiError::no_such_resource)?;
    let form = media::negotiate(&cx.headers, matches!(known.name, "status")).unwrap_or(Form::JSON);
    match (known.name, &cx.method) {
        ("log" | "exec" | "attach" | "portforward", _) => stream::pod(&cx, kind, known.name, request).await,
        ("proxy", _) => stream::proxy(&cx, kind, request).await,
        ("status" | "ephemeralcontainers" | "resize" | "approval", &Method::GET) => {
            super::read::get(&cx, kind, form).await
        }
        ("status", &Method::PUT) => {
            let object = body::object(&cx, kind, request.into_body()).await?;
            let (status, updated) = write::put(&cx, kind, object, Part::Status).await?;
            Ok(finish(&cx, answer(&cx, kind, status, updated, form)))
        }
        ("status", &Method::PATCH) => {
            let (status, patched) = super::patch::patch(&cx, kind, request.into_body(), Part::Status).await?;
            Ok(finish(&cx, answer(&cx, kind, status, patched, form)))
        }
        ("scale", _) => scale(&cx, kind, request.into_body(), form).await,
        ("binding", &Method::POST) => {
            let binding = required_body(&cx, request.into_body()).await?;
            bind(&cx, &binding).await
        }
        ("eviction", &Method::POST) => {
            let eviction = required_body(&cx, request.into_body()).await?;
            evict(&cx, kind, &eviction).await
        }
        ("finalize", &Method::PUT) => finalize(&cx, kind, request.into_body(), form).await,
        ("token", &Method::POST) => token(&cx, kind, request.into_body()).await,
        ("approval", &Method::PUT) => approval(&cx, kind, request.into_body(), form).await,
        ("ephemeralcontainers" | "resize", &Method::PATCH | &Method::PUT) => {
            pod_part(&cx, kind, known.name, request.into_body(), form).await
        }
        _ => Err(ApiError::method_not_allowed()),
    }
}

async fn required_body(cx: &Context, body: Body) -> Result<Value, ApiError> {
    body::optional(cx, body).await?.ok_or_else(|| ApiError::bad_request("the request needs a body"))
}

/// The part of a pod that a subresource may change: the rest of what comes in is not looked at.
async fn pod_part(
    cx: &Context,
    kind: &Kind,
    name: &'static str,
    body: Body,
    form: Form,
) -> Result<Response<Body>, ApiError> {
    let change = Change::read(cx, kind, body).await?;
    let options = Options::parse(cx)?;
    let make = |old: &Value| {
        let wanted = change.apply(kind, old)?;
        let mut new = old.clone();
        if name == "ephemeralcontainers" {
            write::copy(&wanted["spec"], &mut new["spec"], "ephemeralContainers");
            return Ok(new);
        }
        for list in ["containers", "initContainers"] {
            for container in new["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                let same = |c: &&Value| c["name"] == container["name"];
                let from = wanted["spec"][list].as_array().into_iter().flatten().find(same);
                if let Some(from) = from {
                    write::copy(from, container, "resources");
                }
            }
        }
        Ok(new)
    };
    let part = Part::Through(name);
    let updated = write::modify(cx, kind, &cx.info.name, part, &options, false, make).await?;
    Ok(answer(cx, kind, StatusCode::OK, updated, form))
}

/// A PUT's object or a PATCH's document.
enum Change {
    Put(Value),
    Patch(Style, Value),
}

impl Change {
    async fn read(cx: &Context, kind: &Kind, body: Body) -> Result<Self, ApiError> {
        if cx.method == Method::PATCH {
            let style = Style::of(cx, kind)?;
            let bytes = body::bytes(body).await?;
            return Ok(Self::Patch(style, body::yaml_value(&bytes)?));
        }
        Ok(Self::Put(required_body(cx, body).await?))
    }

    fn apply(&self, kind: &Kind, old: &Value) -> Result<Value, ApiError> {
        match self {
            Self::Put(value) => Ok(value.clone()),
            // A Scale has no lists: applying and merging are the same.
            Self::Patch(Style::Apply, patch) => Ok(object::patch::merge::apply(old, patch)),
            Self::Patch(style, patch) => super::patch::change(kind, *style, old, patch),
        }
    }
}

async fn scale(cx: &Context, kind: &Kind, body: Body, form: Form) -> Result<Response<Body>, ApiError> {
    if cx.method == Method::GET {
        let object = convert::parse_outgoing(kind, &cx.stored(kind)?.value);
        return Ok(media::object(StatusCode::OK, &scale_of(kind, &object), form));
    }
    if !matches!(cx.method, Method::PUT | Method::PATCH) {
        return Err(ApiError::method_not_allowed());
    }
    let change = Change::read(cx, kind, body).await?;
    let options = Options::parse(cx)?;
    let make = |old: &Value| {
        let current = scale_of(kind, old);
        let wanted = change.apply(kind, &current)?;
        let given = wanted["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if !given.is_empty() && given != meta::resource_version(old) {
            return Err(ApiError::modified(&kind.resource, meta::name(old)));
        }
        let replicas = wanted["spec"].get("replicas").cloned().unwrap_or_else(|| 0.into());
        if replicas.as_i64().is_none_or(|n| n < 0) {
            let cause = Cause::invalid("spec.replicas", &replicas, "must be greater than or equal to 0");
            return Err(ApiError::invalid_kind("autoscaling", "Scale", meta::name(old), &[cause]));
        }
        let mut new = old.clone();
        match kind.custom.as_ref().and_then(|c| c.scale.as_ref()) {
            Some(scale) => set_at(&mut new, &scale.replicas, replicas),
            None => new["spec"]["replicas"] = replicas,
        }
        Ok(new)
    };
    let updated =
        write::modify(cx, kind, &cx.info.name, Part::Through("scale"), &options, false, make).await?;
    Ok(media::object(StatusCode::OK, &scale_of(kind, &updated), form))
}

/// The Scale of an object.
fn scale_of(kind: &Kind, object: &Value) -> Value {
    let (replicas, current, selector) = match kind.custom.as_ref().and_then(|c| c.scale.as_ref()) {
        Some(scale) => {
            let selector = at(object, &scale.selector).as_str().unwrap_or_default().to_owned();
            (at(object, &scale.replicas).clone(), at(object, &scale.status).clone(), selector)
        }
        None => {
            let selector = &object["spec"]["selector"];
            let parsed = if kind.resource.kind == "ReplicationController" {
                Some(LabelSelector::from_map(selector))
            } else {
                LabelSelector::from_object(selector).ok()
            };
            let text = parsed.map(|s| s.to_string()).unwrap_or_default();
            (object["spec"]["replicas"].clone(), object["status"]["replicas"].clone(), text)
        }
    };
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        write::copy(&object["metadata"], &mut metadata, field);
    }
    let or_zero = |v: Value| if v.is_null() { 0.into() } else { v };
    let mut status = json!({"replicas": or_zero(current)});
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": or_zero(replicas)}, "status": status,
    })
}

fn at<'a>(object: &'a Value, path: &[String]) -> &'a Value {
    path.iter().fold(object, |value, field| &value[field.as_str()])
}

fn set_at(object: &mut Value, path: &[String], value: Value) {
    let place = path.iter().fold(object, |value, field| {
        if !value.is_object() {
            *value = json!({});
        }
        &mut value[field.as_str()]
    });
    *place = value;
}

/// Puts a pod on a node, once.
pub(crate) async fn bind(cx: &Context, binding: &Value) -> Result<Response<Body>, ApiError> {
    let catalog = cx.api.catalog();
    let kind = catalog.find("", "v1", "pods").ok_or_else(ApiError::no_such_resource)?;
    let name = if cx.info.name.is_empty() { meta::name(binding) } else { &cx.info.name }.to_owned();
    let node = binding["target"]["name"].as_str().unwrap_or_default().to_owned();
    if node.is_empty() {
        let cause = Cause::required("target.name", "");
        return Err(ApiError::invalid_kind("", "Binding", &name, &[cause]));
    }
    let options = Options::parse(cx)?;
    let make = |old: &Value| {
        let uid = meta::uid(binding);
        if !uid.is_empty() && uid != meta::uid(old) {
            let why = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                meta::uid(old)
            );
            return Err(ApiError::conflict(&kinds::POD, &name, why));
        }
        if meta::is_being_deleted(old) {
            let why = format!("pod {name} is being deleted, cannot be assigned to a host");
            return Err(ApiError::conflict(&kinds::POD, &name, why));
        }
        if let Some(assigned) = old["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) {
            let why = format!("pod {name} is already assigned to node {assigned:?}");
            return Err(ApiError::conflict(&kinds::POD, &name, why));
        }
        let mut new = old.clone();
        new["spec"]["nodeName"] = node.as_str().into();
        let mut conditions = new["status"]["conditions"].as_array().cloned().unwrap_or_default();
        meta::set_condition(&mut conditions, json!({"type": "PodScheduled", "status": "True"}), &now());
        new["status"]["conditions"] = conditions.into();
        Ok(new)
    };
    write::modify(cx, kind, &name, Part::Through("binding"), &options, false, make).await?;
    Ok(success(StatusCode::CREATED))
}

fn success(code: StatusCode) -> Response<Body> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code.as_u16()});
    media::object(code, &status, Form::JSON)
}

/// Deletes a pod unless a disruption budget forbids it.
async fn evict(cx: &Context, kind: &Kind, eviction: &Value) -> Result<Response<Body>, ApiError> {
    let pod = convert::parse(&cx.stored(kind)?.value);
    let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Pending"));
    if !ended && !meta::is_being_deleted(&pod) {
        charge_budget(cx, &pod).await?;
    }
    let info = super::request::Info { verb: "delete", subresource: String::new(), ..cx.info.clone() };
    let inner = cx.inner(info, super::request::Query::default());
    let options = &eviction["deleteOptions"];
    let options = if options.is_object() { options.to_string() } else { "{}".to_owned() };
    super::delete::delete(&inner.with_json_body(), kind, Body::from(options), Form::JSON).await?;
    Ok(success(StatusCode::CREATED))
}

/// Takes one disruption from the budget that covers the pod.
async fn charge_budget(cx: &Context, pod: &Value) -> Result<(), ApiError> {
    let budgets =
        cx.api.store.list(&collection(&kinds::POD_DISRUPTION_BUDGET), &format!("{}/", cx.info.namespace));
    let covering: Vec<Value> = budgets
        .items
        .iter()
        .map(|(_, e)| convert::parse(&e.value))
        .filter(|b| {
            LabelSelector::from_object(&b["spec"]["selector"])
                .is_ok_and(|s| s.matches(&pod["metadata"]["labels"]))
        })
        .collect();
    let budget = match covering.as_slice() {
        [] => return Ok(()),
        [one] => one,
        _ => {
            let text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(ApiError::internal(text));
        }
    };
    let catalog = cx.api.catalog();
    let r = kinds::POD_DISRUPTION_BUDGET;
    let kind = catalog.find(&r.group, &r.version, &r.plural).ok_or_else(ApiError::no_such_resource)?;
    let options = Options::parse(cx)?;
    let make = |old: &Value| {
        let left = old["status"]["disruptionsAllowed"].as_i64().unwrap_or(0);
        if left <= 0 {
            return Err(blocked(old));
        }
        let mut new = old.clone();
        new["status"]["disruptionsAllowed"] = (left - 1).into();
        new["status"]["disruptedPods"][meta::name(pod)] = now().into();
        Ok(new)
    };
    write::modify(cx, kind, meta::name(budget), Part::Status, &options, false, make).await.map(|_| ())
}

fn blocked(budget: &Value) -> ApiError {
    let mut error =
        ApiError::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.");
    let message = format!(
        "The disruption budget {} needs {} healthy pods and has {} currently",
        meta::name(budget),
        budget["status"]["desiredHealthy"].as_i64().unwrap_or(0),
        budget["status"]["currentHealthy"].as_i64().unwrap_or(0)
    );
    error.detail("causes", json!([{"reason": "DisruptionBudget", "message": message}]));
    error
}

/// PUT of a namespace's finalizers; without any left it goes.
async fn finalize(cx: &Context, kind: &Kind, body: Body, form: Form) -> Result<Response<Body>, ApiError> {
    let given = required_body(cx, body).await?;
    let options = Options::parse(cx)?;
    let make = |old: &Value| {
        let mut new = old.clone();
        write::copy(&given["spec"], &mut new["spec"], "finalizers");
        write::copy(&given["metadata"], &mut new["metadata"], "resourceVersion");
        Ok(new)
    };
    let updated =
        write::modify(cx, kind, &cx.info.name, Part::Through("finalize"), &options, false, make).await?;
    Ok(answer(cx, kind, StatusCode::OK, updated, form))
}

/// PUT of a certificate signing request's approval: only conditions.
async fn approval(cx: &Context, kind: &Kind, body: Body, form: Form) -> Result<Response<Body>, ApiError> {
    let given = required_body(cx, body).await?;
    let options = Options::parse(cx)?;
    let make = |old: &Value| {
        let mut new = old.clone();
        write::copy(&given["status"], &mut new["status"], "conditions");
        Ok(new)
    };
    let updated = write::modify(cx, kind, &cx.info.name, Part::Status, &options, false, make).await?;
    Ok(answer(cx, kind, StatusCode::OK, updated, form))
}

/// TokenRequest.
async fn token(cx: &Context, kind: &Kind, body: Body) -> Result<Response<Body>, ApiError> {
    let mut request = required_body(cx, body).await?;
    let account = convert::parse(&cx.stored(kind)?.value);
    let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(3600);
    if !(600..=1 << 32).contains(&seconds) {
        let cause = Cause::invalid(
            "spec.expirationSeconds",
            &seconds.into(),
            "may not specify a duration less than 10 minutes",
        );
        return Err(ApiError::invalid_kind("authentication.k8s.io", "TokenRequest", "", &[cause]));
    }
    let reference = request["spec"]["boundObjectRef"].clone();
    let bound = bound(cx, &reference)?;
    let issuer = &cx.api.options.external_url;
    let grant = Grant {
        namespace: &cx.info.namespace,
        account: &account,
        audiences: request["spec"]["audiences"].as_array().filter(|a| !a.is_empty()).cloned().into(),
        seconds,
        bound: bound.as_ref().map(|(kind, name, uid)| (*kind, name.as_str(), uid.as_str())),
    };
    let (token, expires) = cx.api.signer.sign(issuer, &grant);
    request["apiVersion"] = "authentication.k8s.io/v1".into();
    request["kind"] = "TokenRequest".into();
    request["metadata"]["name"] = cx.info.name.as_str().into();
    request["metadata"]["namespace"] = cx.info.namespace.as_str().into();
    request["spec"]["expirationSeconds"] = seconds.into();
    if request["spec"]["audiences"].is_null() {
        request["spec"]["audiences"] = json!([issuer]);
    }
    request["status"] = json!({"token": token, "expirationTimestamp": expires});
    Ok(media::object(StatusCode::CREATED, &request, Form::JSON))
}

/// The pod or secret that a token is to die with.
fn bound(cx: &Context, reference: &Value) -> Result<Option<(&'static str, String, String)>, ApiError> {
    if !reference.is_object() {
        return Ok(None);
    }
    let (field, resource) = match reference["kind"].as_str() {
        Some("Pod") => ("pod", kinds::POD),
        Some("Secret") => ("secret", kinds::SECRET),
        other => {
            let text = format!("cannot bind token to {}", other.unwrap_or("an object without a kind"));
            return Err(ApiError::bad_request(text));
        }
    };
    let name = reference["name"].as_str().unwrap_or_default();
    let entry = cx.api.store.get(&collection(&resource), &format!("{}/{name}", cx.info.namespace));
    let entry = entry.ok_or_else(|| ApiError::not_found(&resource, name))?;
    let uid = meta::uid(&convert::parse(&entry.value)).to_owned();
    if reference["uid"].as_str().is_some_and(|given| !given.is_empty() && given != uid) {
        let why = format!("the UID in the bound object reference does not match the UID in record ({uid})");
        return Err(ApiError::conflict(&resource, name, why));
    }
    Ok(Some((field, name.to_owned(), uid)))
}
