//! What refers to resources: fields that hold their names, and `vars`.

pub(crate) mod names;
pub(crate) mod vars;
