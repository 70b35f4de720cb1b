//! The built-in transformations, in kustomize's order.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::Error;
use crate::config::{Config, merge_specs};
use crate::fieldspec::{FieldSpec, Leaf};
use crate::file::{Image, Kustomization, Replica};
use crate::resource::Resource;

/// Why a transformation failed: with a message for the kustomization at hand, or an error that names its file.
pub(crate) enum Failed {
    Here(String),
    Error(Error),
}

impl From<String> for Failed {
    fn from(message: String) -> Self {
        Failed::Here(message)
    }
}

/// Runs everything that comes after the strategic patches. `json_patches` has its place in the middle.
pub(crate) fn run(
    kustomization: &Kustomization,
    config: &Config,
    all: &mut Vec<Resource>,
    json_patches: impl FnOnce(&mut Vec<Resource>) -> Result<(), Error>,
) -> Result<(), Failed> {
    namespace(&kustomization.namespace, config, all)?;
    affix(&kustomization.name_prefix, &config.name_prefix, Side::Prefix, all)?;
    affix(&kustomization.name_suffix, &config.name_suffix, Side::Suffix, all)?;
    labels(kustomization, config, all)?;
    set_pairs(&kustomization.common_annotations, &config.common_annotations, all)?;
    json_patches(all).map_err(Failed::Error)?;
    for replica in &kustomization.replicas {
        replicas(replica, config, all)?;
    }
    for image in &kustomization.images {
        images(image, config, all)?;
    }
    Ok(())
}

