//! Runs a task: its steps one after the other, with the wording and the rules of Backstage's workflow runner. After
//! every step the record is written, so that a restart knows what is done; a retry goes on from the failed step.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use dialect::nunjucks;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::actions::{self, ActionContext};
use crate::record::{Phase, Record, StepState, TASK, user_ref};
use crate::redact::Redactor;
use crate::template::{Step, read_steps};
use crate::{Services, validate};

/// What a task says that a stop of the platform cut short.
pub(crate) const INTERRUPTED: &str =
    "interrupted: the platform stopped while the task ran; it can be retried";
/// Iterations one `each` may have.
const EACH_MAX: usize = 500;

/// A task that this process knows: its record, and what must never be stored.
pub(crate) struct Task {
    record: Mutex<Record>,
    /// Moves on with every change of the record.
    pub(crate) changed: watch::Sender<u64>,
    pub(crate) cancel: Mutex<CancellationToken>,
    pub(crate) secrets: Mutex<Map<String, Value>>,
    /// Outputs of this process's steps with their secrets, which the record hides.
    outputs: Mutex<Map<String, Value>>,
    pub(crate) redactor: Mutex<Redactor>,
    /// One writer at a time, so that an older state never overwrites a newer one.
    storing: tokio::sync::Mutex<()>,
}

impl Task {
    pub(crate) fn new(record: Record, secrets: Map<String, Value>) -> Arc<Self> {
        let mut redactor = Redactor::default();
        for secret in secrets.values().filter_map(Value::as_str) {
            redactor.hide(secret);
        }
        Arc::new(Self {
            record: Mutex::new(record),
            changed: watch::Sender::new(0),
            cancel: Mutex::default(),
            secrets: Mutex::new(secrets),
            outputs: Mutex::default(),
            redactor: Mutex::new(redactor),
            storing: tokio::sync::Mutex::default(),
        })
    }

    /// The record as it is now.
    pub(crate) fn record(&self) -> Record {
        lock(&self.record).clone()
    }

    /// Reads something of the record without copying all of it.
    pub(crate) fn with<T>(&self, read: impl FnOnce(&Record) -> T) -> T {
        read(&lock(&self.record))
    }

    /// Changes the record in memory and tells whoever watches.
    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        let result = {
            let mut record = lock(&self.record);
            record.status.last_heartbeat_at = now();
            change(&mut record)
        };
        self.changed.send_modify(|version| *version += 1);
        result
    }

    /// Adds a log line, secrets hidden.
    pub(crate) fn log(&self, step: Option<&str>, status: Option<Phase>, message: &str) {
        let message = lock(&self.redactor).text(message);
        let mut body = json!({ "message": message });
        if let Some(step) = step {
            body["stepId"] = Value::from(step);
        }
        if let Some(status) = status {
            body["status"] = Value::from(status.as_str());
        }
        self.update(|record| record.push_event("log", body, &now_millis()));
    }

    fn step(&self, id: &str, change: impl FnOnce(&mut StepState)) {
        self.update(|record| {
            if let Some(step) = record.status.steps.iter_mut().find(|step| step.id == id) {
                change(step);
            }
        });
    }

    /// Something an action wants to remember for its own retry; stored before this returns.
    pub(crate) async fn note(
        &self,
        services: &Services,
        step: &str,
        key: &str,
        value: Value,
    ) -> Result<(), String> {
        self.step(step, |state| {
            if value.is_null() {
                state.notes.shift_remove(key);
            } else {
                state.notes.insert(key.to_owned(), value);
            }
        });
        self.store(services).await
    }

    /// What an earlier attempt of the step noted.
    pub(crate) fn noted(&self, step: &str, key: &str) -> Option<Value> {
        self.with(|record| record.status.steps.iter().find(|state| state.id == step)?.notes.get(key).cloned())
    }

    /// Writes the status of the record.
    pub(crate) async fn store(&self, services: &Services) -> Result<(), String> {
        let _one_at_a_time = self.storing.lock().await;
        self.write(services, &self.record()).await
    }

    /// Makes a last change: nobody sees it before it is durable. It is shown too if it could not be written, for the
    /// task has ended all the same.
    async fn store_then_show(
        &self,
        services: &Services,
        change: impl FnOnce(&mut Record),
    ) -> Result<(), String> {
        let _one_at_a_time = self.storing.lock().await;
        let mut next = self.record();
        next.status.last_heartbeat_at = now();
        change(&mut next);
        let written = self.write(services, &next).await;
        self.update(|record| *record = next);
        written
    }

    async fn write(&self, services: &Services, record: &Record) -> Result<(), String> {
        let body = json!({ "status": record.status });
        let patch = controller::Patch::Merge(&body);
        let stored =
            services.cluster.patch(&TASK, &object::Key::cluster(record.id.clone()), "status", patch).await;
        stored.map(|_| ()).map_err(|error| format!("the task's record cannot be written: {error}"))
    }
}

