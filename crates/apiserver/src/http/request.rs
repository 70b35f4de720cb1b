//! What a request asks for: verb, kind, name from its path, and its query. After apiserver's `requestinfo.go`.

use std::borrow::Cow;

use http::Method;

use crate::error::ApiError;

/// A path under `/api` or `/apis` that names a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Info {
    pub(crate) verb: &'static str,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) name: String,
}

/// Parses a resource path; none for discovery and other paths.
pub(crate) fn parse(method: &Method, path: &str, query: &Query) -> Option<Info> {
    let decoded: Vec<String> =
        path.trim_start_matches('/').split('/').map(|s| percent_decode(s).into_owned()).collect();
    let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
    let (group, version, mut rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let mut info = Info { group: group.into(), version: version.into(), ..Info::default() };
    let mut watch = query.flag("watch");
    if let ["watch", tail @ ..] = rest {
        watch = true;
        rest = tail;
    }
    match rest {
        [] | [""] => return None,
        ["namespaces", namespace, resource, tail @ ..]
            if !matches!(*resource, "status" | "finalize" | "") =>
        {
            info.namespace = (*namespace).into();
            info.resource = (*resource).into();
            rest = tail;
        }
        [resource, tail @ ..] => {
            info.resource = (*resource).into();
            rest = tail;
        }
    }
    if let [name, tail @ ..] = rest {
        info.name = (*name).into();
        if let [subresource, ..] = tail {
            info.subresource = (*subresource).into();
        }
    }
    info.verb = verb(method, &info.name, watch);
    if info.verb == "watch" && info.name.is_empty() || info.verb == "list" || info.verb == "deletecollection"
    {
        info.name = name_of_selector(query);
    }
    Some(info)
}

fn verb(method: &Method, name: &str, watch: bool) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if name.is_empty() => "deletecollection",
        Method::DELETE => "delete",
        Method::GET | Method::HEAD if watch => "watch",
        Method::GET | Method::HEAD if name.is_empty() => "list",
        Method::GET | Method::HEAD => "get",
        _ => "",
    }
}

/// `metadata.name=x` in a list's field selector stands for the name, also before the authorizer.
fn name_of_selector(query: &Query) -> String {
    let selector = query.get("fieldSelector").unwrap_or_default();
    selector
        .split(',')
        .find_map(|term| term.strip_prefix("metadata.name="))
        .map(|name| name.trim_start_matches('=').to_owned())
        .unwrap_or_default()
}

/// The decoded query string; keys may repeat.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (form_decode(key), form_decode(value))
        });
        Self(pairs.collect())
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(k, _)| k == key)
    }

    /// Present and neither `false` nor `0`.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.0.iter().find(|(k, _)| k == key).is_some_and(|(_, v)| !matches!(v.as_str(), "false" | "0"))
    }

    /// A boolean parameter; anything else than a boolean is a 400.
    pub(crate) fn boolean(&self, key: &str) -> Result<bool, ApiError> {
        match self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str()) {
            None => Ok(false),
            Some("true" | "1" | "") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(ApiError::bad_request(format!(
                "{key}: strconv.ParseBool: parsing {other:?}: invalid syntax"
            ))),
        }
    }

    /// A number; anything else is a 400.
    pub(crate) fn number(&self, key: &str) -> Result<Option<i64>, ApiError> {
        self.get(key)
            .map(|text| {
                text.parse().map_err(|_| {
                    ApiError::bad_request(format!(
                        "{key}: strconv.ParseInt: parsing {text:?}: invalid syntax"
                    ))
                })
            })
            .transpose()
    }
}

fn form_decode(text: &str) -> String {
    percent_decode(&text.replace('+', " ")).into_owned()
}

/// Undoes `%41`; a malformed escape stays as it is.
pub(crate) fn percent_decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escaped {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_say_what_is_asked() {
        let check = |method: Method, path: &str, expected: [&str; 7]| {
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            let info = parse(&method, path, &Query::parse(query)).unwrap();
            let found = [
                info.verb,
                &info.group,
                &info.version,
                &info.namespace,
                &info.resource,
                &info.name,
                &info.subresource,
            ];
            assert_eq!(found, expected, "{path}");
        };
        check(Method::GET, "/api/v1/pods", ["list", "", "v1", "", "pods", "", ""]);
        check(Method::GET, "/api/v1/namespaces/a/pods?watch=1", ["watch", "", "v1", "a", "pods", "", ""]);
        check(Method::GET, "/api/v1/watch/namespaces/a/pods/b", ["watch", "", "v1", "a", "pods", "b", ""]);
        check(
            Method::GET,
            "/apis/apps/v1/namespaces/a/deployments/b/scale",
            ["get", "apps", "v1", "a", "deployments", "b", "scale"],
        );
        check(Method::GET, "/api/v1/namespaces/a", ["get", "", "v1", "", "namespaces", "a", ""]);
        check(
            Method::PUT,
            "/api/v1/namespaces/a/finalize",
            ["update", "", "v1", "", "namespaces", "a", "finalize"],
        );
        check(
            Method::DELETE,
            "/api/v1/namespaces/a/pods",
            ["deletecollection", "", "v1", "a", "pods", "", ""],
        );
        check(
            Method::GET,
            "/api/v1/pods?fieldSelector=metadata.name%3Dx",
            ["list", "", "v1", "", "pods", "x", ""],
        );
    }

    #[test]
    fn paths_without_a_resource_are_not_parsed() {
        for path in ["/", "/api", "/apis", "/apis/apps", "/apis/apps/v1", "/api/v1", "/api/v1/", "/version"] {
            assert_eq!(parse(&Method::GET, path, &Query::default()), None, "{path}");
        }
    }
}
