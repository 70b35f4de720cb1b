//! From the values of a form to a task: everything is checked before anything is stored or created.

use identity::Claims;
use rand::Rng as _;
use serde_json::{Map, Value};

use crate::Scaffolder;
use crate::content::place;
use crate::engine::now;
use crate::fields;
use crate::record::{Phase, Record, Spec, Status, StepState};
use crate::template::Template;
use crate::validate::{self, FieldError};

/// Why a task was not started.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The values are wrong; nothing was done.
    Values(Vec<FieldError>),
    /// The request is wrong.
    Input(String),
    /// There is no such template.
    NoTemplate(String),
    /// Something that is needed does not answer.
    Unavailable(String),
}

/// What a request asks for.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) template_ref: String,
    pub(crate) values: Map<String, Value>,
    pub(crate) secrets: Map<String, Value>,
}

impl Scaffolder {
    /// The template with this reference.
    pub(crate) async fn template(&self, user: &Claims, reference: &str) -> Result<Template, Refusal> {
        let parts =
            dialect::nunjucks::parse_entity_ref(reference, Some("template"), "default").ok_or_else(|| {
                Refusal::Input(format!("templateRef: \"{reference}\" is not an entity reference"))
            })?;
        let part = |key: &str| parts[key].as_str().unwrap_or_default();
        let found = self.services().catalog.entity(user, part("kind"), part("namespace"), part("name")).await;
        let entity = found
            .map_err(|error| Refusal::Unavailable(error.to_string()))?
            .ok_or_else(|| Refusal::NoTemplate(format!("there is no template {reference}")))?;
        Template::read(&entity).map_err(|error| Refusal::Input(error.to_string()))
    }

    /// Checks an order and starts the task; its id.
    pub(crate) async fn submit(&self, user: &Claims, order: Order) -> Result<String, Refusal> {
        let template = self.template(user, &order.template_ref).await?;
        let values = template.with_defaults(&order.values);
        let mut errors = validate::check(&template.pages, &values).map_err(Refusal::Input)?;
        let beyond = fields::check(self.services(), &template, &values, user).await;
        let beyond = beyond.map_err(|error| Refusal::Unavailable(error.to_string()))?;
        for error in beyond {
            if !errors.iter().any(|known| known.field() == error.field()) {
                errors.push(error);
            }
        }
        if !errors.is_empty() {
            return Err(Refusal::Values(errors));
        }
        let record = self.record(user, &template, values).await?;
        let id = record.id.clone();
        let added = self.add(record, order.secrets).await;
        added.map(|_| id).map_err(|error| Refusal::Unavailable(format!("the task cannot be stored: {error}")))
    }

    async fn record(
        &self,
        user: &Claims,
        template: &Template,
        values: Map<String, Value>,
    ) -> Result<Record, Refusal> {
        let annotation = |key: &str| template.entity["metadata"]["annotations"][key].as_str();
        let address = annotation("backstage.io/source-location")
            .or_else(|| annotation("backstage.io/managed-by-location"));
        let mut source = address.and_then(place).ok_or_else(|| {
            Refusal::Input(format!("{} does not come from a repository", template.reference))
        })?;
        if annotation("backstage.io/source-location").is_none() {
            source.path = source.path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
        }
        let host = self.services().git_host(user);
        let commit = self.services().copies.head(&host, &source.repository, &source.branch).await;
        let commit = commit.map_err(|error| Refusal::Unavailable(error.to_string()))?;
        let steps = template.steps.iter().map(|step| StepState {
            id: step.id.clone(),
            name: step.name.clone(),
            action: step.action.clone(),
            status: Phase::Open,
            started_at: None,
            ended_at: None,
            output: Value::Null,
            notes: Map::new(),
            error: None,
        });
        let status = Status {
            phase: Phase::Open,
            created_at: now(),
            last_heartbeat_at: now(),
            steps: steps.collect(),
            output: Value::Null,
            events: Vec::new(),
        };
        let spec = Spec {
            template_ref: template.reference.clone(),
            template_commit: commit,
            template_repository: source.repository,
            template_folder: source.path,
            template_metadata: template.entity["metadata"].clone(),
            steps: template.steps.iter().map(|step| step.written.clone()).collect(),
            output: template.output.clone(),
            values,
            user: user.clone(),
        };
        Ok(Record { id: new_id(), spec, status })
    }
}

/// A random UUID (version 4), as Backstage's task ids are.
fn new_id() -> String {
    let mut bytes = [0_u8; 16];
    rand::rng().fill(&mut bytes);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
