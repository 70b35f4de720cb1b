//! The committer: one thread that turns concurrent writes into batches with one disk flush each.

use std::collections::HashMap;
use std::sync::{Arc, RwLock, mpsc};

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use super::log::{Log, Record};
use super::{Entry, Expect, State, Write, WriteError, read, write};

/// Most writes in one flush: bounds the time that the first of them waits for the last.
const BATCH_LIMIT: usize = 256;

/// A write and where its outcome goes.
pub(super) struct Request {
    pub(super) write: Write,
    pub(super) answer: oneshot::Sender<Result<Entry, WriteError>>,
}

/// A write that passed its precondition.
struct Accepted {
    revision: u64,
    write: Write,
    value: Bytes,
    answer: oneshot::Sender<Result<Entry, WriteError>>,
}

/// Serves writes until every sender is gone.
pub(super) fn run(
    mut log: Log,
    state: &Arc<RwLock<State>>,
    revision: &watch::Sender<u64>,
    requests: &mpsc::Receiver<Request>,
) {
    while let Ok(first) = requests.recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH_LIMIT {
            let Ok(next) = requests.try_recv() else { break };
            batch.push(next);
        }
        commit(&mut log, state, revision, batch);
    }
}

fn commit(log: &mut Log, state: &Arc<RwLock<State>>, revision: &watch::Sender<u64>, batch: Vec<Request>) {
    let accepted = accept(state, batch);
    if accepted.is_empty() {
        return;
    }
    let records = accepted.iter().map(|a| Record {
        revision: a.revision,
        delete: a.write.delete,
        collection: &a.write.collection,
        key: &a.write.key,
        value: &a.value,
    });
    if let Err(error) = log.append(records) {
        tracing::error!(%error, "the write-ahead log cannot be written");
        let error = Arc::new(error);
        for refused in accepted {
            let _ = refused.answer.send(Err(WriteError::Storage(Arc::clone(&error))));
        }
        return;
    }
    let mut newest = 0;
    {
        let mut state = write(state);
        for a in &accepted {
            state.apply(a.revision, &a.write.collection, &a.write.key, a.write.delete, a.value.clone());
            newest = a.revision;
        }
    }
    revision.send_replace(newest);
    for a in accepted {
        let _ = a.answer.send(Ok(Entry { value: a.value, revision: a.revision }));
    }
    if log.wants_snapshot() {
        let state = read(state);
        if let Err(error) = log.snapshot(&state) {
            tracing::warn!(%error, "no snapshot could be written; the log keeps growing");
        }
    }
}

/// Checks each write against what is stored and what earlier writes of the same batch will have stored.
fn accept(state: &RwLock<State>, batch: Vec<Request>) -> Vec<Accepted> {
    let state = read(state);
    let mut revision = state.revision;
    let mut ahead: HashMap<(String, String), Option<u64>> = HashMap::new();
    let mut accepted = Vec::with_capacity(batch.len());
    for Request { write, answer } in batch {
        let address = (write.collection.clone(), write.key.clone());
        let current = match ahead.get(&address) {
            Some(current) => *current,
            None => state
                .collections
                .get(&write.collection)
                .and_then(|c| c.objects.get(&*write.key))
                .map(|e| e.revision),
        };
        let holds = match write.expect {
            Expect::Absent => current.is_none(),
            Expect::Revision(expected) => current == Some(expected),
        };
        if !holds || (write.delete && current.is_none()) {
            let _ = answer.send(Err(WriteError::Conflict));
            continue;
        }
        revision += 1;
        ahead.insert(address, (!write.delete).then_some(revision));
        let value = write.value.fill(revision);
        accepted.push(Accepted { revision, write, value, answer });
    }
    accepted
}
