//! Pipelines: GitHub Actions workflows, run natively.
//!
//! A push to the git host becomes `WorkflowRun` objects ([`api`]); the [`Runner`] executes their jobs as processes of
//! this machine and the well-known actions in Rust (`actions`), without a container engine, a JavaScript runtime for
//! actions or a marketplace. Steps are ordinary processes of the platform's user: they are not isolated from each other
//! or from the machine, so workflows are as trusted as the people who may push them.

mod actions;
pub mod api;
mod commands;
mod concurrency;
mod contexts;
mod forge;
mod http;
mod job;
mod log;
mod process;
mod run;
mod runner;
mod status;
mod triggers;
pub mod workflow;

pub use http::routes;
pub use runner::{Authenticate, Builder, Config, Mint, Runner, Secrets, StartError};
