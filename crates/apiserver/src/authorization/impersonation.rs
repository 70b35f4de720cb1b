//! `Impersonate-User` and its companions: acting as somebody else, for those who may.

use http::HeaderMap;

use super::allowed;
use super::rbac::Attributes;
use crate::User;
use crate::api::Api;
use crate::error::ApiError;
use crate::tokens::account_groups;

/// The user that a request is to be judged by.
pub(crate) fn effective(api: &Api, user: User, headers: &HeaderMap) -> Result<User, ApiError> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let name = text("impersonate-user");
    let mut groups: Vec<String> = headers
        .get_all("impersonate-group")
        .iter()
        .filter_map(|v| v.to_str().ok())
        .map(str::to_owned)
        .collect();
    let uid = text("impersonate-uid");
    if name.is_empty() {
        if !groups.is_empty() || !uid.is_empty() {
            return Err(ApiError::plain("requested groups or uid without impersonating a user"));
        }
        return Ok(user);
    }
    let account = name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    match account {
        Some((namespace, account)) => check(api, &user, "serviceaccounts", namespace, account, "")?,
        None => check(api, &user, "users", "", name, "")?,
    }
    for group in &groups {
        check(api, &user, "groups", "", group, "")?;
    }
    if !uid.is_empty() {
        check(api, &user, "uids", "", uid, "authentication.k8s.io")?;
    }
    if groups.is_empty() {
        groups = match account {
            Some((namespace, _)) => account_groups(namespace),
            None => vec![],
        };
    }
    let effective = User { name: name.to_owned(), uid: uid.to_owned(), groups };
    Ok(if name == "system:anonymous" { effective } else { effective.authenticated() })
}

fn check(
    api: &Api,
    user: &User,
    resource: &str,
    namespace: &str,
    name: &str,
    group: &str,
) -> Result<(), ApiError> {
    let attributes = Attributes { verb: "impersonate", group, resource, subresource: "", namespace, name };
    if allowed(api, user, &attributes) {
        return Ok(());
    }
    let kind = object::Resource::new(group, "v1", resource, "", !namespace.is_empty());
    let place = if namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace \"{namespace}\"")
    };
    let why = format!(
        "User \"{}\" cannot impersonate resource \"{resource}\" in API group \"{group}\" {place}",
        user.name
    );
    Err(ApiError::forbidden(&kind, name, why))
}
