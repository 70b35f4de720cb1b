//! Health of a Service: only a load balancer has something to wait for.

use serde_json::Value;

use super::{Health, list, text};

pub(super) fn health(object: &Value) -> Health {
    let waits = text(object, "/spec/type") == "LoadBalancer"
        && list(object, "/status/loadBalancer/ingress").is_empty();
    if waits { Health::progressing("") } else { Health::healthy("") }
}
