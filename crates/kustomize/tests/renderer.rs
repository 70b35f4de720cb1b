//! Building again: what changed is built anew, all else is given again, and nothing can be told from a fresh build.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test, whatever goes wrong ends it")]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use kustomize::{ContentId, Counts, Kind, MemoryTree, Options, Renderer, Tree, build};
use proptest::prelude::*;

/// A tree that notes which files are read.
#[derive(Default)]
struct Watched {
    tree: MemoryTree,
    read: RefCell<BTreeSet<String>>,
}

impl Watched {
    fn read(&self) -> Vec<String> {
        self.read.take().into_iter().collect()
    }
}

impl Tree for Watched {
    fn read(&self, path: &str) -> Option<Bytes> {
        self.read.borrow_mut().insert(path.to_owned());
        self.tree.read(path)
    }

    fn kind(&self, path: &str) -> Option<Kind> {
        self.tree.kind(path)
    }

    fn list(&self, path: &str) -> Vec<(String, Kind)> {
        self.tree.list(path)
    }

    fn id(&self, path: &str) -> Option<ContentId> {
        self.tree.id(path)
    }

    fn follow(&self, path: &str) -> Option<String> {
        self.tree.follow(path)
    }
}

const OVERLAYS: usize = 6;

/// Overlays that take turns on two bases.
fn overlays() -> Watched {
    let mut tree = MemoryTree::default();
    for base in 0..2 {
        tree.insert(format!("bases/{base}/kustomization.yaml"), "resources: [map.yaml, other.yaml]");
        tree.insert(format!("bases/{base}/map.yaml"), map("map", 1));
        tree.insert(format!("bases/{base}/other.yaml"), map("other", 1));
    }
    for overlay in 0..OVERLAYS {
        tree.insert(
            format!("overlays/{overlay}/kustomization.yaml"),
            format!("resources: [../../bases/{}]\nnamePrefix: o{overlay}-\n", overlay % 2),
        );
    }
    Watched { tree, read: RefCell::default() }
}

fn map(name: &str, value: usize) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{k: v{value}}}\n")
}

/// Renders all overlays; each has to be as a fresh build is.
fn render(renderer: &mut Renderer, tree: &Watched) -> Vec<String> {
    let dirs = (0..OVERLAYS).map(|overlay| format!("overlays/{overlay}"));
    let options = Options::default();
    let texts = dirs.map(|dir| {
        let rendered = renderer.render(tree, &dir, options).unwrap();
        assert_eq!(*rendered, build(&tree.tree, &dir, options).unwrap());
        rendered.to_yaml().unwrap()
    });
    texts.collect()
}

#[test]
fn only_what_read_a_changed_file_is_built_again() {
    let (mut renderer, mut tree) = (Renderer::default(), overlays());
    let before = render(&mut renderer, &tree);
    assert_eq!(renderer.counts(), Counts { built: 6, reused: 0, layers_reused: 4 });
    // The bases have the same manifests.
    assert_eq!(tree.read().len(), 6 + 2 + 2, "every content is read once");
    render(&mut renderer, &tree);
    assert_eq!(renderer.counts(), Counts { built: 6, reused: 6, layers_reused: 4 });
    assert_eq!(tree.read(), [""; 0]);
    tree.tree.insert("bases/1/map.yaml", map("map", 2));
    let after = render(&mut renderer, &tree);
    assert_eq!(renderer.counts(), Counts { built: 9, reused: 9, layers_reused: 6 });
    assert_eq!(tree.read(), ["bases/1/map.yaml"]);
    let changed = before.iter().zip(&after).map(|(before, after)| before != after);
    assert_eq!(changed.collect::<Vec<_>>(), [false, true, false, true, false, true]);
}

#[test]
fn a_finished_build_is_the_same_memory() {
    let (mut renderer, tree) = (Renderer::default(), overlays());
    let mut render = |options| renderer.render(&tree, "overlays/0", options).unwrap();
    let first = render(Options::default());
    assert!(Arc::ptr_eq(&first, &render(Options::default())));
    let labelled = render(Options { managed_by: true, ..Options::default() });
    assert!(labelled.to_yaml().unwrap().contains("managed-by"));
}

#[test]
fn what_was_looked_for_in_vain_counts() {
    let (mut renderer, mut tree) = (Renderer::default(), overlays());
    render(&mut renderer, &tree);
    tree.tree.insert("bases/0/Kustomization", "resources: [map.yaml]");
    let error = renderer.render(&tree, "overlays/0", Options::default()).unwrap_err();
    assert!(error.to_string().contains("Found multiple kustomization files under: /bases/0"), "{error}");
    tree.tree.remove("bases/0/kustomization.yaml");
    let short = renderer.render(&tree, "overlays/0", Options::default()).unwrap();
    assert!(!short.to_yaml().unwrap().contains("o0-other"));
}

