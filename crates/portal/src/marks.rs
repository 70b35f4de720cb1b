//! The four states, each with a shape and a word, and other small marks that recur on pages.

use maud::{Markup, html};

/// What a thing is like right now. These four never mean anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// As it should be.
    Healthy,
    /// On its way.
    Progress,
    /// Somebody should look.
    Degraded,
    /// Suspended, not there yet, or unknown.
    Idle,
}

impl State {
    /// The style's class.
    pub(crate) fn class(self) -> &'static str {
        match self {
            State::Healthy => "healthy",
            State::Progress => "progress",
            State::Degraded => "degraded",
            State::Idle => "idle",
        }
    }
}

/// A state's shape alone: disc with a tick, open arc, diamond with a bar, ring.
pub(crate) fn shape(state: State) -> Markup {
    html! {
        svg viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" aria-hidden="true" {
            @match state {
                State::Healthy => { circle cx="8" cy="8" r="7" fill="currentColor" stroke="none" {} path d="M5 8.2l2 2 4-4.2" stroke="var(--paper)" {} }
                State::Progress => { path d="M8 2a6 6 0 1 1-6 6" {} }
                State::Degraded => { path d="M8 1l7 7-7 7-7-7z" fill="currentColor" stroke="none" {} path d="M8 5v3.5M8 11v.2" stroke="var(--paper)" {} }
                State::Idle => { circle cx="8" cy="8" r="6" {} }
            }
        }
    }
}

/// A state with its words.
pub(crate) fn state(state: State, words: &str) -> Markup {
    html! { span.state.(state.class()) { (shape(state)) (words) } }
}

/// A commit id: seven characters, whole on hover.
pub(crate) fn commit(id: &str) -> Markup {
    html! { span.commit title=(id) { (id.get(..7).unwrap_or(id)) } }
}
