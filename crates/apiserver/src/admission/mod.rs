//! What the server itself adds to objects and refuses, before they are stored. One plug-in per file, in Kubernetes' order.

mod accounts;
mod jobs;
mod namespaces;
mod pods;
pub(crate) mod services;
mod storage;

use object::kinds;
use serde_json::Value;

use crate::authorization::escalation;
use crate::catalog::Kind;
use crate::custom;
use crate::error::ApiError;
use crate::http::Context;

/// What is about to happen to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
}

/// Runs all plug-ins over an object. On a deletion only refusals count.
pub(crate) async fn mutate(
    cx: &Context,
    kind: &Kind,
    operation: Operation,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    namespaces::check(cx, kind, operation, object)?;
    if operation == Operation::Delete {
        return Ok(());
    }
    if kind.custom.as_ref().is_some_and(|c| c.terminating) && operation == Operation::Create {
        let why = "create not allowed while custom resource definition is terminating";
        return Err(ApiError::forbidden(&kind.resource, object::meta::name(object), why));
    }
    if kind.resource.group == "rbac.authorization.k8s.io" {
        escalation::check(cx, kind, object, old)?;
    }
    if kind.is(&kinds::POD) && operation == Operation::Create {
        accounts::mount(cx, kind, object).await?;
        pods::prioritise(cx, kind, object)?;
        pods::tolerate(object);
    }
    if kind.is(&kinds::JOB) && operation == Operation::Create {
        jobs::select_own_pods(object);
    }
    if kind.collection == "certificates.k8s.io/certificatesigningrequests" && operation == Operation::Create {
        object["spec"]["username"] = cx.user.name.as_str().into();
        object["spec"]["groups"] = serde_json::json!(cx.user.groups);
    }
    if kind.is(&kinds::PERSISTENT_VOLUME_CLAIM) && operation == Operation::Create {
        storage::default_class(cx, object);
    }
    if kind.is(&kinds::SERVICE) {
        services::allocate(cx, object, old)?;
    }
    if kind.is(&kinds::CUSTOM_RESOURCE_DEFINITION) {
        custom::admit(&cx.api, object);
    }
    Ok(())
}