/// Runs a task to its end. Never fails: what goes wrong is in the record.
pub(crate) async fn run(services: Arc<Services>, task: Arc<Task>) {
    let outcome = drive(&services, &task).await;
    let phase = match &outcome {
        Ok(()) => Phase::Completed,
        Err(Stop::Cancelled) => Phase::Cancelled,
        Err(Stop::Failed(_)) => Phase::Failed,
    };
    let output = task.with(|record| record.status.output.clone());
    let mut body = json!({"message": format!("Run completed with status: {}", phase.as_str()), "status": phase.as_str()});
    match outcome {
        Ok(()) => body["output"] = output,
        Err(Stop::Failed(message)) => {
            let message = lock(&task.redactor).text(&message);
            body["error"] = json!({"name": "Error", "message": message});
        }
        Err(Stop::Cancelled) => {}
    }
    let kind = if phase == Phase::Cancelled { "cancelled" } else { "completion" };
    let ended = |record: &mut Record| {
        record.status.phase = phase;
        record.push_event(kind, body, &now_millis());
    };
    if let Err(error) = task.store_then_show(&services, ended).await {
        tracing::warn!(error, "a finished task could not be recorded");
    }
    if phase == Phase::Completed {
        lock(&task.secrets).clear();
        let workspace = services.workspace(&task.with(|record| record.id.clone()));
        // The next start would find it unused and remove it as well.
        let _ = tokio::fs::remove_dir_all(workspace).await;
    }
}

/// Why a run ended early.
enum Stop {
    Cancelled,
    Failed(String),
}

async fn drive(services: &Arc<Services>, task: &Arc<Task>) -> Result<(), Stop> {
    let spec = task.with(|record| record.spec.clone());
    let steps = read_steps(&spec.steps).map_err(|error| Stop::Failed(error.to_string()))?;
    task.log(None, None, &format!("Starting up task with {} steps", steps.len()));
    let workspace = services.workspace(&task.with(|record| record.id.clone()));
    prepare(task, &workspace).await?;
    for step in &steps {
        if cancelled(task) {
            return Err(Stop::Cancelled);
        }
        if services.stop.is_cancelled() {
            return Err(Stop::Failed(INTERRUPTED.to_owned()));
        }
        let done = task.with(|record| {
            let state = record.status.steps.iter().find(|state| state.id == step.id);
            state.is_some_and(|state| matches!(state.status, Phase::Completed | Phase::Skipped))
        });
        if !done {
            run_step(services, task, step, &workspace).await?;
        }
    }
    if cancelled(task) {
        return Err(Stop::Cancelled);
    }
    let context = context(services, task, false);
    let rendered = nunjucks::render_value(&spec.output, &context);
    for (text, problem) in rendered.problems {
        task.log(None, None, &format!("The output \"{text}\" was left as written: {problem}"));
    }
    let output = rendered.value.filter(|value| !value.is_null()).unwrap_or_else(|| json!({}));
    let output = lock(&task.redactor).value(&output);
    task.update(|record| record.status.output = output);
    Ok(())
}