#[test]
fn where_links_lead_counts() {
    let mut tree = MemoryTree::default();
    tree.insert("o/kustomization.yaml", "resources: [../b]");
    tree.insert("b/kustomization.yaml", "resources: [map.yaml]");
    tree.insert("b/1.yaml", map("map", 1));
    tree.insert("b/2.yaml", map("map", 2));
    let mut renderer = Renderer::default();
    for target in ["1", "2"] {
        tree.link("b/map.yaml", format!("{target}.yaml"));
        for dir in ["b", "o"] {
            let rendered = renderer.render(&tree, dir, Options::default()).unwrap();
            assert!(rendered.to_yaml().unwrap().contains(&format!("k: v{target}")));
        }
    }
}

#[test]
fn a_layer_is_shared_only_under_the_same_options() {
    let mut tree = MemoryTree::default();
    tree.insert("o/kustomization.yaml", "resources: [../b]");
    tree.insert("p/kustomization.yaml", "resources: [../b]");
    tree.insert("b/kustomization.yaml", "resources: [../map.yaml]");
    tree.insert("map.yaml", map("map", 1));
    let mut renderer = Renderer::default();
    renderer.render(&tree, "o", Options { unrestricted: true, ..Options::default() }).unwrap();
    assert!(renderer.render(&tree, "p", Options::default()).is_err());
}

/// The first schema that a build meets is the one that counts, also when it comes with a layer that is known.
#[test]
fn a_known_layer_brings_its_schema() {
    let mut tree = MemoryTree::default();
    let patch =
        "apiVersion: example.com/v1\nkind: Custom\nmetadata: {name: c}\nlist: [{id: c, more: 1}, {id: d}]\n";
    tree.insert(
        "s/kustomization.yaml",
        "resources: [c.yaml]\nopenapi: {path: s.json}\npatches: [{path: p.yaml}]\n",
    );
    tree.insert("s/c.yaml", custom("c"));
    tree.insert("s/p.yaml", patch);
    tree.insert("s/s.json", SCHEMA);
    let patch = patch.replace("more: 1", "other: 1");
    tree.insert("under/p.yaml", patch.clone());
    tree.insert("under/kustomization.yaml", "resources: [../s]\npatches: [{path: p.yaml}]\n");
    tree.insert("again/p.yaml", patch);
    tree.insert("again/kustomization.yaml", "resources: [../s]\npatches: [{path: p.yaml}]\nnamePrefix: a-\n");
    tree.insert("without/kustomization.yaml", "resources: [../s]\nopenapi: {version: v1.21.2}\n");
    for dirs in [["under", "again", "without"], ["without", "again", "under"]] {
        let mut renderer = Renderer::default();
        for dir in dirs {
            let fresh = build(&tree, dir, Options::default()).unwrap();
            let rendered = renderer.render(&tree, dir, Options::default()).unwrap();
            assert_eq!(rendered.to_yaml().unwrap(), fresh.to_yaml().unwrap(), "{dir} of {dirs:?}");
        }
    }
}

#[test]
fn a_known_layer_does_not_hide_a_cycle() {
    let mut tree = MemoryTree::default();
    tree.insert("z/kustomization.yaml", "resources: [../c]");
    tree.insert("x/y/kustomization.yaml", "resources: [../../c]");
    tree.insert("c/kustomization.yaml", "resources: [../x]");
    tree.insert("x/kustomization.yaml", "resources: [map.yaml]");
    tree.insert("x/map.yaml", map("map", 1));
    let mut renderer = Renderer::default();
    renderer.render(&tree, "z", Options::default()).unwrap();
    let error = renderer.render(&tree, "x/y", Options::default()).unwrap_err();
    assert!(error.to_string().starts_with("cycle detected: candidate root '/x'"), "{error}");
}

#[test]
fn memory_is_bounded() {
    const LIMIT: usize = 100 << 10;
    let mut tree = MemoryTree::default();
    let mut renderer = Renderer::with_size_limit(LIMIT);
    for n in 0..400 {
        tree.insert(format!("b{n}/kustomization.yaml"), "resources: [map.yaml]");
        tree.insert(format!("b{n}/map.yaml"), map(&"m".repeat(200), n));
        tree.insert(format!("o{n}/kustomization.yaml"), format!("resources: [../b{n}]"));
        renderer.render(&tree, &format!("o{n}"), Options::default()).unwrap();
        assert!(renderer.size() <= LIMIT);
    }
    assert!(renderer.size() > LIMIT / 2);
    renderer.render(&tree, "o399", Options::default()).unwrap();
    renderer.render(&tree, "o0", Options::default()).unwrap();
    assert_eq!((renderer.counts().built, renderer.counts().reused), (401, 1));
    fn is_send<T: Send>(_: T) {}
    is_send(renderer);
}

