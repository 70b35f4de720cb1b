//! Health of an APIService: available or not yet.

use serde_json::Value;

use super::{Health, text};
use crate::meta;

pub(super) fn health(object: &Value) -> Health {
    let Some(available) = meta::condition(object, "Available") else {
        return Health::progressing("Waiting to be processed");
    };
    let message = format!("{}: {}", text(available, "/reason"), text(available, "/message"));
    if text(available, "/status") == "True" { Health::healthy(message) } else { Health::progressing(message) }
}
