//! A build from its root to its objects: the walk, then what is done once and last.

use std::cell::RefCell;

use super::{Layer, Place, Target, Walk};
use crate::file::Kustomization;
use crate::load;
use crate::node::{self, Node, Style, Tag, Text};
use crate::order::SortOptions;
use crate::origin::{self, ORIGIN, Origin, TRANSFORMATIONS};
use crate::plugin::Transform as _;
use crate::reader::Reader;
use crate::references::names;
use crate::remote::Fetch;
use crate::renderer::{Known, Seen, without_repetition};
use crate::resource::Resource;
use crate::resources::Resources;
use crate::schema::Schema;
use crate::trace::{Action, Step, Trace};
use crate::transform::hash::HashTransformer;
use crate::tree::{Kind, Tree, shown};
use crate::{Build, Error, MANAGED_BY, Options, Order};

/// Objects with this annotation serve the build and are not part of its result, unless it says `false`.
const LOCAL_CONFIG: &str = "config.kubernetes.io/local-config";
/// The label of `buildMetadata: [managedByLabel]`.
const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";

/// Annotations that are taken out of every output.
const NOTES: [&str; 19] = [
    "internal.config.kubernetes.io/previousKinds",
    "internal.config.kubernetes.io/previousNames",
    "internal.config.kubernetes.io/previousNamespaces",
    "internal.config.kubernetes.io/prefixes",
    "internal.config.kubernetes.io/suffixes",
    "internal.config.kubernetes.io/allowNameChange",
    "internal.config.kubernetes.io/allowKindChange",
    "internal.config.kubernetes.io/refBy",
    "internal.config.kubernetes.io/generatorBehavior",
    "internal.config.kubernetes.io/needsHashSuffix",
    "internal.config.kubernetes.io/path",
    "internal.config.kubernetes.io/index",
    "internal.config.kubernetes.io/seqindent",
    "internal.config.kubernetes.io/id",
    "internal.config.kubernetes.io/annotations-migration-resource-id",
    "internal.config.kubernetes.io/helm-generated",
    "config.k8s.io/id",
    "config.kubernetes.io/path",
    "config.kubernetes.io/index",
];

/// What the root's `buildMetadata` asks for.
#[derive(Clone, Copy)]
struct Metadata {
    origins: bool,
    transformations: bool,
    managed_by: bool,
}

/// Builds the kustomization in a directory.
pub(crate) fn root<'w>(
    tree: &dyn Tree,
    dir: &str,
    options: Options,
    fetch: Option<&'w dyn Fetch>,
    trace: Option<&'w mut (dyn Trace + 'w)>,
) -> Result<Build, Error> {
    let reader = Reader::new(tree, options.unrestricted, fetch);
    let (objects, warnings) = walk(&reader, dir, options, fetch, trace)?;
    Ok(Build { read: reader.finish().0, warnings, objects })
}

/// As [`root`], with what is known from other builds, and what this one has seen.
pub(crate) fn root_knowing(
    tree: &dyn Tree,
    dir: &str,
    options: Options,
    known: &RefCell<Known>,
) -> Result<(Build, Vec<Seen>), Error> {
    let reader = Reader::knowing(tree, options.unrestricted, known);
    let (objects, warnings) = walk(&reader, dir, options, None, None)?;
    let (read, mut seen) = reader.finish();
    without_repetition(&mut seen);
    Ok((Build { read, warnings, objects }, seen))
}

