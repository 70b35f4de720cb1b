//! kustomize: a file tree in, manifests out. Pure: everything is read through a [`Tree`].
//!
//! A build walks the kustomizations depth first ([`build`](mod@build)): each layer first collects resources, generated
//! objects and components, then transforms them in the order that kustomize has. Hash suffixes, name references and
//! vars come once, at the end, from the names that every resource has had. Semantics follow kustomize's `api` module,
//! its output byte for byte; what runs programs (exec and container plugins, Helm) is refused in one clear line.

mod build;
mod config;
mod error;
mod explain;
mod few;
mod fieldspec;
mod file;
mod generate;
mod hash;
mod id;
mod json;
mod json6902;
mod load;
mod locate;
mod merge;
mod node;
mod order;
mod origin;
mod path;
mod plugin;
mod plugins;
mod reader;
mod references;
mod remote;
mod renderer;
mod resource;
mod resources;
mod schema;
mod select;
mod trace;
mod transform;
mod tree;
mod twins;

use std::collections::BTreeSet;

use serde_json::Value;

use id::Id;
use node::Node;

pub use error::Error;
pub use explain::{Explanation, Line, Source, explain};
pub use locate::Place;
pub use remote::{Fetch, Remote};
pub use renderer::{Counts, RENDERER_SIZE_LIMIT, Renderer};
pub use tree::{ContentId, Kind, MemoryTree, Overlay, Tree, join};

/// Names under which a directory's kustomization may be, in kustomize's order.
pub const FILE_NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
/// Deepest chain of kustomizations, so that no tree can exhaust the stack.
pub const DEPTH_LIMIT: usize = 50;
/// Most resources of one build: well above the largest known deploy repositories.
pub const RESOURCE_LIMIT: usize = 20_000;
/// Most fields of one map: fields are looked up one after another, and no object that a cluster takes has so many.
pub const FIELD_LIMIT: usize = 20_000;
/// Largest file that is read, in bytes: bundles of definitions have a tenth of it, and an API server takes objects of
/// 3 MiB at most.
pub const FILE_SIZE_LIMIT: u64 = 32 << 20;
/// Most bytes that one build reads, so that many large files cannot fill the memory either.
pub const TOTAL_SIZE_LIMIT: u64 = 256 << 20;
/// Most paths that one build asks for: every resource in a file of its own, and kustomizations besides.
pub const FILE_COUNT_LIMIT: usize = 100_000;
/// The value of the `app.kubernetes.io/managed-by` label, where it is asked for.
pub const MANAGED_BY: &str = "kustomize-portolan";

/// How to build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Options {
    /// Files may also be read from outside of the kustomization's own directory (`--load-restrictor
    /// LoadRestrictionsNone`, which Flux sets), but never from outside of the tree.
    pub unrestricted: bool,
    /// `--reorder`; a kustomization's own `sortOptions` wins.
    pub order: Order,
    /// `--enable-alpha-plugins`: what is not built in is then refused because programs are not run, not because of
    /// the flag.
    pub plugins: bool,
    /// Adds the label `app.kubernetes.io/managed-by`, as `buildMetadata: [managedByLabel]` does.
    pub managed_by: bool,
}

/// In which order the objects come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// Depth first, as listed.
    #[default]
    None,
    /// By kind, in the order in which they can be applied.
    Legacy,
    /// What the `kustomize` command does without a flag: as [`Order::Legacy`].
    Unspecified,
}

/// What a build gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Build {
    /// Every path that was read or looked for. While none of them changes, the result stays the same.
    pub read: BTreeSet<String>,
    /// What is deprecated or has no effect, in one line each.
    pub warnings: Vec<String>,
    /// The objects, their fields in the order in which they were written.
    objects: Vec<Node>,
}

impl Build {
    /// The objects, in order.
    pub fn objects(&self) -> Vec<Value> {
        // That each has a value was checked when it was built.
        self.objects.iter().map(|object| node::to_value(object).unwrap_or_default()).collect()
    }

    /// A file for each object, with the names that `kustomize build -o DIR` gives them: group, version, kind and name,
    /// and the namespace before them where there are several.
    pub fn files(&self) -> Result<Vec<(String, String)>, Error> {
        let schema = schema::Schema::default();
        let ids: Vec<Id> = self.objects.iter().map(|object| Id::of(object, &schema)).collect();
        let namespaced = ids.iter().filter(|id| !id.cluster_scoped);
        let several = namespaced.map(Id::effective_namespace).collect::<BTreeSet<_>>().len() > 1;
        let file = |(object, id): (&Node, &Id)| {
            let gvk = [&id.gvk.group, &id.gvk.version, &id.gvk.kind];
            let parts = gvk.into_iter().chain([&id.name]).map(|part| &**part).filter(|part| !part.is_empty());
            let namespace = (several && !id.cluster_scoped).then(|| id.effective_namespace());
            let parts: Vec<&str> = namespace.into_iter().chain(parts).collect();
            let text = yaml::marshal(object).map_err(Error::Conflict)?;
            Ok((format!("{}.yaml", parts.join("_").to_lowercase()), text))
        };
        self.objects.iter().zip(&ids).map(file).collect()
    }

    /// The text that `kustomize build` prints.
    pub fn to_yaml(&self) -> Result<String, Error> {
        // Room for all of it at once: text that grows is copied again and again.
        let mut text = String::with_capacity(self.objects.iter().map(|object| object.text_size(0)).sum());
        for (position, object) in self.objects.iter().enumerate() {
            if position > 0 {
                text.push_str("---\n");
            }
            yaml::marshal_into(&mut text, object).map_err(Error::Conflict)?;
        }
        text.shrink_to_fit();
        Ok(text)
    }

    /// The bytes that it takes, about.
    fn size(&self) -> usize {
        const OVERHEAD: usize = 64;
        let texts = self.read.iter().chain(&self.warnings).map(|text| text.len() + OVERHEAD);
        self.objects.iter().map(node::Node::size).chain(texts).sum()
    }
}

/// Builds the kustomization in directory `dir` (`""`: the root) of a tree.
pub fn build(tree: &dyn Tree, dir: &str, options: Options) -> Result<Build, Error> {
    build_fetching(tree, dir, options, None)
}

/// As [`build`], with someone who gets what remote references name.
pub fn build_fetching(
    tree: &dyn Tree,
    dir: &str,
    options: Options,
    fetch: Option<&dyn Fetch>,
) -> Result<Build, Error> {
    build::root(tree, dir, options, fetch, None)
}
