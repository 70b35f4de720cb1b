//! One run: its jobs in the order of their needs, each with its own conditions and matrix.

use std::collections::BTreeMap;
use std::sync::Arc;

use controller::now;
use dialect::actions;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::{self, JobStatus, RunSpec, RunStatus, StepStatus};
use crate::contexts::{self, Contexts, State};
use crate::forge::CommitStatus;
use crate::job;
use crate::runner::Shared;
use crate::status::Tracker;
use crate::workflow::{Action, Job, Workflow, combinations};

/// A run under way.
pub(crate) struct Run {
    pub(crate) name: String,
    pub(crate) spec: RunSpec,
    pub(crate) workflow: Workflow,
    pub(crate) shared: Arc<Shared>,
    pub(crate) tracker: Tracker,
    pub(crate) secrets: BTreeMap<String, String>,
    pub(crate) variables: BTreeMap<String, String>,
    cancel: CancellationToken,
}

/// One job, or one combination of its matrix.
pub(crate) struct Instance {
    /// Index of the job in the workflow.
    pub(crate) job: usize,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) matrix: Map<String, Value>,
    pub(crate) strategy: Value,
    pub(crate) needs: Value,
}

/// What a job left for those that need it.
#[derive(Clone, Debug)]
struct Finished {
    state: State,
    outputs: Map<String, Value>,
}

/// Executes the run of `object` to its end, or until `cancel`.
pub(crate) async fn execute(shared: Arc<Shared>, object: Value, cancel: CancellationToken) {
    let name = object::meta::name(&object).to_owned();
    let (spec, previous) = api::parse(&object);
    let interruptions = previous.map_or(0, |status| status.interruptions);
    let status =
        RunStatus { status: "queued".into(), attempt: spec.attempt, interruptions, ..RunStatus::default() };
    let tracker = Tracker::new(&shared.config.cluster, object, status);
    // In a set, so that the writer ends with this future when the platform stops.
    let mut writer = JoinSet::new();
    writer.spawn(tracker.clone().write_changes());
    let conclusion = match load(&shared, &spec).await {
        Ok(workflow) => {
            let run = Run {
                secrets: (shared.config.secrets)(&spec.repository),
                variables: (shared.config.variables)(&spec.repository),
                name,
                spec,
                workflow,
                shared,
                tracker: tracker.clone(),
                cancel,
            };
            run.in_turn().await.word()
        }
        Err(message) => {
            tracker.change(|status| status.message = Some(message));
            "startup_failure"
        }
    };
    tracker.change(|status| {
        status.status = "completed".to_owned();
        status.conclusion = Some(conclusion.to_owned());
        status.completed_at = Some(now());
    });
    tracker.flush().await;
}

async fn load(shared: &Shared, spec: &RunSpec) -> Result<Workflow, String> {
    let text = shared
        .forge
        .file(&spec.repository, &spec.path, &spec.sha)
        .await
        .map_err(|error| error.to_string())?;
    let text = text.ok_or_else(|| format!("{} is not in commit {}", spec.path, spec.sha))?;
    Workflow::parse(&spec.path, &text).map_err(|error| error.to_string())
}

impl Run {
    /// Runs all jobs when the run's concurrency group lets it.
    async fn in_turn(self) -> State {
        let run = Arc::new(self);
        let Some(wanted) = &run.workflow.concurrency else { return run.jobs().await };
        let contexts = run.contexts("", Value::Null);
        let text = |text: &str| actions::interpolate_text(text, &contexts).map_err(|error| error.to_string());
        let group = text(&wanted.group).and_then(|group| {
            Ok((
                group,
                wanted
                    .cancel_in_progress
                    .as_deref()
                    .map(text)
                    .transpose()?
                    .is_some_and(|text| text == "true"),
            ))
        });
        let (group, cancel_in_progress) = match group {
            Ok(group) => group,
            Err(error) => {
                run.tracker.change(|status| status.message = Some(format!("`concurrency`: {error}")));
                return State::Failure;
            }
        };
        // Groups are per repository and ignore case, as on GitHub.
        let name = format!("{} {}", run.spec.repository, group.to_lowercase());
        run.tracker.flush().await;
        let turn = run.shared.groups.enter(&name, cancel_in_progress, &run.cancel).await;
        // Without a turn the run is cancelled, which the jobs find by themselves.
        let state = run.clone().jobs().await;
        drop(turn);
        state
    }

