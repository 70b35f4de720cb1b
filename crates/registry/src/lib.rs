//! OCI registry and images: everything Portolan knows about container images.
//!
//! - [`Registry`]: a server of the OCI distribution protocol v2 (`http/` on `store`), with an optional
//!   pull-through to the registries it stands in front of (`remote`).
//! - [`client::Client`]: the other side of the same protocol, for pulls and pushes.
//! - [`pull::Images`]: images as unpacked layer directories for overlay mounts, with host base images (`base`)
//!   where no registry answers.
//! - [`dockerfile`] and [`build`]: images from a Dockerfile.

pub mod base;
pub mod build;
pub mod client;
pub mod digest;
pub mod dockerfile;
pub mod http;
pub mod image;
pub mod pull;
pub mod reference;
pub mod remote;
pub mod store;
pub mod unpack;

pub use http::{Access, OpenError, Options, Registry};
pub use reference::Reference;
