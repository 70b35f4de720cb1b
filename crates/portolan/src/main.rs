//! Portolan in one binary: parse → Config → build → run.

mod cli;
mod config;
mod data;
mod directory;
mod kubeconfig;
mod listen;
mod people;
mod samples;
mod story;
mod tls;
mod wire;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // Container launchers and nodes are this program started again: they must act before any thread exists.
    if std::env::args_os().nth(1).is_some_and(|first| first == cli::node::SANDBOX_COMMAND) {
        return sandbox::init::main();
    }
    match cli::run(cli::Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("portolan: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes as one line.
fn one_line(error: &anyhow::Error) -> String {
    controller::chain(error.as_ref()).replace('\n', " ")
}
