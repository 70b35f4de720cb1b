//! Who may do what: RBAC over the stored roles and bindings.

pub(crate) mod escalation;
pub(crate) mod impersonation;
pub(crate) mod rbac;

use http::Method;

use crate::User;
use crate::api::Api;
use crate::error::ApiError;
use crate::http::request::Info;
use rbac::Attributes;

/// Members of this group may do everything.
pub(crate) const MASTERS: &str = "system:masters";

/// Refuses a request for a resource that its user may not make.
pub(crate) fn check_resource(api: &Api, user: &User, info: &Info) -> Result<(), ApiError> {
    // A namespace is inside itself: a role in it may allow to read it.
    let own = info.group.is_empty() && info.resource == "namespaces";
    let namespace = if own { info.name.as_str() } else { info.namespace.as_str() };
    let attributes = Attributes {
        verb: info.verb,
        group: &info.group,
        resource: &info.resource,
        subresource: &info.subresource,
        namespace,
        name: &info.name,
    };
    if allowed(api, user, &attributes) {
        return Ok(());
    }
    let resource = object::Resource::new(&info.group, &info.version, &info.resource, "", true);
    let full = match info.subresource.as_str() {
        "" => info.resource.clone(),
        sub => format!("{}/{sub}", info.resource),
    };
    let place = match info.namespace.as_str() {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace \"{namespace}\""),
    };
    let why = format!(
        "User \"{}\" cannot {} resource \"{full}\" in API group \"{}\" {place}",
        user.name, info.verb, info.group
    );
    Err(ApiError::forbidden(&resource, &info.name, why))
}

/// Refuses a path that is not a resource's.
pub(crate) fn check_path(api: &Api, user: &User, method: &Method, path: &str) -> Result<(), ApiError> {
    let verb = match *method {
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    };
    if is_master(user) || api.rules().allows_path(user, verb, path) {
        return Ok(());
    }
    Err(ApiError::forbidden_path(format!("forbidden: User \"{}\" cannot {verb} path \"{path}\"", user.name)))
}

/// Whether a user may do something with a resource.
pub(crate) fn allowed(api: &Api, user: &User, attributes: &Attributes<'_>) -> bool {
    is_master(user) || api.rules().allows(user, attributes)
}

pub(crate) fn is_master(user: &User) -> bool {
    user.groups.iter().any(|g| g == MASTERS)
}
