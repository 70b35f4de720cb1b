//! The small languages that users write inside their manifests, one file each, so that every slice that meets
//! one of them reads it the same way. Pure: no files, no clock, no network.

pub mod actions;
pub mod envsubst;
pub mod nunjucks;
