//! The walk over kustomizations: resources, generators, components, then transformations, layer by layer.

mod enter;
mod finish;
mod share;
mod steps;

use std::sync::Arc;

use crate::Error;
use crate::config::{Config, from_crds};
use crate::file::{Kustomization, Loaded};
use crate::load;
use crate::node::Text;
use crate::origin::Origin;
use crate::plugin::Context;
use crate::plugins;
use crate::reader::Reader;
use crate::references::vars::VarSet;
use crate::remote::{Fetch, Remote};
use crate::resource::Resource;
use crate::resources::Resources;
use crate::schema::Schema;
use crate::trace::{Action, Step, Trace};
use crate::tree::{Kind, shown};

pub(crate) use finish::{root, root_knowing};
pub(crate) use share::{KnownLayer, LayerKey};

/// A build under way.
pub(crate) struct Walk<'w> {
    fetch: Option<&'w dyn Fetch>,
    trace: Option<&'w mut (dyn Trace + 'w)>,
    /// One for the whole build, as in kustomize: the first kustomization that says something decides.
    schema: Schema,
    /// The kustomizations from the root of the build to here.
    stack: Vec<Place>,
    /// How many trees were fetched; a number tells them apart.
    trees: usize,
    warnings: Vec<String>,
    /// Directories of the tree that were entered below the root, and how deep.
    entered: Vec<(Text, usize)>,
}

/// Where a kustomization that is being built lies.
struct Place {
    /// The tree: 0 is the caller's.
    tree: usize,
    dir: String,
    /// The reference by which its tree was fetched, if this is where it was entered.
    remote: Option<Remote>,
}

/// A kustomization to build.
struct Target<'t> {
    reader: &'t Reader<'t>,
    tree: usize,
    dir: String,
    loaded: Arc<Loaded>,
    /// Where it is, seen from the root of the build, if that is to be told.
    origin: Option<Origin>,
}

/// What a layer hands to the one that includes it.
#[derive(Clone, Debug, Default)]
struct Layer {
    resources: Resources,
    config: Arc<Config>,
    vars: VarSet,
}

/// An entry of a list of paths.
#[derive(Clone, Copy)]
struct Entry<'e> {
    field: &'static str,
    index: usize,
    path: &'e str,
}

impl Target<'_> {
    fn kustomization(&self) -> &Kustomization {
        &self.loaded.kustomization
    }

    fn file(&self) -> &str {
        &self.loaded.file
    }

    fn invalid(&self, message: impl Into<String>) -> Error {
        Error::Invalid { file: self.file().to_owned(), message: message.into() }
    }

    /// An error of a generator or transformer, with the name of the entry that it comes from.
    fn named(&self, error: Error, name: impl Fn(&str) -> String) -> Error {
        match error {
            Error::Invalid { file, message } if file == self.file() => self.invalid(name(&message)),
            Error::Conflict(message) => self.invalid(name(&message)),
            other => other,
        }
    }

    fn context<'c>(&'c self, schema: &'c Schema) -> Context<'c, 'c> {
        Context { reader: self.reader, dir: &self.dir, file: self.file(), schema }
    }

    /// The directory of the same tree that an entry names, if it is one.
    fn directory(&self, path: &str) -> Option<String> {
        if Remote::parse(path).is_some() {
            return None;
        }
        let full = Reader::resolve(&self.dir, path)?;
        let followed = self.reader.follow(&full)?;
        (self.reader.kind(&followed) == Some(Kind::Directory)).then_some(full)
    }
}

impl Layer {
    fn add_config(&mut self, more: Arc<Config>, target: &Target<'_>) -> Result<(), Error> {
        let mine = std::mem::take(&mut self.config);
        self.config = Config::merged(mine, more).map_err(|message| target.invalid(message))?;
        Ok(())
    }
}

/// An error in what an entry holds, once it is clear that it is a file.
fn unloadable(target: &Target<'_>, entry: Entry<'_>, error: Error) -> Error {
    if let Error::Limit { .. } = error {
        return error;
    }
    let (file, path) = (target.file().to_owned(), entry.path.to_owned());
    Error::Resource { file, path, source: Box::new(error) }
}

impl<'w> Walk<'w> {
    fn step(&mut self, step: &Step<'_>, resources: &Resources) {
        if let Some(trace) = self.trace.as_deref_mut() {
            trace.step(step, resources);
        }
    }

    /// Everything that a kustomization says, on top of `layer`: nothing for a kustomization, what is there for a
    /// component.
    fn layer(&mut self, target: &Target<'_>, mut layer: Layer) -> Result<Layer, Error> {
        for (index, path) in target.kustomization().resources.iter().enumerate() {
            self.resource(target, Entry { field: "resources", index, path }, &mut layer)?;
        }
        Self::configure(target, &mut layer)?;
        self.generate(target, &mut layer)?;
        for (index, path) in target.kustomization().components.iter().enumerate() {
            layer = self.component(target, Entry { field: "components", index, path }, layer)?;
        }
        self.transform(target, &mut layer)?;
        self.validate(target, &mut layer)?;
        let Layer { resources, vars, .. } = &mut layer;
        vars.merge(&target.kustomization().vars, resources, &self.schema)
            .map_err(|message| target.invalid(format!("merging vars: {message}")))?;
        Ok(layer)
    }

    /// Field specs of `configurations` and `crds`.
    fn configure(target: &Target<'_>, layer: &mut Layer) -> Result<(), Error> {
        let kustomization = target.kustomization();
        let (reader, dir, file) = (target.reader, &target.dir, target.file());
        layer.add_config(Config::load(reader, dir, file, &kustomization.configurations)?, target)?;
        if kustomization.crds.is_empty() {
            return Ok(());
        }
        layer.add_config(from_crds(reader, dir, file, &kustomization.crds)?, target)
    }

