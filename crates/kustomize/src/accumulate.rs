//! The walk over kustomizations: resources, then generators, then components, then transformations, in each layer.

use object::meta;
use serde_json::Value;

use crate::config::Config;
use crate::file::{Kustomization, Loaded, SortOptions};
use crate::generate;
use crate::patch;
use crate::replace;
use crate::resource::{Resource, append};
use crate::transform;
use crate::tree::{Kind, Reader, join, shown};
use crate::{DEPTH_LIMIT, Error};

/// What a layer hands to the one that includes it.
#[derive(Default)]
struct Layer {
    resources: Vec<Resource>,
    config: Config,
}

/// Collects and transforms everything below the kustomization in `dir`.
pub(crate) fn target(
    reader: &Reader<'_>,
    dir: &str,
) -> Result<(Vec<Resource>, Config, Option<SortOptions>), Error> {
    if reader.kind(dir) != Some(Kind::Directory) {
        return Err(Error::NoKustomization { dir: shown(dir) });
    }
    let mut walk = Walk { reader, stack: vec![dir.to_owned()] };
    let loaded = Kustomization::load(reader, dir, None)?;
    let sort = loaded.kustomization.sort_options.clone();
    let layer = walk.layer(dir, &loaded, Layer::default())?;
    Ok((layer.resources, layer.config, sort))
}

struct Walk<'a, 'b> {
    reader: &'a Reader<'b>,
    /// Directories from the root of the build to here.
    stack: Vec<String>,
}

impl Walk<'_, '_> {
    fn layer(&mut self, dir: &str, loaded: &Loaded, mut layer: Layer) -> Result<Layer, Error> {
        let Loaded { file, kustomization } = loaded;
        let invalid = |message| Error::Invalid { file: file.clone(), message };
        for path in &kustomization.resources {
            self.resource(dir, file, path, &mut layer)?;
        }
        layer.config.merge(&Config::builtin()).map_err(invalid)?;
        layer.config.load(self.reader, dir, file, &kustomization.configurations)?;
        generate::run(self.reader, dir, loaded, &mut layer.resources)?;
        for path in &kustomization.components {
            layer = self.directory(dir, file, path, layer, true)?;
        }
        patch::strategic(self.reader, dir, loaded, &mut layer.resources)?;
        transform::run(kustomization, &layer.config, &mut layer.resources, |resources| {
            patch::json(self.reader, dir, loaded, resources)
        })
        .map_err(|error| match error {
            transform::Failed::Here(message) => Error::Invalid { file: file.clone(), message },
            transform::Failed::Error(error) => error,
        })?;
        replace::run(self.reader, dir, loaded, &mut layer.resources)?;
        Ok(layer)
    }

    /// One entry of `resources`: a file, or a directory with a kustomization of its own.
    fn resource(&mut self, dir: &str, file: &str, path: &str, layer: &mut Layer) -> Result<(), Error> {
        if path.contains("://") || path.starts_with("git@") || path.starts_with("github.com/") {
            let message = format!("'{path}' is a remote base; remote bases are not fetched");
            return Err(Error::Invalid { file: file.to_owned(), message });
        }
        let full = join(dir, path);
        if full.as_ref().and_then(|full| self.reader.kind(full)) == Some(Kind::Directory) {
            let below = self.directory(dir, file, path, Layer::default(), false)?;
            layer
                .config
                .merge(&below.config)
                .map_err(|message| Error::Invalid { file: file.to_owned(), message })?;
            return below
                .resources
                .into_iter()
                .try_for_each(|resource| append(&mut layer.resources, resource));
        }
        let (full, text) = self.reader.load_text(dir, file, path)?;
        for object in read_objects(&full, &text)? {
            append(&mut layer.resources, Resource::new(object))?;
        }
        Ok(())
    }

    fn directory(
        &mut self,
        dir: &str,
        file: &str,
        path: &str,
        layer: Layer,
        component: bool,
    ) -> Result<Layer, Error> {
        let outside = || Error::Outside { file: file.to_owned(), path: path.to_owned(), dir: "/".to_owned() };
        let full = join(dir, path).ok_or_else(outside)?;
        match self.reader.kind(&full) {
            Some(Kind::Directory) => {}
            Some(Kind::File) => {
                let message = format!("'{path}' must resolve to a directory, it is a file");
                return Err(Error::Invalid { file: file.to_owned(), message });
            }
            None => return Err(Error::Missing { file: file.to_owned(), path: path.to_owned() }),
        }
        if self.stack.contains(&full) || self.stack.iter().any(|open| is_below(open, &full)) {
            let chain: Vec<String> = self.stack.iter().map(|open| shown(open)).collect();
            return Err(Error::Cycle { dir: shown(&full), chain: chain.join(", ") });
        }
        if self.stack.len() >= DEPTH_LIMIT {
            return Err(Error::Limit { what: "kustomizations inside one another", limit: DEPTH_LIMIT });
        }
        let loaded = Kustomization::load(self.reader, &full, Some(component))?;
        self.stack.push(full.clone());
        let layer = self.layer(&full, &loaded, layer)?;
        self.stack.pop();
        Ok(layer)
    }
}

/// Whether `open` lies below `dir`: a kustomization may not include a directory that contains it.
fn is_below(open: &str, dir: &str) -> bool {
    dir.is_empty() || open.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
}

/// The objects of a manifest file; lists are taken apart.
pub(crate) fn read_objects(file: &str, text: &str) -> Result<Vec<Value>, Error> {
    let documents = yaml::parse_documents(text, yaml::Resolver::Kyaml);
    let documents = documents.map_err(|error| Error::Yaml { file: file.to_owned(), error })?;
    let mut objects = vec![];
    for document in documents {
        flatten(file, document, &mut objects)?;
    }
    Ok(objects)
}

fn flatten(file: &str, mut document: Value, objects: &mut Vec<Value>) -> Result<(), Error> {
    let invalid = |message: String| Error::Invalid { file: file.to_owned(), message };
    let kind = meta::kind(&document).to_owned();
    if kind.ends_with("List")
        && (document["items"].is_array() || document["items"].is_null())
        && is_list(&document)
    {
        let Value::Array(items) = document["items"].take() else { return Ok(()) };
        return items.into_iter().try_for_each(|item| flatten(file, item, objects));
    }
    if !document.is_object() {
        return Err(invalid("expected an object with kind and metadata.name".to_owned()));
    }
    if kind.is_empty() {
        return Err(invalid(format!("missing metadata.kind in object {}", brief(&document))));
    }
    if meta::name(&document).is_empty() {
        return Err(invalid(format!("missing metadata.name in object {}", brief(&document))));
    }
    // Annotations are texts; kustomize writes numbers and booleans there as such.
    for value in
        document["metadata"].get_mut("annotations").and_then(Value::as_object_mut).into_iter().flatten()
    {
        if let Value::Number(_) | Value::Bool(_) = value.1 {
            *value.1 = value.1.to_string().into();
        }
    }
    objects.push(document);
    Ok(())
}

/// Kinds such as `WhiteList` may end so without being a list.
fn is_list(document: &Value) -> bool {
    document.get("items").is_some() && meta::name(document).is_empty()
}

/// The object's type and name, without its content, which may be secret.
fn brief(document: &Value) -> String {
    format!("{{{} {} {}}}", meta::api_version(document), meta::kind(document), meta::name(document))
}
