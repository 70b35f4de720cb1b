//! The git host over its listener, with the real git client and an HTTP client.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test, whatever goes wrong ends it")]

mod fixture;
mod hints;
mod rest;
mod smart;
mod webhooks;