/// Makes the workspace. If a restart lost it, steps whose work was in it run again; repositories that exist are kept.
async fn prepare(task: &Task, workspace: &Path) -> Result<(), Stop> {
    if !workspace.exists() {
        task.update(|record| {
            for step in &mut record.status.steps {
                if step.status == Phase::Completed && actions::works_on_files(&step.action) {
                    step.status = Phase::Open;
                }
            }
        });
    }
    let made = tokio::fs::create_dir_all(workspace).await;
    made.map_err(|error| Stop::Failed(format!("the workspace cannot be made: {error}")))
}

async fn run_step(
    services: &Arc<Services>,
    task: &Arc<Task>,
    step: &Step,
    workspace: &Path,
) -> Result<(), Stop> {
    let each = &step.written["each"];
    let condition = &step.written["if"];
    if each.is_null() && !condition.is_null() && !holds(condition, &context(services, task, true)) {
        let message = format!("Skipping step {} because its if condition was false", step.id);
        task.log(Some(&step.id), Some(Phase::Skipped), &message);
        task.step(&step.id, |state| state.status = Phase::Skipped);
        return task.store(services).await.map_err(Stop::Failed);
    }
    task.step(&step.id, |state| {
        state.status = Phase::Processing;
        state.started_at = Some(now());
        state.ended_at = None;
        state.error = None;
    });
    task.log(Some(&step.id), Some(Phase::Processing), &format!("Beginning step {}", step.name));
    task.store(services).await.map_err(Stop::Failed)?;
    let result = execute(services, task, step, workspace).await;
    match result {
        Ok(output) => {
            lock(&task.outputs).insert(step.id.clone(), output.clone());
            let shown = lock(&task.redactor).value(&output);
            task.step(&step.id, |state| {
                state.status = Phase::Completed;
                state.ended_at = Some(now());
                state.output = shown;
            });
            task.log(Some(&step.id), Some(Phase::Completed), &format!("Finished step {}", step.name));
            task.store(services).await.map_err(Stop::Failed)
        }
        Err(stop) => {
            let (phase, message) = match &stop {
                Stop::Cancelled => (Phase::Cancelled, "The task was cancelled".to_owned()),
                Stop::Failed(message) => (Phase::Failed, lock(&task.redactor).text(message)),
            };
            task.step(&step.id, |state| {
                state.status = phase;
                state.ended_at = Some(now());
                state.error = Some(message.clone());
            });
            task.log(Some(&step.id), Some(phase), &message);
            Err(stop)
        }
    }
}

/// Runs the action once, or once per item of `each`; then the outputs of every name become lists.
async fn execute(
    services: &Arc<Services>,
    task: &Arc<Task>,
    step: &Step,
    workspace: &Path,
) -> Result<Value, Stop> {
    let action = actions::find(&step.action)
        .ok_or_else(|| Stop::Failed(format!("there is no action with the id \"{}\"", step.action)))?;
    let each = &step.written["each"];
    let mut inputs = Vec::new();
    if each.is_null() {
        inputs.push(input_of(services, task, step, None)?);
    } else {
        let scope = context(services, task, true);
        let items = entries(nunjucks::render_value(each, &scope).value.as_ref())
            .ok_or_else(|| Stop::Failed(format!("each of step {} gives no list and no map", step.id)))?;
        for item in items {
            let mut scope = scope.clone();
            scope["each"] = item.clone();
            let condition = &step.written["if"];
            if condition.is_null() || holds(condition, &scope) {
                inputs.push(input_of(services, task, step, Some(item))?);
            }
        }
    }
    for input in &inputs {
        validate::check_input(&action.input_schema(), input).map_err(|problems| {
            Stop::Failed(format!("Invalid input passed to action {}, {problems}", step.action))
        })?;
    }
    let mut outputs = Vec::new();
    for input in inputs {
        let cancel = lock(&task.cancel).clone();
        if cancel.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        let context = ActionContext {
            services: services.clone(),
            task: task.clone(),
            step_id: step.id.clone(),
            workspace: workspace.to_path_buf(),
        };
        // An action is not cut short: half a push would be worse than a late cancel.
        outputs.push(action.run(context, input).await.map_err(|error| Stop::Failed(error.to_string()))?);
    }
    if each.is_null() {
        return Ok(outputs.pop().unwrap_or_else(|| json!({})));
    }
    let mut lists: Map<String, Value> = Map::new();
    for output in outputs {
        for (name, value) in output.as_object().into_iter().flatten() {
            let list = lists.entry(name.clone()).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                list.push(value.clone());
            }
        }
    }
    Ok(Value::Object(lists))
}

