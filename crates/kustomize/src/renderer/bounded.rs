//! What is kept for later, up to a limit: what was not used for longest goes first.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

/// Most values of one key: the states of one path in as many revisions that are in use at once.
const VARIANT_LIMIT: usize = 4;

/// Values by key, several of them where a key says less than what the value depends on.
#[derive(Debug)]
pub(crate) struct Bounded<K, V> {
    /// In bytes, as those who add values estimate them.
    limit: usize,
    size: usize,
    clock: u64,
    values: HashMap<Arc<K>, Vec<Kept<V>>>,
    /// Keys by the time at which one of their values was used last.
    order: BTreeMap<u64, Arc<K>>,
}

#[derive(Debug)]
struct Kept<V> {
    value: V,
    size: usize,
    used: u64,
}

impl<K: Eq + Hash, V: Clone> Bounded<K, V> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, size: 0, clock: 0, values: HashMap::new(), order: BTreeMap::new() }
    }

    /// Bytes of all values, as estimated.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The value of a key that fits.
    pub(crate) fn find(&mut self, key: &K, mut fits: impl FnMut(&V) -> bool) -> Option<V> {
        let found = self.values.get_mut(key)?.iter_mut().rev().find(|kept| fits(&kept.value))?;
        let key = self.order.remove(&found.used);
        self.clock += 1;
        found.used = self.clock;
        self.order.extend(key.map(|key| (found.used, key)));
        Some(found.value.clone())
    }

    /// The newest value of a key.
    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        self.find(key, |_| true)
    }

    /// Keeps a value, unless it alone is more than the limit.
    pub(crate) fn insert(&mut self, key: K, value: V, size: usize) {
        if size > self.limit {
            return;
        }
        while self.size + size > self.limit {
            self.drop_oldest();
        }
        let variants = self.values.get(&key).into_iter().flatten();
        if let Some(oldest) = variants.map(|kept| kept.used).min_by_key(|used| *used)
            && self.values.get(&key).is_some_and(|variants| variants.len() >= VARIANT_LIMIT)
        {
            self.remove(oldest);
        }
        self.clock += 1;
        self.size += size;
        let (key, used) = (Arc::new(key), self.clock);
        self.order.insert(used, key.clone());
        self.values.entry(key).or_default().push(Kept { value, size, used });
    }

    fn drop_oldest(&mut self) {
        match self.order.first_key_value() {
            Some((oldest, _)) => self.remove(*oldest),
            None => self.size = 0,
        }
    }

    fn remove(&mut self, used: u64) {
        let Some(key) = self.order.remove(&used) else { return };
        let Some(variants) = self.values.get_mut(&key) else { return };
        if let Some(at) = variants.iter().position(|kept| kept.used == used) {
            self.size -= variants.remove(at).size;
        }
        if variants.is_empty() {
            self.values.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let mut bounded = Bounded::new(30);
        for (key, value) in [(1, 'a'), (2, 'b'), (3, 'c')] {
            bounded.insert(key, value, 10);
        }
        assert_eq!(bounded.get(&1), Some('a'));
        bounded.insert(4, 'd', 15);
        assert_eq!([1, 2, 3, 4].map(|key| bounded.get(&key)), [Some('a'), None, None, Some('d')]);
        assert_eq!(bounded.size(), 25);
        bounded.insert(5, 'e', 31);
        assert_eq!((bounded.get(&5), bounded.size()), (None, 25));
    }

    #[test]
    fn a_key_has_few_values() {
        let mut bounded = Bounded::new(1000);
        for value in "abcdef".chars() {
            bounded.insert(1, value, 1);
        }
        assert_eq!(bounded.find(&1, |value| *value == 'b'), None);
        assert_eq!(bounded.find(&1, |value| *value == 'c'), Some('c'));
        assert_eq!((bounded.get(&1), bounded.size()), (Some('f'), VARIANT_LIMIT));
        assert_eq!(bounded.order.len(), VARIANT_LIMIT);
    }
}
