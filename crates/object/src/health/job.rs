//! Health of a Job: done, failed, suspended or at work.

use serde_json::Value;

use super::{Health, text};
use crate::meta;

pub(super) fn health(object: &Value) -> Health {
    let message =
        |kind: &str| text(meta::condition(object, kind).unwrap_or(&Value::Null), "/message").to_owned();
    let is = |kind: &str| meta::condition_is_true(object, kind);
    if is("Failed") {
        Health::degraded(message("Failed"))
    } else if is("Complete") {
        Health::healthy(message("Complete"))
    } else if is("Suspended") {
        Health::suspended(message("Suspended"))
    } else {
        Health::progressing("")
    }
}
