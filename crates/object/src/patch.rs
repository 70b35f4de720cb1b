//! The three ways to change an object by a patch document. Server-side apply, the fourth, is `managed`.

pub mod json;
pub mod merge;
pub mod strategic;

/// Why a patch does not apply; Display is the text that the client gets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch document itself is malformed: 400.
    #[error("{0}")]
    Malformed(String),
    /// The patch does not fit the object: 422.
    #[error("the server rejected our request due to an error in our request")]
    Rejected(String),
    /// The patch has more operations than allowed: 413.
    #[error("{0}")]
    TooLarge(String),
}