    /// One entry of `resources`: a file, or something with a kustomization of its own.
    fn resource(&mut self, target: &Target<'_>, entry: Entry<'_>, layer: &mut Layer) -> Result<(), Error> {
        let as_file = match self.file_or_directory(target, entry.path) {
            Ok(resources) => {
                return self
                    .add(target, entry, resources, layer)
                    .map_err(|error| unloadable(target, entry, error));
            }
            Err(error) => error,
        };
        match as_file {
            Error::Remote { .. } if self.fetch.is_none() => return Err(as_file),
            Error::Missing { .. }
            | Error::NotFile { .. }
            | Error::Outside { .. }
            | Error::Link { .. }
            | Error::Remote { .. } => {}
            other => return Err(unloadable(target, entry, other)),
        }
        let fetches = self.fetch.is_some();
        self.include(target, entry, layer).map_err(|error| match error {
            Error::Remote { .. } if !fetches => error,
            Error::NotLoadable { .. } | Error::Remote { .. } => Error::Neither {
                file: target.file().to_owned(),
                path: entry.path.to_owned(),
                as_file: Box::new(as_file),
                as_directory: Box::new(error),
            },
            other => other,
        })
    }

    /// The resources of a file; a directory is told without a try to read it.
    fn file_or_directory(&self, target: &Target<'_>, path: &str) -> Result<Vec<Resource>, Error> {
        match target.directory(path) {
            Some(dir) => Err(Error::NotFile { file: target.file().to_owned(), path: shown(&dir) }),
            None => load::file(&target.context(&self.schema), path),
        }
    }

    /// Adds the resources of a file.
    fn add(
        &mut self,
        target: &Target<'_>,
        entry: Entry<'_>,
        mut resources: Vec<Resource>,
        layer: &mut Layer,
    ) -> Result<(), Error> {
        if let Some(origin) = &target.origin {
            let origin = Arc::new(origin.append(entry.path));
            resources.iter_mut().for_each(|resource| resource.origin = Some(origin.clone()));
        }
        layer.resources.append_all(resources, &self.schema)?;
        self.step(&entry.step(Action::Load, target.file()), &layer.resources);
        Ok(())
    }

    /// Adds what another kustomization gives.
    fn include(&mut self, target: &Target<'_>, entry: Entry<'_>, layer: &mut Layer) -> Result<(), Error> {
        let below = self.enter(target, entry.path, Layer::default(), false)?;
        layer.resources.append_all(below.resources.into_list(), &self.schema).map_err(
            |error| match error {
                Error::Conflict(message) => target.invalid(format!(
                    "accumulating resources: recursed merging from path '{}': {message}",
                    entry.path
                )),
                other => other,
            },
        )?;
        layer.add_config(below.config, target)?;
        layer.vars.merge_set(below.vars).map_err(|message| target.invalid(message))?;
        self.step(&entry.step(Action::Include, target.file()), &layer.resources);
        Ok(())
    }

    /// What is there already, changed by a component.
    fn component(&mut self, target: &Target<'_>, entry: Entry<'_>, layer: Layer) -> Result<Layer, Error> {
        let mut layer = self.enter(target, entry.path, layer, true).map_err(|error| match error {
            Error::NotLoadable { message, .. } => {
                target.invalid(format!("accumulating components: loader.New {message:?}"))
            }
            other => other,
        })?;
        // As the layer of a base, what the component gives is merged into an empty one.
        let config = std::mem::take(&mut layer.config);
        layer.add_config(config, target)?;
        layer.resources.check_unique(&self.schema).map_err(|message| target.invalid(message))?;
        self.step(&entry.step(Action::Include, target.file()), &layer.resources);
        Ok(layer)
    }

    /// The configuration objects that `generators`, `transformers` or `validators` name: those that stand in the
    /// kustomization itself come first.
    fn plugins(&mut self, target: &Target<'_>, field: &'static str) -> Result<Vec<plugins::Plugin>, Error> {
        let kustomization = target.kustomization();
        let entries = match field {
            "generators" => &kustomization.generators,
            "transformers" => &kustomization.transformers,
            _ => &kustomization.validators,
        };
        let mut layer = Layer::default();
        let mut places: Vec<(usize, &str)> = vec![];
        let mut paths = vec![];
        for (index, path) in entries.iter().enumerate() {
            let Some(mut resources) = load::inline(path) else {
                paths.push(Entry { field, index, path });
                continue;
            };
            let origin = target.origin.as_ref().map(|origin| Arc::new(origin.append(target.loaded.name)));
            resources.iter_mut().for_each(|resource| resource.origin.clone_from(&origin));
            layer.resources.append_all(resources, &self.schema)?;
            places.resize(layer.resources.len(), (index, target.file()));
        }
        let trace = self.trace.take();
        for entry in paths {
            let loaded = self.resource(target, entry, &mut layer);
            if loaded.is_err() {
                self.trace = trace;
                return loaded.map(|()| vec![]);
            }
            places.resize(layer.resources.len(), (entry.index, entry.path));
        }
        self.trace = trace;
        let resources = layer.resources.into_list().into_iter().zip(places);
        Ok(resources.map(|(resource, (index, place))| plugins::Plugin::new(resource, index, place)).collect())
    }
}

impl<'e> Entry<'e> {
    fn step(&self, action: Action, file: &'e str) -> Step<'e> {
        Step { action, file, field: self.field, index: Some(self.index), entry: self.path, plugin: None }
    }
}