/// The objects and the warnings.
fn walk<'w>(
    reader: &Reader<'_>,
    dir: &str,
    options: Options,
    fetch: Option<&'w dyn Fetch>,
    trace: Option<&'w mut (dyn Trace + 'w)>,
) -> Result<(Vec<Node>, Vec<String>), Error> {
    let followed = reader.follow(dir);
    match followed.as_deref().and_then(|dir| reader.kind(dir)) {
        Some(Kind::Directory) => {}
        Some(Kind::File) => {
            return Err(Error::NotDirectory { dir: shown(dir), reason: "file is not directory" });
        }
        None => return Err(Error::NotDirectory { dir: shown(dir), reason: "no such file or directory" }),
    }
    let dir = followed.unwrap_or_default();
    let loaded = Kustomization::load(reader, &dir)?;
    let mut walk = Walk {
        fetch,
        trace,
        schema: Schema::default(),
        stack: vec![Place { tree: 0, dir: dir.clone(), remote: None }],
        trees: 0,
        warnings: loaded.warnings.clone(),
        entered: vec![],
    };
    let origin = (!loaded.kustomization.build_metadata.is_empty()).then(Origin::default);
    let target = Target { reader, tree: 0, dir, loaded, origin };
    walk.set_schema(&target, true)?;
    let objects = walk.objects(&target, options)?;
    Ok((objects, walk.warnings))
}

impl Walk<'_> {
    fn objects(&mut self, target: &Target<'_>, options: Options) -> Result<Vec<Node>, Error> {
        let asked = |name: &str| target.kustomization().build_metadata.iter().any(|other| other == name);
        let metadata = Metadata {
            origins: asked("originAnnotations"),
            transformations: asked("transformerAnnotations"),
            managed_by: options.managed_by || asked("managedByLabel"),
        };
        let mut layer = self.layer(target, Layer::default())?;
        self.settle(target, &mut layer)?;
        self.sort(target, options, &mut layer.resources)?;
        for resource in layer.resources.iter_mut() {
            metadata.write(resource);
        }
        self.finished(target, "buildMetadata", &layer.resources);
        layer.resources.iter().map(|resource| self.object(resource)).collect()
    }

    /// Hashes, references, vars, and what is only there for them.
    fn settle(&mut self, target: &Target<'_>, layer: &mut Layer) -> Result<(), Error> {
        let Layer { resources, config, vars } = layer;
        HashTransformer {}.transform(&target.context(&self.schema), resources)?;
        self.finished(target, "hash suffixes", resources);
        names::fix(resources, config, &self.schema).map_err(|message| target.invalid(message))?;
        self.finished(target, "name references", resources);
        let unused = vars.resolve(resources, config).map_err(|message| target.invalid(message))?;
        resources.settle_twins();
        if !unused.is_empty() {
            let unused = unused.join(",");
            self.warnings
                .push(format!("{}: well-defined vars that were never replaced: {unused}", target.file()));
        }
        self.finished(target, "vars", resources);
        for resource in resources.iter() {
            if !resource.node.is_nil_or_empty() {
                load::check(&resource.node).map_err(|message| target.invalid(message))?;
            }
        }
        resources.retain(|resource| {
            let kept = resource.annotation(LOCAL_CONFIG).is_none_or(|value| value == "false");
            kept && !resource.node.is_nil_or_empty()
        });
        Ok(())
    }

    fn sort(
        &mut self,
        target: &Target<'_>,
        options: Options,
        resources: &mut Resources,
    ) -> Result<(), Error> {
        let own = &target.kustomization().sort_options;
        if own.is_some() && options.order != Order::Unspecified && options.order != Order::None {
            self.warnings.push(format!(
                "{}: # Warning: 'sortOptions' and a flag both say how to sort; 'sortOptions' counts",
                target.file()
            ));
        }
        let legacy = (options.order != Order::None).then(SortOptions::legacy);
        if let Some(sort) = own.as_ref().or(legacy.as_ref()) {
            sort.sort(resources, &self.schema).map_err(|message| target.invalid(message))?;
            self.finished(target, "sortOptions", resources);
        }
        Ok(())
    }

    fn finished(&mut self, target: &Target<'_>, field: &str, resources: &Resources) {
        let (action, file) = (Action::Finish, target.file());
        self.step(&Step { action, file, field, index: None, entry: "", plugin: None }, resources);
    }

    fn object(&self, resource: &Resource) -> Result<Node, Error> {
        let failed = |message| Error::Conflict(format!("{}: {message}", resource.id(&self.schema)));
        let annotations = resource.node.at(&["metadata", "annotations"]).and_then(Node::as_map);
        let mut names = annotations.into_iter().flat_map(node::Map::names);
        names.try_for_each(|name| node::check_key(name)).map_err(failed)?;
        node::check(&resource.node).map_err(failed)?;
        Ok(resource.node.clone())
    }
}

