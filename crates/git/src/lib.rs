//! Git: the embedded host (smart HTTP, GitHub's REST API, webhooks, hints) and the client that every other part reads
//! and writes repositories with.
//!
//! Both work over the `git` program: packs, quarantine, connectivity checks and merges are git's own, and one call costs
//! about two milliseconds. Nothing of a request ever becomes an argument before it was checked, and a token is never an
//! argument at all.

pub mod checkout;
pub mod command;
pub mod diff;
pub mod hints;
pub mod host;
mod http;
pub mod names;
pub mod repository;
pub mod write;

pub use command::Error;
pub use hints::Event;
pub use host::{Host, Options};
pub use repository::Repository;
pub use write::{Change, NewCommit, Signature};
