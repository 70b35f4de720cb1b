//! Gateway API HTTPRoutes into rules: matches by path, header and method, and weights. `parentRefs` are not looked at: there
//! is one gateway. A rule that needs more (filters, regular expressions) is refused, never half obeyed.

use http::Method;
use object::meta;
use serde_json::Value;

use super::backends::{Backends, Services};
use super::{Action, Claim, Input, PathMatch, Rule, Weighted};

pub(super) fn read(
    input: &Input,
    cluster: usize,
    services: Services,
    backends: &mut Backends,
    claims: &mut Vec<Claim>,
) {
    for route in &input.http_routes {
        let origin = (meta::creation_timestamp(route).to_string(), cluster, meta::key(route));
        let hosts = route["spec"]["hostnames"].as_array();
        let hosts: Vec<&str> = match hosts {
            Some(hosts) if !hosts.is_empty() => hosts.iter().filter_map(Value::as_str).collect(),
            _ => vec![""],
        };
        for rule in route["spec"]["rules"].as_array().into_iter().flatten() {
            let any = vec![Value::Null];
            let matches = rule["matches"].as_array().filter(|matches| !matches.is_empty()).unwrap_or(&any);
            for (host, matched) in
                hosts.iter().flat_map(|host| matches.iter().map(move |matched| (host, matched)))
            {
                let parsed = conditions(matched);
                let (path, method, headers) = match &parsed {
                    Ok((path, method, headers)) => (path.clone(), method.clone(), headers.clone()),
                    Err(_) => (PathMatch::prefix("/"), None, Vec::new()),
                };
                let action = match parsed {
                    Ok(_) => action(rule, meta::namespace(route), services, backends),
                    // A match that is not understood must not catch what others would get.
                    Err(reason) => {
                        tracing::warn!(route = %meta::key(route), reason, "a match of this HTTPRoute is left out");
                        continue;
                    }
                };
                let rule = Rule { path, method, headers, action, origin: origin.clone() };
                claims.push(Claim { host: host.to_lowercase(), rule, default: false, is_ingress: false });
            }
        }
    }
}

type Conditions = (PathMatch, Option<Method>, Vec<(String, String)>);

fn conditions(matched: &Value) -> Result<Conditions, &'static str> {
    let text = matched["path"]["value"].as_str().unwrap_or("/");
    let path = match matched["path"]["type"].as_str() {
        Some("Exact") => PathMatch::Exact(text.to_string()),
        Some("PathPrefix") | None => PathMatch::prefix(text),
        Some(_) => return Err("paths by regular expression are not supported"),
    };
    if matched["queryParams"].as_array().is_some_and(|all| !all.is_empty()) {
        return Err("matches by query parameter are not supported");
    }
    let method = matched["method"].as_str().map(|text| text.parse::<Method>());
    let method = method.transpose().map_err(|_| "the method is none")?;
    let mut headers = Vec::new();
    for header in matched["headers"].as_array().into_iter().flatten() {
        if !matches!(header["type"].as_str(), None | Some("Exact")) {
            return Err("headers by regular expression are not supported");
        }
        let text = |field: &str| header[field].as_str().unwrap_or_default();
        headers.push((text("name").to_lowercase(), text("value").to_string()));
    }
    Ok((path, method, headers))
}

fn action(rule: &Value, namespace: &str, services: Services, backends: &mut Backends) -> Action {
    let refs = rule["backendRefs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let filtered = |value: &Value| value["filters"].as_array().is_some_and(|all| !all.is_empty());
    if filtered(rule) || refs.iter().any(filtered) {
        return Action::Refuse("filters of HTTPRoutes are not supported".to_string());
    }
    let entries = refs.iter().filter_map(|backend| {
        let weight = backend["weight"].as_u64().unwrap_or(1);
        Some((backends.of_route(services, namespace, backend)?, weight))
    });
    Action::Forward(Weighted::new(entries.collect()))
}
