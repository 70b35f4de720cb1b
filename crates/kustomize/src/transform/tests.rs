//! The transformers by way of their configuration objects. Expected texts are kustomize's.

#![allow(clippy::unwrap_used, reason = "in a test, whatever goes wrong ends it")]

use serde::de::DeserializeOwned;

use crate::MemoryTree;
use crate::node::{read_documents, to_yaml};
use crate::plugin::{Context, Transform};
use crate::reader::Reader;
use crate::resource::Resource;
use crate::resources::Resources;
use crate::schema::Schema;

fn resources(text: &str) -> Resources {
    Resources::from_list(read_documents(text).unwrap().into_iter().map(Resource::new).collect())
}

fn run<T: Transform + DeserializeOwned>(config: &str, all: &mut Resources) -> Result<(), String> {
    let config = yaml::parse(config, yaml::Resolver::Kyaml).unwrap();
    let transformer: T = crate::json::lenient(&config).unwrap();
    let tree = MemoryTree::default();
    let reader = Reader::new(&tree, false, None);
    let schema = Schema::default();
    let context = Context { reader: &reader, dir: "d", file: "d/kustomization.yaml", schema: &schema };
    transformer.transform(&context, all).map_err(|error| error.to_string())
}

/// Checks the objects after a transformation; `//` stands for one document after the other.
fn check<T: Transform + DeserializeOwned>(config: &str, input: &str, expected: &str) {
    let mut all = resources(input);
    run::<T>(config, &mut all).unwrap();
    let found: Vec<String> = all.iter().map(|resource| to_yaml(&resource.node).unwrap()).collect();
    let expected: Vec<String> =
        read_documents(expected).unwrap().iter().map(|node| to_yaml(node).unwrap()).collect();
    assert_eq!(found.join("---\n"), expected.join("---\n"), "{config}");
}

fn fails<T: Transform + DeserializeOwned>(config: &str, input: &str, parts: &[&str]) {
    let message = run::<T>(config, &mut resources(input)).unwrap_err();
    for part in parts {
        assert!(message.contains(part), "{message}");
    }
}

mod images;
mod labels;
mod names;
mod namespaces;
mod replicas;
mod values;
