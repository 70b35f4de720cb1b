//! The founding story, played for real: each step acts over the public HTTP APIs, Git or the Kubernetes API as its
//! person would, and then checks what anybody could see. A step that cannot be verified ends the story.

#![expect(clippy::print_stdout, reason = "a command talks to people on standard output")]

mod actors;
mod app;
mod load;
mod steps;

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Serialize;

pub(crate) use actors::Actors;

/// What the story is played with.
#[derive(Clone, Debug)]
pub(crate) struct Plot {
    /// The template that Sasha chooses, as `namespace/name`.
    pub(crate) template: String,
    /// The sample repositories that Priyanka pushes.
    pub(crate) repositories: &'static [&'static str],
    /// The document's own values for the form.
    pub(crate) values: serde_json::Value,
    /// The project's name.
    pub(crate) project: String,
}

/// One verified step.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verified {
    /// The diagram's number, or the item of the story.
    pub(crate) step: String,
    pub(crate) title: String,
    /// What was seen, in a few words.
    pub(crate) seen: String,
    /// How long the step took, in seconds.
    pub(crate) seconds: f64,
    /// When it ended, in seconds since the story began.
    pub(crate) at_seconds: f64,
}

/// Plays steps one after another and tells of each.
pub(crate) struct Teller {
    begun: Instant,
    pub(crate) told: Vec<Verified>,
}

impl Teller {
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), told: vec![] }
    }

    /// Plays one step within `limit`; its text is what was seen.
    pub(crate) async fn step(
        &mut self,
        step: &str,
        title: &str,
        limit: Duration,
        play: impl Future<Output = Result<String>>,
    ) -> Result<()> {
        let begun = Instant::now();
        let played = tokio::time::timeout(limit, play).await;
        let played = played.unwrap_or_else(|_| Err(anyhow::anyhow!("not seen within {} s", limit.as_secs())));
        let seen = played.with_context(|| format!("step {step} ({title}) failed"))?;
        let verified = Verified {
            step: step.to_owned(),
            title: title.to_owned(),
            seen,
            seconds: begun.elapsed().as_secs_f64(),
            at_seconds: self.begun.elapsed().as_secs_f64(),
        };
        println!(
            "{:>4}  {:<58} {:>7.2} s  {}",
            verified.step, verified.title, verified.seconds, verified.seen
        );
        self.told.push(verified);
        Ok(())
    }
}

/// Asks again and again until `look` finds something. The caller's step limits the time.
pub(crate) async fn until<T, Looked>(mut look: impl FnMut() -> Looked) -> Result<T>
where
    Looked: Future<Output = Result<Option<T>>>,
{
    /// Between two looks over HTTP, where nothing tells of a change.
    const PAUSE: Duration = Duration::from_millis(100);
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Plays the whole story against a running platform.
pub(crate) async fn play(actors: &Actors, plot: &Plot, teller: &mut Teller) -> Result<()> {
    steps::priyanka(actors, plot, teller).await?;
    steps::sasha(actors, plot, teller).await?;
    steps::workflows(actors, plot, teller).await?;
    steps::clusters(actors, plot, teller).await?;
    steps::pages(actors, plot, teller).await?;
    steps::rachel(actors, plot, teller).await?;
    steps::change(actors, plot, teller).await?;
    steps::repair(actors, plot, teller).await
}
