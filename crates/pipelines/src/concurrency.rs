//! `concurrency:` of a workflow: of the runs of one group, one runs and one waits; a newer one takes the place of the one
//! that waits, as on GitHub.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

/// The groups that have a run.
#[derive(Default)]
pub(crate) struct Groups {
    groups: Mutex<HashMap<String, Group>>,
}

#[derive(Default)]
struct Group {
    /// Held by the run that runs.
    turn: Arc<tokio::sync::Mutex<()>>,
    running: CancellationToken,
    waiting: Option<CancellationToken>,
}

/// The right to run; the next run of the group begins when it is dropped.
pub(crate) type Turn = OwnedMutexGuard<()>;

impl Groups {
    /// Waits for the turn of a run whose token is `cancel`; `None` when the run was cancelled before.
    pub(crate) async fn enter(
        &self,
        name: &str,
        cancel_in_progress: bool,
        cancel: &CancellationToken,
    ) -> Option<Turn> {
        let turn = {
            let mut groups = self.lock();
            // A group without a run is held by nobody but this table.
            groups.retain(|other, group| other == name || Arc::strong_count(&group.turn) > 1);
            let group = groups.entry(name.to_owned()).or_default();
            if let Ok(turn) = group.turn.clone().try_lock_owned() {
                group.running = cancel.clone();
                return Some(turn);
            }
            if cancel_in_progress {
                group.running.cancel();
            }
            if let Some(older) = group.waiting.replace(cancel.clone()) {
                older.cancel();
            }
            group.turn.clone()
        };
        let turn = tokio::select! {
            turn = turn.lock_owned() => turn,
            () = cancel.cancelled() => return None,
        };
        let mut groups = self.lock();
        // Replaced in the very moment of its turn: the newer run is the one that waits now, and this turn goes to it.
        if cancel.is_cancelled() {
            return None;
        }
        if let Some(group) = groups.get_mut(name) {
            group.running = cancel.clone();
            group.waiting = None;
        }
        Some(turn)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Group>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_runs_one_waits_and_the_newest_waits() {
        let groups = Arc::new(Groups::default());
        let enter = |cancel: &CancellationToken, cancel_in_progress| {
            let (groups, cancel) = (groups.clone(), cancel.clone());
            tokio::spawn(async move { groups.enter("deploy", cancel_in_progress, &cancel).await })
        };
        let tokens: Vec<CancellationToken> = (0..4).map(|_| CancellationToken::new()).collect();
        let first = enter(&tokens[0], false).await.unwrap();
        assert!(first.is_some());
        assert!(groups.enter("other", false, &tokens[3]).await.is_some());
        let second = enter(&tokens[1], false);
        while groups.lock()["deploy"].waiting.is_none() {
            tokio::task::yield_now().await;
        }
        let third = enter(&tokens[2], false);
        assert!(second.await.unwrap().is_none(), "replaced");
        assert!(!tokens[0].is_cancelled(), "what runs is left alone");
        drop(first);
        let third = third.await.unwrap();
        assert!(third.is_some());
        let fourth = enter(&tokens[3], true);
        tokens[2].cancelled().await;
        drop(third);
        assert!(fourth.await.unwrap().is_some());
    }
}
