//! Who asks, and what they may do. Clients bring a token of Portolan's identity: as a bearer token, as the password of basic
//! authentication, or by way of `/v2/token`, which gives a short one for the scopes asked (distribution's token protocol).

use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use identity::{Claims, token_of};
use serde_json::json;

use super::errors::{Code, Failure, method_not_allowed};
use super::{Access, Registry, json, percent_decode};

/// Life of a registry token: long enough to push one large image over a slow line.
const TOKEN_LIFETIME_S: u64 = 3600;
/// Scopes in one token request; clients ask for one, or two for a mount.
const MAX_SCOPES: usize = 20;

/// A caller whose token has been checked.
pub(super) enum Caller {
    Everybody,
    Known(Box<Claims>),
}

impl Caller {
    pub(super) fn allows(&self, repository: &str, action: &str) -> bool {
        match self {
            Caller::Everybody => true,
            Caller::Known(claims) => claims.allows(&format!("registry:{repository}:{action}")),
        }
    }

    pub(super) fn require(&self, repository: &str, action: &str) -> Result<(), Failure> {
        if self.allows(repository, action) {
            return Ok(());
        }
        let message = format!("your token does not allow {action} on {repository}");
        Err(Failure::new(Code::Denied, message))
    }
}

/// # Errors
/// 401 with a challenge, if there is no valid token.
pub(super) fn caller(registry: &Registry, headers: &HeaderMap) -> Result<Caller, Failure> {
    let Access::Keyring(keyring) = &registry.access else { return Ok(Caller::Everybody) };
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(token_of);
    let Some(token) = given else {
        return Err(Failure::new(Code::Unauthorized, "a token is needed"));
    };
    match keyring.verify(&token) {
        Ok(claims) => Ok(Caller::Known(Box::new(claims))),
        Err(error) => Err(Failure::new(Code::Unauthorized, error.to_string())),
    }
}

/// `GET /v2/token?service=…&scope=repository:NAME:pull,push`: what of the scopes the caller has, as a token.
pub(super) fn token(registry: &Registry, request: &Parts) -> Result<Response, Failure> {
    if request.method != Method::GET {
        return Err(method_not_allowed());
    }
    let (Access::Keyring(keyring), caller) = (&registry.access, caller(registry, &request.headers)?) else {
        return Ok(json(StatusCode::OK, &json!({ "token": "open", "expires_in": TOKEN_LIFETIME_S })));
    };
    let Caller::Known(claims) = caller else {
        return Err(Failure::new(Code::Unauthorized, "a token is needed"));
    };
    let asked = request.uri.query().unwrap_or_default();
    let scopes = asked.split('&').filter_map(|pair| pair.strip_prefix("scope=")).map(percent_decode);
    let scopes: Vec<String> =
        scopes.flat_map(|all| all.split(' ').map(str::to_string).collect::<Vec<_>>()).collect();
    if scopes.len() > MAX_SCOPES {
        return Err(Failure::new(Code::TooManyRequests, "too many scopes in one request"));
    }
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let ends = i64::try_from(now + TOKEN_LIFETIME_S).unwrap_or(i64::MAX);
    let expires_at_s = Some(claims.expires_at_s.map_or(ends, |own| own.min(ends)));
    let granted =
        scopes.iter().flat_map(|scope| grants(scope)).filter(|scope| claims.allows(scope)).collect();
    let short = Claims { scopes: granted, expires_at_s, ..*claims };
    let token = keyring.sign(&short);
    let body = json!({ "token": token, "access_token": token, "expires_in": TOKEN_LIFETIME_S });
    Ok(json(StatusCode::OK, &body))
}

/// `repository:a/b:pull,push` as identity's scopes.
fn grants(scope: &str) -> Vec<String> {
    let mut parts = scope.splitn(2, ':');
    let (Some("repository"), Some(rest)) = (parts.next(), parts.next()) else { return Vec::new() };
    let Some((name, actions)) = rest.rsplit_once(':') else { return Vec::new() };
    let known = |action: &&str| matches!(*action, "pull" | "push" | "delete");
    actions.split(',').filter(known).map(|action| format!("registry:{name}:{action}")).collect()
}

/// Scheme and host as the client sees them, for the realm.
pub(super) fn origin(headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = if text("x-forwarded-proto") == Some("https") { "https" } else { "http" };
    let host = text("x-forwarded-host").or_else(|| text(header::HOST.as_str())).unwrap_or("localhost");
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    let host = if host.chars().all(plain) { host } else { "localhost" };
    format!("{scheme}://{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_scopes_become_identity_scopes() {
        let check = |scope: &str, expected: &[&str]| assert_eq!(grants(scope), expected, "{scope}");
        check("repository:platform/x:pull,push", &["registry:platform/x:pull", "registry:platform/x:push"]);
        check("repository:platform/x:*", &[]);
        check("registry:catalog:*", &[]);
        check("repository:", &[]);
    }
}
