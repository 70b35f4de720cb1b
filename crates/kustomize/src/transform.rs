//! The built-in transformers, a file each. Each is the configuration object that kustomize has for it.

pub(crate) mod annotations;
mod embedded;
pub(crate) mod hash;
pub(crate) mod images;
pub(crate) mod labels;
pub(crate) mod namespace;
pub(crate) mod patch;
pub(crate) mod prefix;
pub(crate) mod replacement;
pub(crate) mod replicas;
pub(crate) mod suffix;
pub(crate) mod value_add;

#[cfg(test)]
mod tests;
