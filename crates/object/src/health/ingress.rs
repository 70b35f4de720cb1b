//! Health of an Ingress: it has an address.

use serde_json::Value;

use super::{Health, list};

pub(super) fn health(object: &Value) -> Health {
    let assigned = !list(object, "/status/loadBalancer/ingress").is_empty();
    if assigned { Health::healthy("") } else { Health::progressing("") }
}
