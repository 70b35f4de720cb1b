//! NamespaceLifecycle: nothing new in a namespace that does not exist or is going, and some namespaces stay.

use object::{kinds, meta};
use serde_json::{Value, json};

use super::Operation;
use crate::catalog::Kind;
use crate::convert;
use crate::error::ApiError;
use crate::http::Context;

/// Namespaces that cannot be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(super) fn check(cx: &Context, kind: &Kind, operation: Operation, object: &Value) -> Result<(), ApiError> {
    let name = meta::name(object);
    if operation == Operation::Delete {
        if kind.collection == "/namespaces" && IMMORTAL.contains(&name) {
            return Err(ApiError::forbidden(&kind.resource, name, "this namespace may not be deleted"));
        }
        return Ok(());
    }
    if !kind.resource.namespaced {
        return Ok(());
    }
    let namespace = meta::namespace(object);
    let Some(entry) = cx.api.store.get("/namespaces", namespace) else {
        return Err(ApiError::not_found(&kinds::NAMESPACE, namespace));
    };
    if operation == Operation::Create && meta::is_being_deleted(&convert::parse(&entry.value)) {
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut error = ApiError::forbidden(&kind.resource, name, why);
        error.detail(
            "causes",
            json!([{
                "reason": "NamespaceTerminating", "message": format!("namespace {namespace} is being terminated"),
                "field": "metadata.namespace",
            }]),
        );
        return Err(error);
    }
    Ok(())
}