    /// Runs all jobs; gives the run's conclusion.
    async fn jobs(self: Arc<Self>) -> State {
        let jobs = self.workflow.jobs.iter().map(|job| queued(&job.id, job)).collect();
        self.tracker.change(|status| status.jobs = jobs);
        self.tracker.flush().await;
        let mut done: BTreeMap<String, Finished> = BTreeMap::new();
        let mut begun = vec![false; self.workflow.jobs.len()];
        let mut running: JoinSet<(usize, Finished)> = JoinSet::new();
        loop {
            for (index, job) in self.workflow.jobs.iter().enumerate() {
                if !begun[index] && job.needs.iter().all(|need| done.contains_key(need)) {
                    begun[index] = true;
                    let needs: Vec<(String, Finished)> = job
                        .needs
                        .iter()
                        .filter_map(|need| Some((need.clone(), done.get(need)?.clone())))
                        .collect();
                    let run = self.clone();
                    running.spawn(async move { (index, run.job(index, needs).await) });
                }
            }
            match running.join_next().await {
                Some(Ok((index, finished))) => {
                    done.insert(self.workflow.jobs[index].id.clone(), finished);
                }
                // A job that panicked has no result; its dependants never begin, and the run has failed.
                Some(Err(error)) => tracing::error!(run = self.name, %error, "a job ended abnormally"),
                None => break,
            }
        }
        if done.len() < begun.len() {
            return State::Failure;
        }
        let ran: Vec<State> =
            done.values().map(|f| f.state).filter(|state| *state != State::Skipped).collect();
        if ran.is_empty() { State::Skipped } else { sum(ran.into_iter(), self.cancel.is_cancelled()) }
    }

    /// One job with all its combinations.
    async fn job(self: Arc<Self>, index: usize, needs: Vec<(String, Finished)>) -> Finished {
        let job = &self.workflow.jobs[index];
        let needs_context: Value = needs
            .iter()
            .map(|(id, need)| (id.clone(), json!({ "result": need.state.word(), "outputs": need.outputs })))
            .collect::<Map<String, Value>>()
            .into();
        let mut contexts = self.contexts("", needs_context.clone());
        contexts.state = sum(needs.iter().map(|(_, need)| need.state), self.cancel.is_cancelled());
        let finished = |state| Finished { state, outputs: Map::new() };
        let verdict = actions::condition(job.condition.as_deref().unwrap_or_default(), &contexts);
        match verdict {
            Ok(true) if !self.cancel.is_cancelled() => {}
            Ok(_) => {
                let state = if self.cancel.is_cancelled() { State::Cancelled } else { State::Skipped };
                self.tracker.job(&job.id, |status| status.end(state.word()));
                self.report(job.name.as_deref().unwrap_or(&job.id), state).await;
                return finished(state);
            }
            Err(error) => return self.broken(job, &format!("`if`: {error}")).await,
        }
        let matrix = job.strategy.matrix.as_ref().map(|matrix| actions::interpolate_value(matrix, &contexts));
        let combinations = match matrix.transpose().map_err(|error| error.to_string()) {
            Ok(matrix) => combinations(matrix.as_ref()),
            Err(error) => Err(error),
        };
        match combinations.and_then(|list| self.instances(index, list, &needs_context)) {
            Ok(instances) => self.clone().group(index, instances).await,
            Err(error) => self.broken(job, &format!("`strategy`: {error}")).await,
        }
    }

    /// Runs the instances of a job, as many at once as its strategy allows.
    async fn group(self: Arc<Self>, index: usize, instances: Vec<Instance>) -> Finished {
        let job = &self.workflow.jobs[index];
        let statuses: Vec<JobStatus> = instances
            .iter()
            .map(|one| JobStatus { name: one.name.clone(), ..queued(&one.id, job) })
            .collect();
        self.tracker.change(|status| {
            if let Some(at) = status.jobs.iter().position(|status| status.id == job.id) {
                status.jobs.splice(at..=at, statuses);
            }
        });
        let limit = job.strategy.max_parallel.unwrap_or(usize::MAX);
        let cancel = self.cancel.child_token();
        let mut waiting = instances.into_iter();
        let mut running: JoinSet<(State, Map<String, Value>)> = JoinSet::new();
        let (mut states, mut outputs) = (Vec::new(), Map::new());
        loop {
            while running.len() < limit
                && let Some(instance) = waiting.next()
            {
                running.spawn(self.clone().instance(instance, cancel.clone()));
            }
            let Some(result) = running.join_next().await else { break };
            let (state, made) = result.unwrap_or((State::Failure, Map::new()));
            if state == State::Failure && job.strategy.fail_fast {
                cancel.cancel();
            }
            states.push(state);
            outputs.extend(made);
        }
        Finished { state: sum(states.into_iter(), self.cancel.is_cancelled()), outputs }
    }

    async fn instance(
        self: Arc<Self>,
        instance: Instance,
        cancel: CancellationToken,
    ) -> (State, Map<String, Value>) {
        self.post(&instance.name, "pending", "queued").await;
        let slot = tokio::select! {
            slot = self.shared.slots.clone().acquire_owned() => slot.ok(),
            () = cancel.cancelled() => None,
        };
        let Some(_slot) = slot else {
            self.tracker.job(&instance.id, |status| status.end("cancelled"));
            self.report(&instance.name, State::Cancelled).await;
            return (State::Cancelled, Map::new());
        };
        self.post(&instance.name, "pending", "in progress").await;
        self.tracker.change(|status| {
            status.status = "in_progress".to_owned();
            status.started_at.get_or_insert_with(now);
        });
        let (state, outputs, tolerated) = job::execute(self.clone(), &instance, cancel).await;
        self.tracker.job(&instance.id, |status| status.end(state.word()));
        self.report(&instance.name, state).await;
        (if tolerated && state == State::Failure { State::Success } else { state }, outputs)
    }