/// The step's input, rendered with secrets; what the secrets made of it is hidden from the log from now on.
fn input_of(services: &Services, task: &Task, step: &Step, item: Option<Value>) -> Result<Value, Stop> {
    let mut scope = context(services, task, true);
    if let Some(item) = item {
        scope["each"] = item;
    }
    let written = step.written.get("input").cloned().unwrap_or_else(|| json!({}));
    let rendered = nunjucks::render_value(&written, &scope);
    for (text, problem) in &rendered.problems {
        task.log(Some(&step.id), None, &format!("\"{text}\" was left as written: {problem}"));
    }
    let input = rendered.value.unwrap_or_else(|| json!({}));
    let has_secrets = !lock(&task.secrets).is_empty();
    if has_secrets {
        scope["secrets"] = json!({});
        let bare = nunjucks::render_value(&written, &scope).value;
        lock(&task.redactor).hide_difference(&input, bare.as_ref());
    }
    Ok(input)
}

/// What expressions see: `parameters`, `steps`, `user`, `environment`, `context`, and with `secrets` those too.
pub(crate) fn context(services: &Services, task: &Task, with_secrets: bool) -> Value {
    let record = task.record();
    let outputs = lock(&task.outputs);
    let mut steps = Map::new();
    for state in record.status.steps.iter().filter(|state| state.status == Phase::Completed) {
        let output = outputs.get(&state.id).unwrap_or(&state.output);
        let output = if output.is_null() { json!({}) } else { output.clone() };
        steps.insert(state.id.clone(), json!({ "output": output }));
    }
    let user = &record.spec.user;
    let mut context = json!({
        "parameters": record.spec.values,
        "steps": steps,
        "user": {"ref": user_ref(user), "entity": {
            "kind": "User", "metadata": {"name": user.subject, "namespace": "default"},
            "spec": {"profile": {"displayName": user.name, "email": user.email}, "memberOf": user.groups},
        }},
        "environment": {"parameters": services.environment},
        "context": {"task": {"id": record.id}},
    });
    if with_secrets {
        context["secrets"] = Value::Object(lock(&task.secrets).clone());
    }
    context
}

fn holds(condition: &Value, context: &Value) -> bool {
    match condition {
        Value::Bool(flag) => *flag,
        other => nunjucks::is_truthy(nunjucks::render_value(other, context).value.as_ref()),
    }
}

/// `each` as JavaScript's `Object.entries` gives it: for a list the keys are the indexes as text.
fn entries(value: Option<&Value>) -> Option<Vec<Value>> {
    let item = |key: String, value: &Value| json!({"key": key, "value": value});
    let items: Vec<Value> = match value? {
        Value::Array(items) => {
            items.iter().enumerate().map(|(at, value)| item(at.to_string(), value)).collect()
        }
        Value::Object(fields) => fields.iter().map(|(key, value)| item(key.clone(), value)).collect(),
        _ => return None,
    };
    (items.len() <= EACH_MAX).then_some(items)
}

fn cancelled(task: &Task) -> bool {
    lock(&task.cancel).is_cancelled()
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Now, in whole seconds, as the API server prints times.
pub(crate) fn now() -> String {
    controller::now()
}

/// Now, with milliseconds: log lines come faster than one a second.
fn now_millis() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
