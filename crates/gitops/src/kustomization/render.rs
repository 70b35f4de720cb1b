//! From a source's files to the objects that a Kustomization wants: pure.
//!
//! The order is Flux's: a kustomization.yaml is made where there is none, fields of the spec are put into it, kustomize
//! builds, variables are substituted object by object, then common metadata and the owner's labels go over everything.

use std::collections::BTreeMap;

use bytes::Bytes;
use kustomize::{FILE_NAMES, Kind, Overlay, Renderer, Tree};
use object::{Key, meta};
use serde_json::{Value, json};

use crate::api::kustomization::Spec;

/// Group of the labels and annotations with which objects and users steer the controller.
pub(crate) const GROUP: &str = "kustomize.toolkit.fluxcd.io";

/// Why there are no objects; each has its own reason in the status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RenderError {
    #[error("kustomization path not found: stat {0}: no such file or directory")]
    NoPath(String),
    #[error("kustomize build failed: {0}")]
    Build(String),
    #[error("post build failed for '{object}': {message}")]
    Substitute { object: String, message: String },
}

/// Builds what `spec` describes. `variables` are those of `postBuild`, already read and merged. The renderer may know
/// what an earlier tree of the same source gave.
pub(crate) fn render(
    renderer: &mut Renderer,
    tree: &dyn Tree,
    owner: &Key,
    spec: &Spec,
    variables: &BTreeMap<String, String>,
) -> Result<Vec<Value>, RenderError> {
    let dir = kustomize::join("", spec.path.trim_start_matches('/'))
        .filter(|dir| tree.kind(dir) == Some(Kind::Directory))
        .ok_or_else(|| RenderError::NoPath(spec.path.clone()))?;
    let Some(overlay) = kustomization_file(tree, &dir, spec)? else { return Ok(vec![]) };
    let options = kustomize::Options { unrestricted: true, ..kustomize::Options::default() };
    let built = renderer
        .render(&overlay, &dir, options)
        .map_err(|error| RenderError::Build(error.located(&overlay)))?;
    let always = spec.post_build.substitute_strategy.as_deref() == Some("Always");
    let mut objects = built.objects();
    if always || !variables.is_empty() {
        for object in &mut objects {
            substitute(object, variables)?;
        }
    }
    for object in &mut objects {
        decorate(object, owner, spec);
    }
    Ok(objects)
}

/// The tree with the kustomization.yaml that is to be built; none when there is nothing to build.
fn kustomization_file<'a>(
    tree: &'a dyn Tree,
    dir: &str,
    spec: &Spec,
) -> Result<Option<Overlay<'a>>, RenderError> {
    let at = |name: &str| if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") };
    let found =
        FILE_NAMES.iter().map(|name| at(name)).find_map(|path| tree.read(&path).map(|text| (path, text)));
    let (path, mut file) = match found {
        Some((path, text)) => {
            let text = String::from_utf8_lossy(&text).into_owned();
            let file = yaml::parse(&text, yaml::Resolver::Kubectl)
                .map_err(|error| RenderError::Build(format!("{path}: {error}")))?;
            (path, file)
        }
        None => {
            let mut resources = vec![];
            walk(tree, dir, dir, &mut resources)?;
            if resources.is_empty() {
                return Ok(None);
            }
            let file = json!({
                "apiVersion": "kustomize.config.k8s.io/v1beta1",
                "kind": "Kustomization",
                "resources": resources,
            });
            (at(FILE_NAMES[0]), file)
        }
    };
    put_fields(tree, dir, &mut file, spec);
    Ok(Some(Overlay { base: tree, path, content: Bytes::from(yaml::emit(&file)) }))
}

/// Every manifest below `dir`; directories with a kustomization of their own are named, not entered.
fn walk(tree: &dyn Tree, root: &str, dir: &str, resources: &mut Vec<String>) -> Result<(), RenderError> {
    for (name, kind) in tree.list(dir) {
        let path = if dir.is_empty() { name.clone() } else { format!("{dir}/{name}") };
        let relative = path.strip_prefix(root).unwrap_or(&path).trim_start_matches('/').to_owned();
        match kind {
            Kind::Directory => {
                let own =
                    FILE_NAMES.iter().any(|file| tree.kind(&format!("{path}/{file}")) == Some(Kind::File));
                if own { resources.push(relative) } else { walk(tree, root, &path, resources)? }
            }
            Kind::File if name.ends_with(".yaml") || name.ends_with(".yml") => resources.push(relative),
            Kind::File => {}
        }
    }
    Ok(())
}

