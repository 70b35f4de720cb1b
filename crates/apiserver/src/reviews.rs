//! Kinds that are only asked, never stored: access reviews, token reviews, "who am I", and bindings of pods to nodes.

use axum::body::Body;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::User;
use crate::authorization::rbac::{Attributes, Rule};
use crate::authorization::{allowed, is_master};
use crate::catalog::Kind;
use crate::error::ApiError;
use crate::http::media::{self, Form};
use crate::http::{Context, body, subresource};

/// POST of a review.
pub(crate) async fn create(cx: &Context, kind: &Kind, body: Body) -> Result<Response<Body>, ApiError> {
    let mut review = body::object(cx, kind, body).await?.value;
    if !review.is_object() {
        return Err(ApiError::bad_request("the object provided is unrecognized (must be a JSON object)"));
    }
    review["apiVersion"] = kind.resource.api_version().into();
    review["kind"] = kind.resource.kind.as_ref().into();
    let status = match &*kind.resource.kind {
        "Binding" => return subresource::bind(cx, &review).await,
        "SelfSubjectAccessReview" => access(cx, &cx.user, &review["spec"]),
        "SubjectAccessReview" => access(cx, &subject(&review["spec"])?, &review["spec"]),
        "LocalSubjectAccessReview" => {
            let namespace = &review["spec"]["resourceAttributes"]["namespace"];
            if namespace.as_str() != Some(&cx.info.namespace) {
                return Err(ApiError::bad_request(
                    "spec.resourceAttributes.namespace must match metadata.namespace",
                ));
            }
            access(cx, &subject(&review["spec"])?, &review["spec"])
        }
        "SelfSubjectRulesReview" => rules(cx, review["spec"]["namespace"].as_str().unwrap_or_default()),
        "SelfSubjectReview" => json!({"userInfo": user_info(&cx.user)}),
        "TokenReview" => token(cx, &mut review),
        _ => return Err(ApiError::method_not_allowed()),
    };
    review["status"] = status;
    if !review["metadata"].is_object() {
        review["metadata"] = json!({"creationTimestamp": null});
    }
    let form = media::negotiate(&cx.headers, false).unwrap_or(Form::JSON);
    Ok(media::object(StatusCode::CREATED, &review, form))
}

fn subject(spec: &Value) -> Result<User, ApiError> {
    let groups = spec["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let user = User {
        name: spec["user"].as_str().unwrap_or_default().to_owned(),
        uid: spec["uid"].as_str().unwrap_or_default().to_owned(),
        groups,
    };
    if user.name.is_empty() && user.groups.is_empty() {
        let cause = object::Cause::required("spec.user", "at least one of user or group must be specified");
        return Err(ApiError::invalid_kind("authorization.k8s.io", "SubjectAccessReview", "", &[cause]));
    }
    Ok(user)
}

fn access(cx: &Context, user: &User, spec: &Value) -> Value {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let yes = if let Some(path) = spec["nonResourceAttributes"]["path"].as_str() {
        let verb = text(&spec["nonResourceAttributes"]["verb"]);
        is_master(user) || cx.api.rules().allows_path(user, &verb, path)
    } else {
        let wanted = &spec["resourceAttributes"];
        let attributes = Attributes {
            verb: &text(&wanted["verb"]),
            group: &text(&wanted["group"]),
            resource: &text(&wanted["resource"]),
            subresource: &text(&wanted["subresource"]),
            namespace: &text(&wanted["namespace"]),
            name: &text(&wanted["name"]),
        };
        allowed(&cx.api, user, &attributes)
    };
    json!({"allowed": yes})
}

fn rules(cx: &Context, namespace: &str) -> Value {
    let all = cx.api.rules();
    let mut resource_rules: Vec<Value> = vec![];
    let mut path_rules: Vec<Value> = vec![];
    if is_master(&cx.user) {
        resource_rules.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        path_rules.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    }
    for rule in all.of(&cx.user, namespace) {
        let (paths, value) = rule_value(rule);
        if paths { path_rules.push(value) } else { resource_rules.push(value) }
    }
    json!({"resourceRules": resource_rules, "nonResourceRules": path_rules, "incomplete": false})
}

fn rule_value(rule: &Rule) -> (bool, Value) {
    if !rule.paths.is_empty() {
        return (true, json!({"verbs": rule.verbs, "nonResourceURLs": rule.paths}));
    }
    let mut value = json!({"verbs": rule.verbs, "apiGroups": rule.groups, "resources": rule.resources});
    if !rule.names.is_empty() {
        value["resourceNames"] = json!(rule.names);
    }
    (false, value)
}

fn token(cx: &Context, review: &mut Value) -> Value {
    let token = review["spec"]["token"].as_str().unwrap_or_default().to_owned();
    // The token must not come back in the answer.
    crate::http::write::remove(&mut review["spec"], "token");
    match cx.api.authenticate(&token) {
        Some(user) => {
            let audiences = &review["spec"]["audiences"];
            let audiences =
                if audiences.is_array() { audiences.clone() } else { json!([cx.api.options.external_url]) };
            json!({"authenticated": true, "user": user_info(&user.authenticated()), "audiences": audiences})
        }
        None => json!({"authenticated": false, "user": {}, "error": "invalid bearer token"}),
    }
}

fn user_info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = user.uid.as_str().into();
    }
    info
}
