//! What one does to a Kubernetes object, as pure functions over JSON values: no runtime, no files, no clock.

pub mod cause;
pub mod defaults;
pub mod diff;
pub mod facts;
pub mod health;
pub mod jsonpath;
pub mod kinds;
pub mod managed;
pub mod meta;
pub mod names;
pub mod patch;
pub mod quantity;
pub mod regexp;
pub mod schema;
pub mod selector;
pub mod table;
pub mod validate;

pub use cause::Cause;
pub use kinds::{Key, Resource};
