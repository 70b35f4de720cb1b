//! Workflows from push to commit status, on a real git host, a real API server and a real registry.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test, whatever goes wrong ends it")]

mod control;
mod fixture;
mod images;
mod jobs;
mod triggers;