fn namespace(namespace: &str, config: &Config, all: &mut [Resource]) -> Result<(), String> {
    if namespace.is_empty() {
        return Ok(());
    }
    for resource in all.iter_mut() {
        resource.remember_id();
        if !resource.gvk().is_cluster_scoped() {
            resource.object["metadata"]["namespace"] = namespace.into();
        }
        let gvk = resource.gvk();
        if matches!(gvk.kind.as_str(), "RoleBinding" | "ClusterRoleBinding") {
            // Other service accounts get their namespace through the name references.
            let subjects = resource.object["subjects"].as_array_mut().into_iter().flatten();
            for subject in subjects.filter(|subject| subject["name"] == "default") {
                subject["namespace"] = namespace.into();
            }
        }
        let is_v1 = gvk.group.is_empty() && gvk.version == "v1";
        let concerned = |spec: &&FieldSpec| {
            spec.path != "metadata/namespace"
                && (spec.path != "metadata/name" || is_v1)
                && !(gvk.kind.ends_with("RoleBinding") && spec.path == "subjects/namespace")
        };
        for spec in config.namespace.iter().filter(concerned) {
            spec.apply(&mut resource.object, Leaf::Scalar, &mut |node| {
                if node.is_object() || node.is_array() {
                    return Err("namespace field specs must target scalar nodes".to_owned());
                }
                *node = namespace.into();
                Ok(())
            })?;
        }
    }
    for resource in all.iter() {
        let id = resource.id();
        if all.iter().filter(|other| other.id().same(&id)).count() > 1 {
            return Err(format!("namespace transformation produces ID conflict: {id}"));
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Prefix,
    Suffix,
}

/// Kinds whose name is not free.
fn keeps_name(resource: &Resource) -> bool {
    let gvk = resource.original_id().gvk;
    match gvk.kind.as_str() {
        "CustomResourceDefinition" | "Namespace" => true,
        "APIService" => gvk.group == "apiregistration.k8s.io",
        _ => false,
    }
}

fn affix(text: &str, specs: &[FieldSpec], side: Side, all: &mut [Resource]) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    for resource in all.iter_mut().filter(|resource| !keeps_name(resource)) {
        for spec in specs {
            if !resource.original_id().gvk.matches(&spec.gvk()) {
                continue;
            }
            if spec.path == "metadata/name" {
                let list = if side == Side::Prefix { &mut resource.prefixes } else { &mut resource.suffixes };
                list.push(text.to_owned());
                resource.remember_id();
            }
            spec.apply(&mut resource.object, Leaf::Scalar, &mut |node| {
                if let Value::String(name) = node {
                    *name =
                        if side == Side::Prefix { format!("{text}{name}") } else { format!("{name}{text}") };
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

fn labels(kustomization: &Kustomization, config: &Config, all: &mut [Resource]) -> Result<(), String> {
    let metadata = FieldSpec { path: "metadata/labels".to_owned(), create: true, ..FieldSpec::default() };
    for label in &kustomization.labels {
        let mut specs = label.field_specs.clone();
        merge_specs(&mut specs, &config.labels)?;
        if label.include_selectors {
            merge_specs(&mut specs, &config.common_labels)?;
        } else {
            if label.include_templates {
                merge_specs(&mut specs, &config.template_labels)?;
            }
            if label.include_volume_claim_templates {
                merge_specs(&mut specs, &config.volume_claim_template_labels)?;
            }
            merge_specs(&mut specs, std::slice::from_ref(&metadata))?;
        }
        set_pairs(&label.pairs, &specs, all)?;
    }
    set_pairs(&kustomization.common_labels, &config.common_labels, all)
}

/// Sets labels or annotations at every place that the specs name.
fn set_pairs(
    pairs: &BTreeMap<String, String>,
    specs: &[FieldSpec],
    all: &mut [Resource],
) -> Result<(), String> {
    if pairs.is_empty() {
        return Ok(());
    }
    for resource in all.iter_mut() {
        for spec in specs {
            spec.apply(&mut resource.object, Leaf::Map, &mut |node| {
                if node.is_null() {
                    *node = Value::Object(Map::new());
                }
                let Value::Object(map) = node else {
                    return Err("wrong node kind: expected a mapping".to_owned());
                };
                map.extend(pairs.iter().map(|(key, value)| (key.clone(), value.as_str().into())));
                Ok(())
            })?;
        }
    }
    Ok(())
}

fn replicas(replica: &Replica, config: &Config, all: &mut [Resource]) -> Result<(), String> {
    let mut found = false;
    for spec in &config.replicas {
        let concerned = |resource: &&mut Resource| {
            resource.any_id(|id| id.name == replica.name && id.gvk.matches(&spec.gvk()))
        };
        for resource in all.iter_mut().filter(concerned) {
            found = true;
            spec.apply(&mut resource.object, Leaf::Scalar, &mut |node| {
                *node = replica.count.into();
                Ok(())
            })?;
        }
    }
    if found {
        return Ok(());
    }
    let kinds: Vec<&str> = config.replicas.iter().map(|spec| spec.kind.as_str()).collect();
    let name = &replica.name;
    Err(format!(
        "resource with name {name} does not match a config with the following GVK [{}]",
        kinds.join(" ")
    ))
}

fn images(image: &Image, config: &Config, all: &mut [Resource]) -> Result<(), String> {
    // The name is a pattern; one that is none matches nothing.
    let pattern = format!(
        "^{}(:[a-zA-Z0-9_.{{}}-]*)?(@[a-zA-Z0-9]+([.+_-][a-zA-Z0-9]+)*:[a-zA-Z0-9_.{{}}-]*)?$",
        image.name
    );
    let Ok(pattern) = regex::Regex::new(&pattern) else { return Ok(()) };
    for resource in all.iter_mut() {
        if resource.gvk().kind != "CustomResourceDefinition" {
            containers(&mut resource.object, &mut |node| set_image(node, image, &pattern));
        }
        for spec in &config.images {
            spec.apply(&mut resource.object, Leaf::Nothing, &mut |node| {
                set_image(node, image, &pattern);
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// Every `image` in a list called `containers` or `initContainers`, wherever it is.
fn containers(node: &mut Value, set: &mut dyn FnMut(&mut Value)) {
    match node {
        Value::Array(items) => items.iter_mut().for_each(|item| containers(item, set)),
        Value::Object(map) => {
            for (name, value) in map.iter_mut() {
                containers(value, set);
                if let ("containers" | "initContainers", Value::Array(items)) = (name.as_str(), value) {
                    items.iter_mut().filter_map(|item| item.get_mut("image")).for_each(&mut *set);
                }
            }
        }
        _ => {}
    }
}

fn set_image(node: &mut Value, image: &Image, pattern: &regex::Regex) {
    let Some(current) = node.as_str().filter(|current| pattern.is_match(current)) else { return };
    let (name, tag, digest) = split_image(current);
    let name = if image.new_name.is_empty() { name } else { &image.new_name };
    let (tag, digest) = match (image.new_tag.as_str(), image.digest.as_str()) {
        ("", "") if image.tag_suffix.is_empty() => (tag.to_owned(), digest),
        ("", "") => (format!("{tag}{}", image.tag_suffix), ""),
        (tag, digest) => (tag.to_owned(), digest),
    };
    let mut written = name.to_owned();
    if !tag.is_empty() {
        written = format!("{written}:{tag}");
    }
    if !digest.is_empty() {
        written = format!("{written}@{digest}");
    }
    *node = written.into();
}

/// Name, tag and digest; a `:` before the first `/` belongs to the host.
fn split_image(image: &str) -> (&str, &str, &str) {
    let (rest, digest) = image.split_once('@').unwrap_or((image, ""));
    let from = rest.find('/').filter(|at| *at > 0).unwrap_or(0);
    match rest[from..].find(':') {
        Some(colon) => (&rest[..from + colon], &rest[from + colon + 1..], digest),
        None => (rest, "", digest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_split_at_tag_and_digest() {
        let check = |image: &str, expected: (&str, &str, &str)| assert_eq!(split_image(image), expected);
        check("nginx", ("nginx", "", ""));
        check("localhost:7007/a/b:sha-1", ("localhost:7007/a/b", "sha-1", ""));
        check("h:80/x:1@sha256:ab", ("h:80/x", "1", "sha256:ab"));
        check("x@sha256:ab", ("x", "", "sha256:ab"));
    }
}
