//! The command line: one file for each command.

#![expect(clippy::print_stdout, reason = "a command talks to people on standard output")]

pub(crate) mod agent;
pub(crate) mod build;
pub(crate) mod demo;
pub(crate) mod diff;
mod fetch;
pub(crate) mod node;
mod paint;
mod render;
pub(crate) mod token;
pub(crate) mod up;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

/// The GitOps internal developer platform in one binary.
#[derive(Parser)]
#[command(name = "portolan", version, about, long_about = None)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the platform on this machine
    Up(up::Up),
    /// Start the platform and play the founding story on it
    Demo(demo::Demo),
    /// Print an API token for a person (local mode)
    Token(token::Token),
    /// Build a kustomization, as `kustomize build` does
    Build(build::Build),
    /// Compare what two kustomizations build
    Diff(diff::Diff),
    /// Run the controllers of one cluster against any kubeconfig
    Agent(agent::Agent),
    /// Run pods for one cluster (started by the platform)
    #[command(hide = true)]
    Node(node::Node),
}

/// Runs the chosen command to its end.
pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    // These end before a logger or a runtime would have started.
    let command = match arguments.command {
        Command::Build(command) => return command.run(),
        Command::Diff(command) => return Ok(command.run()),
        other => other,
    };
    logging();
    // A node enters its namespaces before any thread exists, so it makes its own runtime; others need none.
    let command = match command {
        Command::Node(command) => return command.run(),
        Command::Token(command) => return command.run(),
        other => other,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let code = match command {
        Command::Up(command) => runtime.block_on(command.run()),
        Command::Demo(command) => runtime.block_on(command.run()),
        Command::Agent(command) => runtime.block_on(command.run()),
        Command::Token(command) => command.run(),
        Command::Node(command) => command.run(),
        Command::Build(command) => command.run(),
        Command::Diff(command) => Ok(command.run()),
    };
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    code
}

/// What is logged when nobody says. The Kubernetes client logs each failed request, and whoever made it reports it, too.
const QUIET: &str = "warn,kube_client::client::builder=off";

/// Logs go to standard error; `PORTOLAN_LOG` chooses what, for example `info,gitops=debug`.
fn logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("PORTOLAN_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(QUIET));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(true).init();
}
