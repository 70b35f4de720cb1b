//! Status as Flux writes it: a set of conditions, of which `Ready` comes first, and the generation they are about.

use object::meta;
use serde_json::{Value, json};

/// The status of one object while a reconcile works on it.
pub(crate) struct Status {
    generation: i64,
    now: String,
    /// The whole `status`.
    pub(crate) value: Value,
}

impl Status {
    pub(crate) fn of(object: &Value, now: &str) -> Self {
        let value = if object["status"].is_object() { object["status"].clone() } else { json!({}) };
        Self { generation: meta::generation(object), now: now.to_owned(), value }
    }

    /// Sets a condition; its transition time moves only with its status.
    pub(crate) fn set(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let message: String = message.chars().take(MESSAGE_LIMIT).collect();
        let condition = json!({
            "type": kind,
            "status": status,
            "observedGeneration": self.generation,
            "reason": reason,
            "message": message,
        });
        let mut conditions = self.take();
        meta::set_condition(&mut conditions, condition, &self.now);
        conditions.sort_by_key(|condition| condition["type"] != "Ready");
        self.value["conditions"] = Value::Array(conditions);
    }

    pub(crate) fn remove(&mut self, kind: &str) {
        let mut conditions = self.take();
        conditions.retain(|condition| condition["type"] != kind);
        self.value["conditions"] = Value::Array(conditions);
    }

    /// Success: ready, nothing going on, this generation observed.
    pub(crate) fn succeed(&mut self, reason: &str, message: &str) {
        self.remove("Reconciling");
        self.remove("Stalled");
        self.set("Ready", "True", reason, message);
        self.value["observedGeneration"] = self.generation.into();
    }

    /// Failure that another try may mend.
    pub(crate) fn fail(&mut self, reason: &str, message: &str) {
        self.remove("Stalled");
        self.set("Ready", "False", reason, message);
        self.set("Reconciling", "True", "ProgressingWithRetry", message);
    }

    /// Failure that only a change of the object can mend.
    pub(crate) fn stall(&mut self, reason: &str, message: &str) {
        self.remove("Reconciling");
        self.set("Ready", "False", reason, message);
        self.set("Stalled", "True", reason, message);
        self.value["observedGeneration"] = self.generation.into();
    }

    /// On the way.
    pub(crate) fn progress(&mut self, message: &str) {
        self.remove("Stalled");
        self.set("Ready", "Unknown", "Progressing", "Reconciliation in progress");
        self.set("Reconciling", "True", "Progressing", message);
    }

    fn take(&mut self) -> Vec<Value> {
        match self.value["conditions"].take() {
            Value::Array(conditions) => conditions,
            _ => vec![],
        }
    }
}

/// As the CRDs say.
const MESSAGE_LIMIT: usize = 32_000;
