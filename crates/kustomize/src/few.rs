//! A list that is nearly always empty, and then takes no more than a pointer.

use std::ops::Deref;

/// A list of few things, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Few<T>(
    #[expect(clippy::box_collection, reason = "the point of it: an empty list is one pointer, not three")]
    Option<Box<Vec<T>>>,
);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Few<T> {
    pub(crate) fn push(&mut self, item: T) {
        self.list().push(item);
    }

    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        self.0.as_deref_mut().map(Vec::as_mut_slice).unwrap_or_default()
    }

    fn list(&mut self) -> &mut Vec<T> {
        self.0.get_or_insert_with(|| Box::new(Vec::with_capacity(1)))
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.0.as_deref().map(Vec::as_slice).unwrap_or_default()
    }
}

impl<T> Extend<T> for Few<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        for item in items {
            self.push(item);
        }
    }
}

impl<T> From<Vec<T>> for Few<T> {
    fn from(list: Vec<T>) -> Self {
        Self((!list.is_empty()).then(|| Box::new(list)))
    }
}
