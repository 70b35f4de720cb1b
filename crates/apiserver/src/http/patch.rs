//! PATCH: JSON patch, merge patch, strategic merge patch and server-side apply.

use axum::body::Body;
use http::StatusCode;
use object::managed::{self, ApplyError};
use object::patch::{self, PatchError};
use object::{Cause, meta};
use serde_json::{Value, json};

use super::Context;
use super::body;
use super::write::{self, Options, Part};
use crate::catalog::Kind;
use crate::error::ApiError;

/// How a patch is to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl Style {
    pub(crate) fn of(cx: &Context, kind: &Kind) -> Result<Self, ApiError> {
        const CUSTOM: &str =
            "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
        match body::media_type(cx).as_str() {
            "application/json-patch+json" => Ok(Self::Json),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" if kind.custom.is_none() => Ok(Self::Strategic),
            "application/apply-patch+yaml" => Ok(Self::Apply),
            _ if kind.custom.is_some() => Err(ApiError::unsupported_media(CUSTOM)),
            _ => {
                Err(ApiError::unsupported_media(&format!("{CUSTOM}, application/strategic-merge-patch+json")))
            }
        }
    }
}

/// Answers a PATCH of an object or of its status.
pub(crate) async fn patch(
    cx: &Context,
    kind: &Kind,
    body: Body,
    part: Part,
) -> Result<(StatusCode, Value), ApiError> {
    let style = Style::of(cx, kind)?;
    let options = Options::parse(cx)?;
    let bytes = body::bytes(body).await?;
    if style == Style::Apply {
        return apply(cx, kind, &bytes, part, &options).await;
    }
    if options.force {
        let cause = Cause::forbidden("force", "may not be specified for non-apply patch");
        return Err(ApiError::invalid_kind("meta.k8s.io", "PatchOptions", "", &[cause]));
    }
    let (patch, duplicates) = crate::schema::json::parse(&bytes)
        .map_err(|e| ApiError::bad_request(format!("error decoding patch: {e}")))?;
    let name = cx.info.name.clone();
    let make = |old: &Value| {
        let mut new = change(kind, style, old, &patch)?;
        new["apiVersion"] = kind.resource.api_version().into();
        new["kind"] = kind.resource.kind.as_ref().into();
        if meta::name(&new) != name {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({}) does not match the name on the URL ({name})",
                meta::name(&new)
            )));
        }
        let problems = write::decode(kind, &mut new, duplicates.clone());
        // Strict problems of a patch are a 422 that quotes the patch.
        write::report(cx, options.validation, &problems, |problems| {
            let detail = format!("strict decoding error: {problems}");
            ApiError::invalid(&kind.resource, &name, &[Cause::invalid("patch", &patch, detail)])
        })?;
        Ok(new)
    };
    let patched = write::modify(cx, kind, &name, part, &options, false, make).await?;
    Ok((StatusCode::OK, patched))
}

/// One of the three patches that are not an apply.
pub(crate) fn change(kind: &Kind, style: Style, old: &Value, patch: &Value) -> Result<Value, ApiError> {
    match style {
        Style::Json => patch::json::apply(old, patch).map_err(patch_error),
        Style::Merge if patch.is_object() => Ok(patch::merge::apply(old, patch)),
        Style::Merge => {
            Err(ApiError::bad_request("error decoding patch: a merge patch has to be a JSON object"))
        }
        Style::Strategic | Style::Apply => {
            patch::strategic::apply(kind.merge_facts(), old, patch).map_err(patch_error)
        }
    }
}

fn patch_error(error: PatchError) -> ApiError {
    match error {
        PatchError::Malformed(text) => ApiError::bad_request(text),
        PatchError::TooLarge(text) => ApiError::too_large(text),
        PatchError::Rejected(_) => ApiError::unprocessable_patch(),
    }
}

