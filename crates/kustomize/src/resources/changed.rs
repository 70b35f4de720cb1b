//! What may have changed since somebody looked.

/// Positions of what changed alone, or everything.
#[derive(Clone, Debug, Default)]
pub(super) struct Changed {
    some: Vec<usize>,
    all: bool,
}

impl Changed {
    pub(super) fn everything() -> Self {
        Self { some: vec![], all: true }
    }

    pub(super) fn add(&mut self, position: usize) {
        if !self.all && self.some.last() != Some(&position) {
            self.some.push(position);
        }
    }

    pub(super) fn add_all(&mut self) {
        *self = Self::everything();
    }

    /// The positions among so many, which count as looked at from now on.
    pub(super) fn take(&mut self, count: usize) -> Vec<usize> {
        let Self { some, all } = std::mem::take(self);
        if all { (0..count).collect() } else { some }
    }
}