const DIRS: [&str; 4] = ["a", "b", "c", "d"];
const FILES: [&str; 5] = ["kustomization.yaml", "one.yaml", "two.yaml", "schema.json", "Kustomization"];

/// What a file of a generated tree says: a bit for each thing that it may say.
#[derive(Clone, Debug)]
struct Change {
    dir: usize,
    file: usize,
    says: u32,
}

impl Change {
    fn apply(&self, tree: &mut MemoryTree) {
        let (dir, file, said) = (DIRS[self.dir], FILES[self.file], self.says as usize % 16);
        let path = format!("{dir}/{file}");
        match file {
            "kustomization.yaml" if said == 15 && self.says >> 20 & 3 == 0 => tree.remove(&path),
            "one.yaml" | "two.yaml" if said == 15 => tree.remove(&path),
            "one.yaml" => tree.insert(path, format!("{}---\n{}", map(dir, said), custom(dir))),
            "two.yaml" if said % 2 == 0 => tree.insert(path, map(&format!("{dir}2"), said)),
            "two.yaml" => tree.insert(path, custom(&format!("{dir}2"))),
            "schema.json" => tree.insert(path, SCHEMA),
            "kustomization.yaml" => tree.insert(path, self.kustomization()),
            _ if said == 0 => tree.insert(path, self.kustomization()),
            _ => tree.remove(&path),
        }
    }

    fn kustomization(&self) -> String {
        let said = |bit: usize| self.says >> (bit % 32) & 1 == 1;
        let mut text = "commonAnnotations: {n: o}\nresources:\n".to_owned();
        let below = (self.dir + 1..DIRS.len()).filter(|at| said(4 + at)).map(|at| format!("../{}", DIRS[at]));
        let files = (1..3).filter(|at| said(8 + at)).map(|at| FILES[at].to_owned());
        let cycle = (self.says % 64 == 9).then(|| "../a".to_owned());
        below.chain(files).chain(cycle).for_each(|entry| text.push_str(&format!("- {entry}\n")));
        let says = [
            &format!("namePrefix: {}-\n", DIRS[self.dir]),
            "buildMetadata: [originAnnotations]\n",
            "openapi: {path: schema.json}\n",
            "components: [../component]\n",
            "configMapGenerator: [{name: g, files: [one.yaml]}]\n",
            "vars: [{name: V, objref: {kind: ConfigMap, name: d, apiVersion: v1}}]\n",
            "patches: [{target: {kind: Custom}, patch: '{apiVersion: example.com/v1, kind: Custom, metadata: {name: x}, list: [{id: x}]}'}]\n",
            "commonLabels: {l: x}\n",
            "namePrefix: p-\nkind: Component\n",
        ];
        // Each is said by every fourth kustomization, the last one by every eighth.
        let rarely =
            |at: usize| said(12 + at) && said(23 + at) && (at < 8 || said(11)) && (at != 5 || self.dir == 3);
        let mut more: Vec<&str> =
            says.iter().enumerate().filter(|(at, _)| rarely(*at)).map(|(_, more)| *more).collect();
        more.truncate(if more.contains(&says[8]) { 1 } else { 9 });
        text.extend(more);
        text
    }
}

/// An object of a kind that only the schema of the tree knows.
fn custom(name: &str) -> String {
    format!("apiVersion: example.com/v1\nkind: Custom\nmetadata: {{name: {name}}}\nlist: [{{id: {name}}}]\n")
}

const SCHEMA: &str = r#"{"definitions": {"Custom": {"type": "object", "properties": {"list": {"type": "array",
    "items": {"type": "object"}, "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "id"}},
    "x-kubernetes-group-version-kind":
    [{"group": "example.com", "version": "v1", "kind": "Custom"}]}}}"#;

fn change() -> impl Strategy<Value = Change> {
    (0..DIRS.len(), 0..FILES.len(), any::<u32>()).prop_map(|(dir, file, says)| Change { dir, file, says })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn rendering_is_building(start in any::<[u32; 20]>(), then in prop::collection::vec(change(), 12)) {
        let mut tree = MemoryTree::default();
        tree.insert("component/kustomization.yaml", "kind: Component\nnameSuffix: -c\n");
        for (at, says) in start.into_iter().enumerate() {
            Change { dir: at % DIRS.len(), file: at / DIRS.len(), says }.apply(&mut tree);
        }
        let mut renderers = [Renderer::default(), Renderer::with_size_limit(20_000)];
        for change in then {
            change.apply(&mut tree);
            for dir in DIRS {
                for unrestricted in [false, true] {
                    let options = Options { unrestricted, ..Options::default() };
                    let fresh = build(&tree, dir, options);
                    for renderer in &mut renderers {
                        let rendered = renderer.render(&tree, dir, options).map(|build| (*build).clone());
                        prop_assert_eq!(&rendered, &fresh);
                    }
                }
            }
        }
    }
}
