//! Who set each field of an object: the resources are looked at after each step of a build, and what differs from
//! before is that step's doing.

mod object;
mod sources;

use std::fmt;
use std::rc::Rc;

use yaml::PathStep;

use crate::node::to_value;
use crate::resources::Resources;
use crate::trace::{Action, Step, Trace};
use crate::tree::join;
use crate::{Error, Fetch, Options, Tree, build};

use object::{Known, Name};
use sources::Sources;

/// An object, line by line.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// Kind and name, with the namespace before them where there is one.
    pub object: String,
    /// The object as `kustomize build` prints it.
    pub lines: Vec<Line>,
    /// Fields that were taken away, and by whom.
    pub removed: Vec<(String, Source)>,
}

/// A line of the output.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Without the line end.
    pub text: String,
    /// Who set the value that begins on this line; none where only other fields begin below it, or a value goes on.
    pub source: Option<Source>,
}

/// A step of a build, as its author finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file, from the root of the tree: a manifest, or the kustomization with the entry.
    pub file: String,
    /// The entry, such as `patches[0] (replicas.yaml)`; `""` for a manifest.
    pub entry: String,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.entry.is_empty() { Ok(()) } else { write!(f, ": {}", self.entry) }
    }
}

impl Source {
    fn of(step: &Step<'_>) -> Self {
        let file = step.file.to_owned();
        if step.action == Action::Load {
            let dir = file.rsplit_once('/').map_or("", |(dir, _)| dir);
            return Self {
                file: join(dir, step.entry).unwrap_or(step.entry.to_owned()),
                entry: String::new(),
            };
        }
        let mut entry = step.field.to_owned();
        if let Some(index) = step.index {
            entry.push_str(&format!("[{index}]"));
        }
        if let Some((kind, name)) = step.plugin {
            entry.push_str(&format!(" {kind}/{name}"));
        }
        if !step.entry.is_empty() {
            entry.push_str(&format!(" ({})", step.entry.lines().next().unwrap_or_default()));
        }
        Self { file, entry }
    }
}

/// Builds the kustomization in directory `dir` and tells about the object that `name` means: `name`, `kind/name` or
/// `namespace/kind/name`, where a name may also be one that the object had before it was changed.
pub fn explain(
    tree: &dyn Tree,
    dir: &str,
    options: Options,
    fetch: Option<&dyn Fetch>,
    name: &str,
) -> Result<Explanation, Error> {
    let mut history = History::default();
    build::root(tree, dir, options, fetch, Some(&mut history))?;
    let wanted = Name::parse(name);
    let objects = history.layers.pop().map(|(_, objects)| objects).unwrap_or_default();
    let chosen = wanted.choose(&objects).map_err(Error::Conflict)?;
    history.explanation(chosen)
}

/// What is known of the resources after the steps so far.
#[derive(Default)]
struct History {
    steps: Vec<Source>,
    /// The resources of each kustomization after its last step, the latest last.
    layers: Vec<(String, Vec<Known>)>,
}

impl Trace for History {
    fn step(&mut self, step: &Step<'_>, resources: &Resources) {
        let source = self.steps.len();
        self.steps.push(Source::of(step));
        // A file's objects are new, whatever had their names before.
        let by_name = step.action != Action::Load;
        let own = self.layers.iter().position(|(file, _)| file == step.file);
        let own = own.map(|at| self.layers.remove(at).1).unwrap_or_default();
        let before: Vec<&[Known]> =
            std::iter::once(&own[..]).chain(self.layers.iter().rev().map(|(_, known)| &known[..])).collect();
        let mut after = Vec::with_capacity(resources.len());
        for (index, resource) in resources.iter().enumerate() {
            let found = Known::find(resource, index, &before, by_name);
            after.push(Known::next(resource, found, source));
        }
        self.layers.push((step.file.to_owned(), after));
    }
}

impl History {
    fn explanation(&self, known: &Known) -> Result<Explanation, Error> {
        let value = to_value(&known.node).map_err(Error::Conflict)?;
        let (text, places) = yaml::marshal_with_places(&value).map_err(Error::Conflict)?;
        let mut places = places.into_iter().peekable();
        let mut lines = vec![];
        let mut start = 0;
        for text in text.split_inclusive('\n') {
            let end = start + text.len();
            let mut path: Option<Vec<PathStep>> = None;
            while let Some((_, begun)) = places.next_if(|(at, _)| *at < end) {
                path = Some(begun);
            }
            let source = path.and_then(|path| known.sources.at(&value, &path));
            let source = source.and_then(|source| self.steps.get(source)).cloned();
            lines.push(Line { text: text.trim_end_matches('\n').to_owned(), source });
            start = end;
        }
        let removed = known.removed.iter().filter(|(path, _)| !object::has(&known.node, path));
        let removed = removed
            .filter_map(|(path, source)| Some((object::shown(path), self.steps.get(*source)?.clone())))
            .collect();
        Ok(Explanation { object: known.name.to_string(), lines, removed })
    }
}

/// Shared, because most objects are left alone by most steps.
type Shared = Rc<Sources>;
