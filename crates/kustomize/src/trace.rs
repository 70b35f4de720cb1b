//! Who did what: a listener that sees the resources after each step of a build.

use crate::resources::Resources;

/// One step of a build.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step<'s> {
    pub(crate) action: Action,
    /// The kustomization whose entry it is, from the tree's root.
    pub(crate) file: &'s str,
    /// The field of the kustomization: `resources`, `patches`, `namePrefix`; for what kustomize does by itself, a name for that.
    pub(crate) field: &'s str,
    /// Which entry of the field, from 0; none where the field is not a list.
    pub(crate) index: Option<usize>,
    /// The entry as written where it is a path, the file of a plugin's configuration, or a generated name.
    pub(crate) entry: &'s str,
    /// The configuration object of a plugin: kind and name.
    pub(crate) plugin: Option<(&'s str, &'s str)>,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Resources of a file were added.
    Load,
    /// What the kustomization in another directory gave was added; that layer's own steps came before.
    Include,
    /// A generator added, replaced or merged resources.
    Generate,
    /// A transformer ran.
    Transform,
    /// Hash suffixes, name references, vars, local configuration, order or labels at the end of the build.
    Finish,
}

/// Sees the resources of the current layer after each step. Resources are shared with the build: comparing nodes by
/// [`crate::node::Node::is_same`] tells cheaply which ones a step left alone.
pub(crate) trait Trace {
    fn step(&mut self, step: &Step<'_>, resources: &Resources);
}
