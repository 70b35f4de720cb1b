//! The one way to write a controller.
//!
//! - [`Cluster`] has the verbs of the Kubernetes API over plain JSON values, on any `kube::Client`: an in-process
//!   server, a listener, a real cluster. Nothing here can tell which.
//! - [`Cache`] is a shared watch: one list and one stream per kind and cluster, however many controllers read it.
//! - [`Controller`] turns changes into keys, removes duplicates, and calls a [`Reconciler`] for one key at a time,
//!   with back-off after errors. A key is only a hint: the reconciler reads everything again.
//! - [`Follower`] watches kinds that turn up while a controller runs.
//! - [`Recorder`] writes events.

mod cache;
mod chain;
mod cluster;
mod events;
mod follow;
mod queue;
mod run;

pub use cache::{Cache, Change};
pub use chain::chain;
pub use cluster::{ApiError, Cluster, List, Patch, Propagation, now};
pub use events::{EventType, Recorder};
pub use follow::Follower;
pub use run::{Controller, Next, ReconcileError, Reconciler};
