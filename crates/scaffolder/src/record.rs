//! A task as it is stored: a `Task` object of the group `scaffolder.portolan.dev` in the API server that keeps the
//! platform's records. `spec` is what was asked, `status` what came of it. Secrets are in neither.

use identity::Claims;
use object::Resource;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The kind of the records.
pub const TASK: Resource = Resource::fixed("scaffolder.portolan.dev", "v1alpha1", "tasks", "Task", false);
/// The kind's definition, to be applied to the API server that keeps the records.
pub const CRD: &str = include_str!("../crd.json");

/// Events a record keeps; the oldest log lines beyond that are dropped.
const EVENTS_MAX: usize = 500;
/// Bytes of one log message.
const MESSAGE_MAX_BYTES: usize = 4096;

/// What was asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Canonical reference of the template.
    pub template_ref: String,
    /// Commit of the template's repository that the task works from.
    pub template_commit: String,
    /// Where the template lives: `organisation/name`, and the folder that relative addresses start from.
    pub template_repository: String,
    /// See `template_repository`.
    pub template_folder: String,
    /// `metadata` of the template entity at submit.
    pub template_metadata: Value,
    /// Steps at submit, as written.
    pub steps: Value,
    /// Output block at submit, as written.
    #[serde(default)]
    pub output: Value,
    /// Values of the form.
    pub values: Map<String, Value>,
    /// Who started it. Repositories and commits are made with this person's rights and name.
    pub user: Claims,
}

/// Where a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Waits for its turn.
    Open,
    /// Runs.
    Processing,
    /// Ended well.
    Completed,
    /// A step failed; may be retried.
    Failed,
    /// Stopped by a person.
    Cancelled,
    /// Steps only: its condition was false.
    Skipped,
}

impl Phase {
    /// Nothing more will happen without somebody's asking.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Phase::Open | Phase::Processing)
    }

    /// The word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Open => "open",
            Phase::Processing => "processing",
            Phase::Completed => "completed",
            Phase::Failed => "failed",
            Phase::Cancelled => "cancelled",
            Phase::Skipped => "skipped",
        }
    }
}

/// One step's state.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepState {
    /// Id in the template.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Id of the action.
    pub action: String,
    /// Where it is.
    pub status: Phase,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// What the action handed on, secrets hidden.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub output: Value,
    /// What the action noted for its own retry, such as the repository that it has created.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub notes: Map<String, Value>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One event of the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Counts up from 1 within the task.
    pub id: u64,
    /// `log`, `completion`, `cancelled` or `recovered`.
    #[serde(rename = "type")]
    pub kind: String,
    /// RFC 3339.
    pub created_at: String,
    /// `message`, and where it applies `stepId`, `status`, `output`, `error`.
    pub body: Value,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Where the task is.
    pub phase: Phase,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339; the last sign of life.
    pub last_heartbeat_at: String,
    /// All steps, in order.
    pub steps: Vec<StepState>,
    /// The rendered output block.
    #[serde(default)]
    pub output: Value,
    /// The newest events.
    #[serde(default)]
    pub events: Vec<Event>,
}

/// A whole record.
#[derive(Debug, Clone)]
pub struct Record {
    /// Name of the object, and the task's id.
    pub id: String,
    /// What was asked.
    pub spec: Spec,
    /// What came of it.
    pub status: Status,
}

impl Record {
    /// Reads a stored object; `None` when it is not one of ours or has no status yet.
    #[must_use]
    pub fn read(object: &Value) -> Option<Self> {
        let spec: Spec = serde_json::from_value(object["spec"].clone()).ok()?;
        let status: Status = serde_json::from_value(object["status"].clone()).ok()?;
        Some(Self { id: object::meta::name(object).to_owned(), spec, status })
    }

    /// The object to store.
    #[must_use]
    pub fn object(&self) -> Value {
        json!({
            "apiVersion": TASK.api_version(), "kind": "Task", "metadata": {"name": self.id},
            "spec": self.spec, "status": self.status,
        })
    }

    /// Adds an event, dropping the oldest log line when there are too many.
    pub fn push_event(&mut self, kind: &str, mut body: Value, now: &str) {
        let id = self.status.events.last().map_or(1, |event| event.id + 1);
        if let Some(message) = body["message"].as_str()
            && message.len() > MESSAGE_MAX_BYTES
        {
            let ends = message.char_indices().map(|(at, character)| at + character.len_utf8());
            let cut = ends.take_while(|end| *end <= MESSAGE_MAX_BYTES).last().unwrap_or(0);
            body["message"] = Value::from(format!("{}… (cut)", &message[..cut]));
        }
        let event = Event { id, kind: kind.to_owned(), created_at: now.to_owned(), body };
        self.status.events.push(event);
        if self.status.events.len() > EVENTS_MAX {
            self.status.events.remove(0);
        }
    }

    /// Backstage's `SerializedTask`.
    #[must_use]
    pub fn serialized(&self) -> Value {
        let user_ref = user_ref(&self.spec.user);
        json!({
            "id": self.id,
            "spec": {
                "apiVersion": "scaffolder.backstage.io/v1beta3",
                "parameters": self.spec.values,
                "steps": self.spec.steps,
                "output": self.spec.output,
                "user": {"ref": user_ref},
                "templateInfo": {
                    "entityRef": self.spec.template_ref,
                    "entity": {"metadata": self.spec.template_metadata},
                    "commit": self.spec.template_commit,
                },
            },
            "status": self.status.phase.as_str(),
            "createdAt": self.status.created_at,
            "lastHeartbeatAt": self.status.last_heartbeat_at,
            "createdBy": user_ref,
            "output": self.status.output,
            "steps": self.status.steps,
        })
    }
}

/// Entity reference of a person.
#[must_use]
pub fn user_ref(user: &Claims) -> String {
    format!("user:default/{}", user.subject)
}