/// Fields of the spec that go into the kustomization.yaml.
fn put_fields(tree: &dyn Tree, dir: &str, file: &mut Value, spec: &Spec) {
    let texts = [
        ("namespace", &spec.target_namespace),
        ("namePrefix", &spec.name_prefix),
        ("nameSuffix", &spec.name_suffix),
    ];
    for (field, text) in texts {
        if let Some(text) = text {
            file[field] = text.as_str().into();
        }
    }
    let is_there = |path: &String| {
        kustomize::join(dir, path).is_some_and(|path| tree.kind(&path) == Some(Kind::Directory))
    };
    let components = spec.components.iter().filter(|path| !spec.ignore_missing_components || is_there(path));
    append(file, "components", components.map(|path| path.as_str().into()).collect());
    append(file, "patches", spec.patches.clone());
    for image in &spec.images {
        let old =
            file["images"].as_array_mut().into_iter().flatten().find(|old| old["name"] == image["name"]);
        match old {
            Some(old) => *old = image.clone(),
            None => append(file, "images", vec![image.clone()]),
        }
    }
}

fn append(file: &mut Value, field: &str, more: Vec<Value>) {
    if more.is_empty() {
        return;
    }
    match &mut file[field] {
        Value::Array(items) => items.extend(more),
        other => *other = Value::Array(more),
    }
}

/// Variables are put into the object's text, which is then read anew: a bare number becomes one.
fn substitute(object: &mut Value, variables: &BTreeMap<String, String>) -> Result<(), RenderError> {
    if steered(object, "substitute") == Some("disabled") {
        return Ok(());
    }
    let text = yaml::emit(object);
    if !text.contains("${") {
        return Ok(());
    }
    let failed = |message: String| RenderError::Substitute { object: meta::name(object).to_owned(), message };
    let lookup = |name: &str| variables.get(name).map(|value| value.replace('\n', ""));
    let expanded = dialect::envsubst::expand(&text, true, &lookup)
        .map_err(|error| failed(format!("envsubst error: {error}")))?;
    let read = yaml::parse(&expanded, yaml::Resolver::Kubectl).map_err(|error| failed(error.to_string()))?;
    *object = read;
    Ok(())
}

/// A label or annotation of our group with which an object steers its treatment.
pub(crate) fn steered<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    let name = format!("{GROUP}/{name}");
    meta::annotation(object, &name).or_else(|| meta::label(object, &name))
}

fn decorate(object: &mut Value, owner: &Key, spec: &Spec) {
    for (key, value) in &spec.common_metadata.labels {
        meta::set_label(object, key, value);
    }
    for (key, value) in &spec.common_metadata.annotations {
        meta::set_annotation(object, key, value);
    }
    meta::set_label(object, &format!("{GROUP}/name"), &owner.name);
    meta::set_label(object, &format!("{GROUP}/namespace"), &owner.namespace);
}