impl Metadata {
    /// Labels and annotations that tell about the build; what kustomize notes for itself is taken out.
    fn write(self, resource: &mut Resource) {
        if self.managed_by {
            resource.node.map_at("metadata");
            if let Some(metadata) = resource.node.get_mut("metadata") {
                metadata.map_at("labels").set(MANAGED_BY_LABEL, Node::string(MANAGED_BY));
            }
        }
        let origin = resource.origin.as_ref().filter(|_| self.origins).map(|origin| origin.to_yaml());
        let transformations =
            Some(&resource.transformations).filter(|list| self.transformations && !list.is_empty());
        let transformations = transformations.map(|list| origin::to_yaml(list));
        if origin.is_none() && transformations.is_none() && !needs_cleaning(resource) {
            return;
        }
        let mut texts: Vec<(String, String)> = vec![];
        let said = resource.node.at(&["metadata", "annotations"]).and_then(Node::as_map);
        for (name, value) in said.into_iter().flat_map(|map| map.iter()) {
            if !is_note(name) {
                texts.push((name.to_string(), value.text().unwrap_or_default().to_owned()));
            }
        }
        texts.extend(origin.map(|text| (ORIGIN.to_owned(), text)));
        texts.extend(transformations.map(|text| (TRANSFORMATIONS.to_owned(), text)));
        let metadata = resource.node.map_at("metadata");
        if texts.is_empty() {
            metadata.remove("annotations");
        } else {
            let texts = texts.iter().map(|(name, text)| (name.as_str(), text.as_str()));
            metadata.set("annotations", Node::string_map(texts));
        }
    }
}

/// Whether an annotation is kustomize's own. Those about the build are too: what is asked for is added anew.
fn is_note(name: &str) -> bool {
    NOTES.contains(&name) || [ORIGIN, TRANSFORMATIONS].contains(&name)
}

/// Whether annotations are other than kustomize writes them: texts, at least one, none of its own.
/// Annotations lose their style when one is added.
pub(super) fn rewrite_annotations(resource: &mut Resource) {
    let annotations = resource.node.at(&["metadata", "annotations"]).and_then(Node::as_map);
    let styled = |node: &Node| {
        node.as_scalar().is_some_and(|scalar| scalar.style != Style::Block && scalar.text.contains('\n'))
    };
    let styled = annotations.filter(|map| map.iter().any(|(_, node)| styled(node)));
    let plain = |(name, node): (&Text, &Node)| (name.clone(), Node::string(node.text().unwrap_or_default()));
    if let Some(plain) = styled.map(|map| map.iter().map(plain).collect::<node::Map>()) {
        resource.node.map_at("metadata").set("annotations", Node::Map(plain.into()));
    }
}

fn needs_cleaning(resource: &Resource) -> bool {
    let Some(annotations) = resource.node.at(&["metadata", "annotations"]) else { return false };
    let Some(map) = annotations.as_map().filter(|map| !map.is_empty()) else { return true };
    // What is written anew is a string without quotes, and a block where it has several lines.
    let is_text = |value: &Node| {
        value.as_scalar().is_some_and(|scalar| {
            let rewritten = scalar.style != Style::Block && scalar.text.contains('\n');
            scalar.tag == Tag::Str && !rewritten
        })
    };
    map.iter().any(|(name, value)| is_note(name) || !is_text(value))
}