async fn apply(
    cx: &Context,
    kind: &Kind,
    bytes: &[u8],
    part: Part,
    options: &Options,
) -> Result<(StatusCode, Value), ApiError> {
    if cx.query.get("fieldManager").is_none() {
        let cause = Cause::required("fieldManager", "is required for apply patch");
        return Err(ApiError::invalid_kind("meta.k8s.io", "PatchOptions", "", &[cause]));
    }
    let mut config = body::yaml_value(bytes)?;
    check_config(cx, kind, &mut config)?;
    if kind.custom.is_some() {
        // The schema prunes here; fields that it does not know are reported as in a create.
        let problems = write::decode(kind, &mut config, vec![]);
        write::report(cx, options.validation, &problems, |problems| {
            ApiError::bad_request(format!("error strict decoding patch: {problems}"))
        })?;
    }
    let name = cx.info.name.clone();
    loop {
        if cx.stored_named(kind, &name).is_ok() {
            let make = |old: &Value| merge(kind, Some(old), &config, options, part);
            match write::modify(cx, kind, &name, part, options, true, make).await {
                Err(error)
                    if error.code == StatusCode::NOT_FOUND && cx.stored_named(kind, &name).is_err() => {}
                outcome => return outcome.map(|o| (StatusCode::OK, o)),
            }
        }
        if part != Part::Main {
            return Err(ApiError::not_found(&kind.resource, &name));
        }
        if let Some(uid) = config["metadata"]["uid"].as_str().filter(|u| !u.is_empty()) {
            let why = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            );
            return Err(ApiError::conflict(&kind.resource, &name, why));
        }
        let object = merge(kind, None, &config, options, part)?;
        match write::create_object(cx, kind, object, options, true).await {
            Err(error) if error.reason == "AlreadyExists" && !options.dry_run => {}
            outcome => return outcome.map(|o| (StatusCode::CREATED, o)),
        }
    }
}

fn merge(
    kind: &Kind,
    live: Option<&Value>,
    config: &Value,
    options: &Options,
    part: Part,
) -> Result<Value, ApiError> {
    let request = managed::Apply {
        live,
        config,
        manager: &options.manager,
        force: options.force,
        now: &write::now(),
        subresource: part.subresource(),
        scope: part.scope(kind),
        facts: kind.merge_facts(),
        drop_nulls: kind.custom.is_none(),
    };
    let merged = managed::apply(&request).map_err(|error| match error {
        ApplyError::Conflict(conflicts) => {
            ApiError::apply_conflict(conflicts.to_string(), conflicts.causes())
        }
        ApplyError::Invalid(text) => ApiError::bad_request(text),
        ApplyError::Schema(text) => ApiError::plain(text),
    })?;
    let mut merged = merged;
    if let Some(custom) = &kind.custom {
        custom.decode(&mut merged);
    } else {
        let unknown = crate::schema::fields::prune(&kind.resource, &mut merged);
        if let Some(path) = unknown.first() {
            let text = format!(
                "failed to create typed patch object ({}; {}, Kind={}): .{path}: field not declared in schema",
                meta::key(config),
                kind.resource.api_version(),
                kind.resource.kind
            );
            return Err(ApiError::plain(text));
        }
    }
    Ok(merged)
}

fn check_config(cx: &Context, kind: &Kind, config: &mut Value) -> Result<(), ApiError> {
    if !config.is_object() {
        return Err(ApiError::bad_request("error decoding YAML: the patch has to be an object"));
    }
    let expected = kind.resource.api_version();
    if meta::api_version(config) != expected {
        return Err(ApiError::bad_request(format!(
            "Incorrect version specified in apply patch. Specified patch version: {}, expected: {expected}",
            meta::api_version(config)
        )));
    }
    if !config["metadata"]["managedFields"].is_null() {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    if !config["metadata"].is_object() {
        config["metadata"] = json!({});
    }
    match meta::name(config) {
        "" => config["metadata"]["name"] = cx.info.name.as_str().into(),
        name if name != cx.info.name => {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                cx.info.name
            )));
        }
        _ => {}
    }
    if kind.resource.namespaced {
        let given = meta::namespace(config);
        if !given.is_empty() && given != cx.info.namespace {
            let text =
                "the namespace of the provided object does not match the namespace sent on the request";
            return Err(ApiError::bad_request(text));
        }
        config["metadata"]["namespace"] = cx.info.namespace.as_str().into();
    }
    Ok(())
}