/// The Kustomization that an object's labels name as its owner.
pub(crate) fn owner_of(object: &Value) -> Option<Key> {
    let label = |name: &str| meta::label(object, &format!("{GROUP}/{name}"));
    Some(Key::new(label("namespace")?, label("name")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kustomize::MemoryTree;

    fn tree(files: &[(&str, &str)]) -> MemoryTree {
        MemoryTree::new(
            files.iter().map(|(path, text)| ((*path).to_owned(), Bytes::from((*text).to_owned()))),
        )
    }

    fn spec(more: Value) -> Spec {
        let mut spec =
            json!({"sourceRef": {"kind": "GitRepository", "name": "s"}, "prune": true, "interval": "1m"});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Spec::of(&json!({ "spec": spec })).unwrap()
    }

    const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: m\ndata:\n  port: \"${port}\"\n  keep: $${port}\n";

    #[track_caller]
    fn check(files: &[(&str, &str)], more: Value, variables: &[(&str, &str)], expected: Result<Value, &str>) {
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let mut renderer = Renderer::default();
        let found = render(&mut renderer, &tree(files), &Key::new("ns", "ks"), &spec(more), &variables);
        let found = found.map(|mut objects| {
            for object in &mut objects {
                let labels = object["metadata"]["labels"].as_object_mut().unwrap();
                assert_eq!(labels.shift_remove("kustomize.toolkit.fluxcd.io/name"), Some("ks".into()));
                assert_eq!(labels.shift_remove("kustomize.toolkit.fluxcd.io/namespace"), Some("ns".into()));
            }
            Value::Array(objects)
        });
        assert_eq!(found.map_err(|error| error.to_string()), expected.map_err(str::to_owned));
    }

    #[test]
    fn a_directory_without_a_kustomization_gets_one() {
        let files = [
            ("a/x.yaml", MAP),
            ("a/sub/kustomization.yaml", "resources: [y.yml]"),
            ("a/sub/y.yml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: n}"),
            ("a/readme.md", "#"),
        ];
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "t", "labels": {"l": "1"}}, "data": {"port": "${port}", "keep": "$${port}"}});
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "t", "labels": {"l": "1"}}});
        check(
            &files,
            json!({"path": "./a", "targetNamespace": "t", "commonMetadata": {"labels": {"l": "1"}}}),
            &[],
            Ok(json!([namespace, map])),
        );
        check(&[("a/readme.md", "#")], json!({"path": "a"}), &[], Ok(json!([])));
        check(
            &[("a/readme.md", "#")],
            json!({"path": "./b"}),
            &[],
            Err("kustomization path not found: stat ./b: no such file or directory"),
        );
    }

    #[test]
    fn variables_are_substituted_and_missing_ones_refused() {
        let files = [("kustomization.yaml", "resources: [m.yaml]"), ("m.yaml", MAP)];
        let map = |data: Value| json!([{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "labels": {}}, "data": data}]);
        check(&files, json!({}), &[("port", "x\n1")], Ok(map(json!({"port": "x1", "keep": "${port}"}))));
        check(
            &files,
            json!({}),
            &[("other", "x")],
            Err("post build failed for 'm': envsubst error: variable not set (strict mode): \"port\""),
        );
    }

    #[test]
    fn only_what_read_a_change_is_built_again() {
        let map = |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}");
        let (shop, blog) = (map("shop"), map("blog"));
        let mut files = tree(&[
            ("base/b.yaml", &map("base")),
            ("base/kustomization.yaml", "resources: [b.yaml]"),
            ("blog/kustomization.yaml", "resources: [../base, m.yaml]"),
            ("blog/m.yaml", &blog),
            ("shop/kustomization.yaml", "resources: [../base, m.yaml]"),
            ("shop/m.yaml", &shop),
        ]);
        let mut renderer = Renderer::default();
        let mut built = |files: &MemoryTree| {
            let before = renderer.counts().built;
            for path in ["blog", "shop"] {
                let key = Key::new("ns", path);
                let spec = spec(json!({ "path": path }));
                assert_eq!(render(&mut renderer, files, &key, &spec, &BTreeMap::new()).unwrap().len(), 2);
            }
            renderer.counts().built - before
        };
        assert_eq!(built(&files), 2);
        files.insert("readme.md", "#");
        assert_eq!(built(&files), 0);
        files.insert("shop/m.yaml", map("store"));
        assert_eq!(built(&files), 1);
        files.insert("base/b.yaml", map("ground"));
        assert_eq!(built(&files), 2);
    }

    #[test]
    fn images_of_the_spec_win() {
        let pod =
            "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: app:1}]}";
        let files = [
            ("kustomization.yaml", "resources: [p.yaml]\nimages: [{name: app, newTag: v2}]"),
            ("p.yaml", pod),
        ];
        let expected = json!([{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {}}, "spec": {"containers": [{"name": "c", "image": "app:v3"}]}}]);
        check(&files, json!({"images": [{"name": "app", "newTag": "v3"}]}), &[], Ok(expected));
    }
}
