//! Ingresses into rules.

use object::meta;
use serde_json::Value;

use super::backends::{Backends, Services};
use super::{Action, Claim, Input, PathMatch, Rule, Weighted};
use crate::{INGRESS_CLASS, INGRESS_CONTROLLER};

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const DEFAULT_CLASS_ANNOTATION: &str = "ingressclass.kubernetes.io/is-default-class";

pub(super) fn read(
    input: &Input,
    cluster: usize,
    services: Services,
    backends: &mut Backends,
    claims: &mut Vec<Claim>,
) {
    let mut ingresses: Vec<&Value> = input.ingresses.iter().map(AsRef::as_ref).collect();
    let classes: Vec<&Value> = input.ingress_classes.iter().map(AsRef::as_ref).collect();
    ingresses.retain(|ingress| is_ours(ingress, &classes));
    // The oldest first, so that a newer object cannot take a path away.
    ingresses.sort_by_key(|ingress| (meta::creation_timestamp(ingress).to_string(), meta::key(ingress)));
    for ingress in ingresses {
        let namespace = meta::namespace(ingress);
        let origin = (meta::creation_timestamp(ingress).to_string(), cluster, meta::key(ingress));
        let mut claim = |host: &str, path: PathMatch, backend: &Value, default: bool| {
            let action = match backends.of_ingress(services, namespace, backend) {
                Some(index) => Action::Forward(Weighted::new(vec![(index, 1)])),
                None => Action::Refuse("the Ingress' backend is not a service".to_string()),
            };
            let rule = Rule { path, method: None, headers: Vec::new(), action, origin: origin.clone() };
            claims.push(Claim { host: host.to_lowercase(), rule, default, is_ingress: true });
        };
        for rule in ingress["spec"]["rules"].as_array().into_iter().flatten() {
            let host = rule["host"].as_str().unwrap_or_default();
            for path in rule["http"]["paths"].as_array().into_iter().flatten() {
                let text = path["path"].as_str().unwrap_or("/");
                let wanted = match path["pathType"].as_str() {
                    Some("Exact") => PathMatch::Exact(text.to_string()),
                    _ => PathMatch::prefix(text),
                };
                claim(host, wanted, &path["backend"], false);
            }
            // A rule without paths sends everything of its host to the default backend.
            if rule["http"].is_null() && !host.is_empty() && ingress["spec"]["defaultBackend"].is_object() {
                claim(host, PathMatch::prefix("/"), &ingress["spec"]["defaultBackend"], false);
            }
        }
        if ingress["spec"]["defaultBackend"].is_object() {
            claim("", PathMatch::prefix("/"), &ingress["spec"]["defaultBackend"], true);
        }
    }
}

/// Whether this gateway serves the Ingress: by its class, or by having none while no other class is the default.
pub(crate) fn is_ours(ingress: &Value, classes: &[&Value]) -> bool {
    let named = ingress["spec"]["ingressClassName"].as_str();
    let ours = |class: &Value| class["spec"]["controller"].as_str() == Some(INGRESS_CONTROLLER);
    match named.or_else(|| meta::annotation(ingress, CLASS_ANNOTATION)) {
        Some(INGRESS_CLASS) => true,
        Some(name) => classes.iter().any(|class| meta::name(class) == name && ours(class)),
        None => {
            let is_default =
                |class: &&&Value| meta::annotation(class, DEFAULT_CLASS_ANNOTATION) == Some("true");
            classes.iter().filter(is_default).all(|class| ours(class) || meta::name(class) == INGRESS_CLASS)
        }
    }
}