    fn instances(
        &self,
        index: usize,
        combinations: Vec<Map<String, Value>>,
        needs: &Value,
    ) -> Result<Vec<Instance>, String> {
        let job = &self.workflow.jobs[index];
        let total = combinations.len();
        let instance = |(number, matrix): (usize, Map<String, Value>)| -> Result<Instance, String> {
            let mut contexts = self.contexts("", needs.clone());
            contexts.set("matrix", matrix.clone());
            let base = match &job.name {
                Some(name) => {
                    actions::interpolate_text(name, &contexts).map_err(|error| error.to_string())?
                }
                None => job.id.clone(),
            };
            let values: Vec<String> = matrix.values().map(actions::text_of).collect();
            let own_name = job.name.as_ref().is_some_and(|name| name.contains("matrix."));
            let plain = job.strategy.matrix.is_none();
            Ok(Instance {
                job: index,
                id: if plain { job.id.clone() } else { format!("{}-{number}", job.id) },
                name: if plain || own_name { base } else { format!("{base} ({})", values.join(", ")) },
                strategy: json!({ "fail-fast": job.strategy.fail_fast, "job-index": number, "job-total": total }),
                matrix,
                needs: needs.clone(),
            })
        };
        combinations.into_iter().enumerate().map(instance).collect()
    }

    /// The contexts that all jobs see.
    pub(crate) fn contexts(&self, token: &str, needs: Value) -> Contexts {
        let mut contexts = Contexts::default();
        contexts.set("github", contexts::github(&self.spec, &self.shared.config.git_url, token));
        contexts.set("needs", needs);
        contexts.set("vars", json!(self.variables));
        contexts.set("inputs", self.spec.inputs.clone());
        contexts
    }

    async fn broken(&self, job: &Job, message: &str) -> Finished {
        let annotation = api::Annotation { level: "error".into(), message: message.to_owned() };
        self.tracker.job(&job.id, |status| {
            status.annotations.push(annotation);
            status.end("failure");
        });
        self.report(job.name.as_deref().unwrap_or(&job.id), State::Failure).await;
        Finished { state: State::Failure, outputs: Map::new() }
    }

    /// The end of a job as a commit status.
    async fn report(&self, job: &str, state: State) {
        let (word, text) = match state {
            State::Success => ("success", "successful"),
            State::Failure => ("failure", "failed"),
            State::Cancelled => ("error", "cancelled"),
            State::Skipped => ("success", "skipped"),
        };
        self.post(job, word, text).await;
    }

    async fn post(&self, job: &str, state: &'static str, description: &str) {
        let status = CommitStatus {
            state,
            context: format!("{} / {job}", self.workflow.name),
            description: description.to_owned(),
            target_url: format!("{}/pipelines/runs/{}", self.shared.config.portal_url, self.name),
        };
        if let Err(error) = self.shared.forge.set_status(&self.spec.repository, &self.spec.sha, &status).await
        {
            tracing::warn!(
                run = self.name,
                error = &error as &dyn std::error::Error,
                "cannot report a commit status"
            );
        }
    }
}

fn queued(id: &str, job: &Job) -> JobStatus {
    let step = |(index, step): (usize, &crate::workflow::Step)| StepStatus {
        number: index + 1,
        name: step_name(step),
        status: "queued".into(),
        ..StepStatus::default()
    };
    JobStatus {
        id: id.to_owned(),
        name: job.name.clone().unwrap_or_else(|| job.id.clone()),
        status: "queued".into(),
        steps: job.steps.iter().enumerate().map(step).collect(),
        ..JobStatus::default()
    }
}

/// What people see for a step: its name, or what it does.
pub(crate) fn step_name(step: &crate::workflow::Step) -> String {
    match (&step.name, &step.action) {
        (Some(name), _) => name.clone(),
        (None, Action::Uses { action, .. }) => format!("Run {action}"),
        (None, Action::Run { script, .. }) => {
            format!("Run {}", script.trim().lines().next().unwrap_or_default())
        }
    }
}

/// The state that follows from several: cancelled, failed, skipped, else success.
fn sum(states: impl Iterator<Item = State>, cancelled: bool) -> State {
    if cancelled {
        return State::Cancelled;
    }
    let rank = |state: &State| match state {
        State::Success => 0,
        State::Skipped => 1,
        State::Cancelled => 2,
        State::Failure => 3,
    };
    states.max_by_key(rank).unwrap_or(State::Success)
}
