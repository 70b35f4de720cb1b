//! The shape of a generated tree: layers that use one another, each with objects and entries. What an object or an
//! entry says follows from a seed of its own, so that shrinking takes away whole parts and leaves the others alone.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;

use crate::dice::{Dice, NAMES, NAMESPACES};
use crate::entries::{self, Entry, Shape};
use crate::objects::{FORMS, Form, METADATA};
use crate::template::{Places, expand, indented};

/// Files by their paths.
pub(crate) type Files = BTreeMap<String, String>;

/// An object's name, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    /// `""` where none is written.
    pub(crate) namespace: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    layers: Vec<Layer>,
}

#[derive(Clone, Debug)]
struct Layer {
    seed: u64,
    component: bool,
    objects: Vec<u64>,
    entries: Vec<u64>,
}

/// A tree of files and the directory to build.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) files: Files,
    pub(crate) dir: String,
}

#[allow(dead_code, reason = "for inputs that are shrunk")]
pub(crate) fn plans() -> impl Strategy<Value = Plan> {
    let base = layer(1, 6, 3);
    (base, vec(layer(0, 3, 6), 0..4)).prop_map(|(base, others)| {
        let mut layers = vec![base];
        layers.extend(others);
        Plan { layers }
    })
}

/// A plan without a strategy behind it.
#[allow(dead_code, reason = "for inputs that are not shrunk")]
pub(crate) fn random(dice: &mut Dice) -> Case {
    let layers = (0..=dice.below(3)).map(|index| {
        let seeds = |dice: &mut Dice, count: usize| (0..count).map(|_| dice.next()).collect();
        let objects = usize::from(index == 0) + dice.below(4);
        let entries = dice.below(6);
        Layer {
            seed: dice.next(),
            component: dice.once_in(8),
            objects: seeds(dice, objects),
            entries: seeds(dice, entries),
        }
    });
    Plan { layers: layers.collect() }.case()
}

fn layer(at_least: usize, objects: usize, entries: usize) -> impl Strategy<Value = Layer> {
    let seed = any::<u64>().no_shrink();
    let component = prop::bool::weighted(0.15);
    let objects = vec(any::<u64>().no_shrink(), at_least..=objects);
    let entries = vec(any::<u64>().no_shrink(), 0..=entries);
    (seed, component, objects, entries).prop_map(|(seed, component, objects, entries)| Layer {
        seed,
        component,
        objects,
        entries,
    })
}

/// What is known of a layer that was written.
struct Written {
    component: bool,
    objects: Vec<Known>,
    /// The layers whose objects come with it, itself included.
    reach: BTreeSet<usize>,
}

impl Plan {
    pub(crate) fn case(&self) -> Case {
        let mut files = Files::new();
        let mut written: Vec<Written> = vec![];
        let mut forms =
            self.layers.iter().flat_map(|layer| &layer.objects).map(|seed| form(&mut Dice::new(*seed)));
        let stateful = forms.any(|form| form.kind == "StatefulSet");
        for (index, layer) in self.layers.iter().enumerate() {
            let last = index + 1 == self.layers.len();
            written.push(layer.write(index, last, stateful, &written, &mut files));
        }
        Case { files, dir: directory(self.layers.len() - 1) }
    }
}

fn directory(index: usize) -> String {
    format!("l{index}")
}

impl Layer {
    fn write(
        &self,
        index: usize,
        last: bool,
        stateful: bool,
        written: &[Written],
        files: &mut Files,
    ) -> Written {
        let mut dice = Dice::new(self.seed);
        let component = self.component && !last;
        let mut reach = BTreeSet::from([index]);
        let (mut resources, mut components) = (vec![], vec![]);
        for other in uses(&mut dice, component, written) {
            reach.extend(&written[other].reach);
            let list = if written[other].component { &mut components } else { &mut resources };
            list.push(format!("../{}", directory(other)));
        }
        let named = self.name_objects(written);
        let mut known: Vec<Known> = named.iter().map(|(_, known)| known.clone()).collect();
        for (other, layer) in written.iter().enumerate() {
            if component || reach.contains(&other) {
                known.extend(layer.objects.iter().cloned());
            }
        }
        let dir = directory(index);
        resources.extend(write_objects(&mut dice, &named, &known, &dir, files));
        let mut out = head(&mut dice, component);
        out.push_str(&list_field("resources", &resources));
        out.push_str(&list_field("components", &components));
        let mut layout = entries::Layout { known: &known, dir: &dir, files, count: 0, stateful };
        let entries: Vec<Entry> =
            self.entries.iter().map(|seed| entries::entry(&mut Dice::new(*seed), &mut layout)).collect();
        out.push_str(&fields(&entries));
        if out.trim().is_empty() {
            out.push_str("resources: []\n");
        }
        files.insert(format!("{dir}/kustomization.yaml"), out);
        Written { component, objects: named.into_iter().map(|(_, known)| known).collect(), reach }
    }

