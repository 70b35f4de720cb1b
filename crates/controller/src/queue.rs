//! The work queue: each key at most once waiting and at most once in work, with times to come back.
//!
//! A key that is added while it is being worked on runs once more afterwards, so no change is lost.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use object::Key;
use tokio::time::Instant;

/// First wait after a failure; doubled with each further one.
const FIRST_BACK_OFF: Duration = Duration::from_millis(100);
/// A failing key is tried at least this often.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);

/// Pure bookkeeping; the caller gives the time.
#[derive(Default)]
pub(crate) struct Queue {
    ready: VecDeque<Key>,
    waiting: HashSet<Key>,
    running: HashSet<Key>,
    again: HashSet<Key>,
    timers: BTreeSet<(Instant, Key)>,
    timer_of: HashMap<Key, Instant>,
    failures: HashMap<Key, u32>,
}

impl Queue {
    /// Work on this key soon.
    pub(crate) fn add(&mut self, key: Key) {
        if self.running.contains(&key) {
            self.again.insert(key);
        } else if self.waiting.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    /// Work on this key at a time; the earlier of two times wins.
    pub(crate) fn add_at(&mut self, key: Key, at: Instant) {
        if let Some(earlier) = self.timer_of.get(&key) {
            if *earlier <= at {
                return;
            }
            self.timers.remove(&(*earlier, key.clone()));
        }
        self.timer_of.insert(key.clone(), at);
        self.timers.insert((at, key));
    }

    /// The next key to work on, if any is ready; due timers count.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Key> {
        while let Some((at, key)) = self.timers.first().cloned() {
            if at > now {
                break;
            }
            self.timers.remove(&(at, key.clone()));
            self.timer_of.remove(&key);
            self.add(key);
        }
        let key = self.ready.pop_front()?;
        self.waiting.remove(&key);
        self.running.insert(key.clone());
        Some(key)
    }

    /// When the next timer is due.
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Work on this key ended well.
    pub(crate) fn done(&mut self, key: &Key) {
        self.failures.remove(key);
        self.end(key);
    }

    /// Work on this key failed: it comes back after a pause, which is returned.
    pub(crate) fn failed(&mut self, key: &Key, now: Instant) -> Duration {
        let failures = self.failures.entry(key.clone()).or_default();
        let pause = FIRST_BACK_OFF.saturating_mul(1 << (*failures).min(16)).min(LONGEST_BACK_OFF);
        *failures += 1;
        self.add_at(key.clone(), now + pause);
        self.end(key);
        pause
    }

    fn end(&mut self, key: &Key) {
        self.running.remove(key);
        if self.again.remove(key) {
            self.add(key.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new("n", name)
    }

    #[test]
    fn a_key_waits_once_and_runs_once_at_a_time() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(key("a"));
        queue.add(key("a"));
        assert_eq!(queue.take(now), Some(key("a")));
        queue.add(key("a"));
        assert_eq!(queue.take(now), None, "a key in work is not given out again");
        queue.done(&key("a"));
        assert_eq!(queue.take(now), Some(key("a")), "a change during work is worked on afterwards");
        queue.done(&key("a"));
        assert_eq!(queue.take(now), None);
    }

    #[test]
    fn the_earlier_timer_wins() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add_at(key("a"), now + Duration::from_secs(9));
        queue.add_at(key("a"), now + Duration::from_secs(3));
        queue.add_at(key("a"), now + Duration::from_secs(5));
        assert_eq!(queue.next_timer(), Some(now + Duration::from_secs(3)));
        assert_eq!(queue.take(now + Duration::from_secs(2)), None);
        assert_eq!(queue.take(now + Duration::from_secs(3)), Some(key("a")));
        assert_eq!(queue.next_timer(), None);
    }

    #[test]
    fn failures_double_the_pause_up_to_a_minute() {
        let (mut queue, mut now) = (Queue::default(), Instant::now());
        queue.add(key("a"));
        let mut pauses = vec![];
        for _ in 0..12 {
            assert_eq!(queue.take(now), Some(key("a")));
            let pause = queue.failed(&key("a"), now);
            pauses.push(pause.as_millis());
            now += pause;
        }
        assert_eq!(pauses[..4], [100, 200, 400, 800]);
        assert_eq!(pauses[11], 60_000);
    }
}
