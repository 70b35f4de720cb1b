//! kstatus: whether an object has been reconciled, as Flux decides readiness. After fluxcd/cli-utils
//! `pkg/kstatus/status`: generic rules first, then the kind's own, then the Ready condition.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{list, number, text};
use crate::meta;

mod kinds;

/// What an object is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not there yet.
    InProgress,
    /// Will not get there by itself.
    Failed,
    /// As specified.
    Current,
    /// Being deleted.
    Terminating,
    /// Does not exist.
    NotFound,
    /// Cannot be told.
    Unknown,
}

impl Status {
    /// The word that Flux prints.
    pub fn name(self) -> &'static str {
        match self {
            Status::InProgress => "InProgress",
            Status::Failed => "Failed",
            Status::Current => "Current",
            Status::Terminating => "Terminating",
            Status::NotFound => "NotFound",
            Status::Unknown => "Unknown",
        }
    }
}

/// The verdict on one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What it is doing.
    pub status: Status,
    /// Why, for people.
    pub message: String,
    /// The standard conditions that it implies: `Reconciling` or `Stalled`, or none.
    pub conditions: Vec<Value>,
}

/// Computes the status of an object as it was read. `now` decides how long a new pod may stay unscheduled.
pub fn compute(object: &Value, now: Timestamp) -> Outcome {
    if let Some(outcome) = generic(object) {
        return outcome;
    }
    if let Some(outcome) = kinds::outcome(object, now) {
        return outcome;
    }
    ready_condition(object)
}

/// Deletion, generations, and the conditions `Reconciling` and `Stalled` count for every kind.
fn generic(object: &Value) -> Option<Outcome> {
    if meta::is_being_deleted(object) {
        return Some(Outcome {
            status: Status::Terminating,
            message: "Resource scheduled for deletion".to_owned(),
            conditions: Vec::new(),
        });
    }
    let generation = meta::generation(object);
    let observed = object.pointer("/status/observedGeneration").and_then(Value::as_i64);
    if let Some(observed) = observed.filter(|observed| *observed != generation) {
        let message = format!(
            "{} generation is {generation}, but latest observed generation is {observed}",
            meta::kind(object)
        );
        return Some(Outcome::in_progress("LatestGenerationNotObserved", message));
    }
    for condition in list(object, "/status/conditions").iter().filter(|c| c["status"] == "True") {
        let (reason, message) = (text(condition, "/reason"), text(condition, "/message"));
        match text(condition, "/type") {
            "Reconciling" => return Some(Outcome::in_progress(reason, message)),
            "Stalled" => return Some(Outcome::failed(reason, message)),
            _ => {}
        }
    }
    None
}

/// Custom resources: `Ready`, where there is one.
fn ready_condition(object: &Value) -> Outcome {
    let Some(ready) = meta::condition(object, "Ready") else {
        return Outcome::current("Resource is current");
    };
    let (reason, message) = (text(ready, "/reason"), text(ready, "/message"));
    match text(ready, "/status") {
        "True" => Outcome::current("Resource is Ready"),
        _ => Outcome::in_progress(reason, message),
    }
}

impl Outcome {
    fn current(message: impl Into<String>) -> Self {
        Self { status: Status::Current, message: message.into(), conditions: Vec::new() }
    }

    fn in_progress(reason: &str, message: impl Into<String>) -> Self {
        Self::with_condition(Status::InProgress, "Reconciling", reason, message.into())
    }

    fn failed(reason: &str, message: impl Into<String>) -> Self {
        Self::with_condition(Status::Failed, "Stalled", reason, message.into())
    }

    fn with_condition(status: Status, condition: &str, reason: &str, message: String) -> Self {
        let condition = json!({"type": condition, "status": "True", "reason": reason, "message": message});
        Self { status, message, conditions: vec![condition] }
    }
}