    /// Gives each object of the layer a name, most of the time one that is not taken.
    fn name_objects(&self, written: &[Written]) -> Vec<(&'static Form, Known)> {
        let mut named: Vec<(&'static Form, Known)> = vec![];
        for seed in &self.objects {
            let mut dice = Dice::new(*seed);
            let form = form(&mut dice);
            let namespace = if form.namespaced && dice.once_in(3) { dice.pick(NAMESPACES) } else { "" };
            let mut name = dice.pick(NAMES).to_owned();
            let taken = |name: &str| {
                let others = written.iter().flat_map(|layer| &layer.objects);
                let mut all = others.chain(named.iter().map(|(_, known)| known));
                all.any(|known| known.kind == form.kind && known.name == name)
            };
            let careless = dice.once_in(40);
            while !careless && taken(&name) {
                name.push('x');
            }
            named.push((
                form,
                Known {
                    api_version: form.api_version.to_owned(),
                    kind: form.kind.to_owned(),
                    name,
                    namespace: namespace.to_owned(),
                },
            ));
        }
        named
    }
}

/// The first forms are what most repositories have.
fn form(dice: &mut Dice) -> &'static Form {
    let limit = if dice.once_in(2) { 7 } else { FORMS.len() };
    &FORMS[dice.below(limit)]
}

/// The layers below that a layer uses: the last one, seldom none, seldom one more.
fn uses(dice: &mut Dice, component: bool, written: &[Written]) -> Vec<usize> {
    let mut chosen: Vec<usize> = vec![];
    let mut reach: BTreeSet<usize> = BTreeSet::new();
    for other in (0..written.len()).rev() {
        // A component changes what its user brings; with a base of its own it would bring that twice.
        let odds = if component {
            12
        } else if reach.contains(&other) {
            15
        } else {
            1
        };
        if dice.once_in(odds) {
            chosen.push(other);
            reach.extend(&written[other].reach);
        }
    }
    chosen.reverse();
    chosen
}

fn head(dice: &mut Dice, component: bool) -> String {
    if component {
        return "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n".to_owned();
    }
    if dice.once_in(2) {
        return String::new();
    }
    "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n".to_owned()
}

fn write_objects(
    dice: &mut Dice,
    named: &[(&Form, Known)],
    known: &[Known],
    dir: &str,
    files: &mut Files,
) -> Vec<String> {
    let mut paths: Vec<String> = vec![];
    for (index, (form, subject)) in named.iter().enumerate() {
        let text = object(dice, form, subject, known);
        let (path, separator) = if dice.once_in(3) {
            ("several.yaml".to_owned(), "---\n")
        } else {
            (format!("{}-{index}.yaml", subject.kind.to_lowercase()), "")
        };
        let file = files.entry(format!("{dir}/{path}")).or_default();
        file.push_str(separator);
        file.push_str(&text);
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
}

fn object(dice: &mut Dice, form: &Form, subject: &Known, known: &[Known]) -> String {
    let places = Places { subject: Some(subject), known };
    let namespace = if subject.namespace.is_empty() {
        String::new()
    } else {
        format!("  namespace: {}\n", subject.namespace)
    };
    format!(
        "apiVersion: {}\nkind: {}\nmetadata:\n  name: {}\n{namespace}{}{}",
        subject.api_version,
        subject.kind,
        subject.name,
        expand(METADATA, dice, &places),
        expand(form.body, dice, &places),
    )
}

fn list_field(name: &str, items: &[String]) -> String {
    let lines: String = items.iter().map(|item| format!("- {item}\n")).collect();
    if lines.is_empty() { lines } else { format!("{name}:\n{lines}") }
}

/// Entries of one field become one field.
fn fields(entries: &[Entry]) -> String {
    let mut out = String::new();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for entry in entries {
        if !done.insert(entry.field) {
            continue;
        }
        let same = entries.iter().filter(|other| other.field == entry.field);
        match entry.shape {
            Shape::Whole => out.push_str(&entry.text),
            Shape::Items => {
                out.push_str(&format!("{}:\n", entry.field));
                same.for_each(|other| out.push_str(&other.text));
            }
            Shape::Pairs => {
                out.push_str(&format!("{}:\n", entry.field));
                let mut names = BTreeSet::new();
                for other in same {
                    let name = other.text.split(':').next().unwrap_or_default().to_owned();
                    if names.insert(name) {
                        out.push_str(&indented(&other.text, 2));
                    }
                }
            }
        }
    }
    out
}
