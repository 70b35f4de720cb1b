//! The recent events of one collection: what a watch can still be resumed from, and what older snapshots are rebuilt with.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

/// Most events kept for one collection. Kubernetes keeps five minutes; a busy kind here makes a few events a second.
const EVENTS_LIMIT: usize = 1024;
/// Most bytes kept for one collection's events, so that large objects that change often do not fill the memory.
const BYTES_LIMIT: usize = 2 * 1024 * 1024;
/// Events that are kept whatever their size, so that one huge object cannot make every watch of it fail.
const EVENTS_MINIMUM: usize = 32;

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// It has another value.
    Modified,
    /// It is gone; the event's value is its last state.
    Deleted,
}

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Event {
    /// Revision of the change.
    pub revision: u64,
    /// The object's key in its collection.
    pub key: Arc<str>,
    /// What happened.
    pub change: Change,
    /// The object after the change; of a deletion: its last state with the deletion's revision.
    pub value: Bytes,
    /// The object before the change.
    pub previous: Option<Bytes>,
}

/// Events in order of their revision, oldest dropped first.
pub(super) struct Window {
    events: VecDeque<Event>,
    bytes: usize,
    oldest: u64,
}

impl Window {
    pub(super) fn new(oldest: u64) -> Self {
        Self { events: VecDeque::new(), bytes: 0, oldest }
    }

    /// A watch can start after this revision or any later one.
    pub(super) fn oldest(&self) -> u64 {
        self.oldest
    }

    pub(super) fn push(&mut self, event: Event) {
        self.bytes += event.value.len();
        self.events.push_back(event);
        let over = |w: &Self| {
            w.events.len() > EVENTS_LIMIT || (w.bytes > BYTES_LIMIT && w.events.len() > EVENTS_MINIMUM)
        };
        while over(self) {
            let Some(dropped) = self.events.pop_front() else { break };
            self.bytes -= dropped.value.len();
            self.oldest = dropped.revision;
        }
    }

    /// The events after a revision, in order.
    pub(super) fn after(&self, revision: u64) -> impl DoubleEndedIterator<Item = &Event> {
        let first = self.events.partition_point(|e| e.revision <= revision);
        self.events.range(first..)
    }
}
