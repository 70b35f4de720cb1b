//! Lists whose items are told apart by keys, or are texts that do so themselves.
//!
//! The steps are kyaml's, one by one, because its results for irregular lists (items without a key, two items with one
//! key, keys that only some items have) follow from nothing else. Regular lists that no patch touches take a short cut.

use super::{Directive, Merge, Outcome, Source, directive, is_absent, wrong_kind};
use crate::node::{Node, Text};
use crate::schema::Facts;

/// The item of a list of texts: its own key.
const ITSELF: &str = "";

/// Both sides of a merge. Items change in place, as a later key may look them up again.
struct Sides {
    target: Vec<Node>,
    source: SourceItems,
}

enum SourceItems {
    Missing,
    /// The target's own.
    Same,
    Items(Vec<Node>),
}

impl<'a> Merge<'a> {
    pub(super) fn keyed_list(
        &self,
        target: Option<&Node>,
        source: Source,
        facts: Option<Facts<'a>>,
        keys: &[&str],
    ) -> Result<Outcome, String> {
        let (base, source) = match (target.filter(|target| !is_absent(Some(target))), source) {
            (None, Source::Node(node)) => (node, SourceItems::Same),
            (None, _) => return Ok(Outcome::Gone),
            (Some(_), Source::Node(node)) if is_absent(Some(&node)) => return Ok(Outcome::Gone),
            (Some(target), Source::Missing) => (target.clone(), SourceItems::Missing),
            (Some(target), source) => {
                let (directive, over) = match source {
                    Source::Node(node) => {
                        let (directive, node) = take_directive(node)?;
                        (directive, Some(node))
                    }
                    _ => (Directive::Merge, None),
                };
                match (directive, over) {
                    (_, None) => match take_directive(target.clone())? {
                        (Directive::Delete, _) => return Ok(Outcome::Gone),
                        (_, target) => (target, SourceItems::Same),
                    },
                    (Directive::Delete, _) => return Ok(Outcome::Gone),
                    (Directive::Replace, Some(node)) => (node, SourceItems::Same),
                    (Directive::Merge, Some(node)) => (target.clone(), SourceItems::of(&node)),
                }
            }
        };
        let items = facts.and_then(Facts::items);
        if !matches!(source, SourceItems::Items(_))
            && let Some(regular) = self.regular_list(&base, &source, items, keys)?
        {
            return Ok(Outcome::Target(regular));
        }
        let sides = Sides { target: base.as_list().unwrap_or_default().to_vec(), source };
        self.irregular_list(sides, items, keys).map(|merged| Outcome::Target(Node::list(merged)))
    }

    /// A list that no patch touches and whose items all have keys of their own keeps its order. None: it is not such.
    fn regular_list(
        &self,
        list: &Node,
        source: &SourceItems,
        facts: Option<Facts<'a>>,
        keys: &[&str],
    ) -> Result<Option<Node>, String> {
        let items = list.as_list().unwrap_or_default();
        if !all_told_apart(items, keys) {
            return Ok(None);
        }
        let mut merged = list.clone();
        for (index, item) in items.iter().enumerate() {
            let source = if matches!(source, SourceItems::Same) { Source::Same } else { Source::Missing };
            match self.walk(Some(item), source, facts)? {
                Outcome::Target(node) | Outcome::Source(node) if !is_nothing(&node) => {
                    if !node.is_same(item)
                        && let Some(place) = merged.as_list_mut().and_then(|items| items.get_mut(index))
                    {
                        *place = node;
                    }
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(merged))
    }

    fn irregular_list(
        &self,
        mut sides: Sides,
        facts: Option<Facts<'a>>,
        keys: &[&str],
    ) -> Result<Vec<Node>, String> {
        let (mut all, keys) = match keys {
            [] => (sides.texts(), &[ITSELF][..]),
            keys => (sides.values(keys), keys),
        };
        if keys.len() > 1 {
            unite(&mut all);
        }
        let mut merged = vec![];
        let mut last_keys = vec![];
        for values in &all {
            let (keys, values) = usable(&all, values, keys);
            if let Some(mut item) = self.item(&mut sides, facts, &keys, &values)? {
                complete(&mut item.node, &keys, &values);
                set_item(&mut merged, &keys, &values, Some(&item.node))?;
                sides.put_back(item);
            } else {
                set_item(&mut sides.target, &keys, &values, None)?;
            }
            last_keys = keys;
        }
        if all.is_empty() { Ok(sides.target) } else { append(merged, &sides.target, &last_keys) }
    }

    /// Merges the two sides' items with these keys. None: nothing is left.
    fn item(
        &self,
        sides: &mut Sides,
        facts: Option<Facts<'a>>,
        keys: &[&str],
        values: &[Text],
    ) -> Result<Option<Item>, String> {
        let all = [values.to_vec()];
        let (keys, values) = usable(&all, values, keys);
        let at = find(&sides.target, &keys, &values);
        let target = at.and_then(|at| sides.target.get(at)).cloned();
        let (over, source) = match &sides.source {
            SourceItems::Missing => (None, Source::Missing),
            SourceItems::Same if at.is_none() => (None, Source::Missing),
            SourceItems::Same => (at, Source::Same),
            SourceItems::Items(items) => {
                let over = find(items, &keys, &values);
                let node = over.and_then(|over| items.get(over)).cloned();
                (over, node.map_or(Source::Missing, Source::Node))
            }
        };
        let item = match self.walk(target.as_ref(), source, facts)? {
            Outcome::Gone => {
                sides.spend_directive(over);
                None
            }
            Outcome::Target(node) => Some(Item { node, at, of_target: true }),
            Outcome::Source(node) => Some(Item { node, at: over, of_target: false }),
        };
        Ok(item.filter(|item| !is_nothing(&item.node)))
    }
}

/// A merged item and whose place it has.
struct Item {
    node: Node,
    at: Option<usize>,
    of_target: bool,
}

impl SourceItems {
    fn of(node: &Node) -> Self {
        node.as_list().map_or(Self::Missing, |items| Self::Items(items.to_vec()))
    }
}

impl Sides {
    /// The source's items, then the target's.
    fn items(&self) -> impl Iterator<Item = &Node> {
        let source = match &self.source {
            SourceItems::Items(items) => items.as_slice(),
            SourceItems::Same | SourceItems::Missing => &[],
        };
        source.iter().chain(&self.target)
    }

    /// Every combination of the keys' values, once, `""` for a key that an item lacks.
    fn values(&self, keys: &[&str]) -> Vec<Vec<Text>> {
        let of = |item: &Node| keys.iter().map(|key| key_of(item, key)).collect();
        distinct(self.items().map(of))
    }

    /// Every text, once.
    fn texts(&self) -> Vec<Vec<Text>> {
        distinct(self.items().map(|item| vec![text_of(item)]))
    }

    /// A directive counts once: the item that had it is without it should it be met again.
    fn spend_directive(&mut self, at: Option<usize>) {
        let items = match &mut self.source {
            SourceItems::Items(items) => items,
            _ => &mut self.target,
        };
        if let Some(item) = at.and_then(|at| items.get_mut(at)) {
            item.remove(super::DIRECTIVE);
        }
    }

    fn put_back(&mut self, item: Item) {
        let items = match &mut self.source {
            SourceItems::Items(items) if !item.of_target => items,
            _ => &mut self.target,
        };
        if let Some(place) = item.at.and_then(|at| items.get_mut(at)) {
            *place = item.node;
        }
    }
}

fn distinct(all: impl Iterator<Item = Vec<Text>>) -> Vec<Vec<Text>> {
    let mut seen = std::collections::HashSet::new();
    all.filter(|values| seen.insert(values.clone())).collect()
}

/// The text of a scalar; `""` for anything else.
fn text_of(node: &Node) -> Text {
    node.as_scalar().map_or_else(|| Text::from(""), |scalar| scalar.text.clone())
}

fn key_of(item: &Node, key: &str) -> Text {
    match item.get(key) {
        Some(value) if !is_absent(Some(value)) => text_of(value),
        _ => Text::from(""),
    }
}

/// Null, or a map of nothing.
fn is_nothing(node: &Node) -> bool {
    is_absent(Some(node)) || node.as_map().is_some_and(crate::node::Map::is_empty)
}

/// Whether no two items have the same values of the keys. Every item has to have the same keys, at least one.
fn all_told_apart(items: &[Node], keys: &[&str]) -> bool {
    let mut seen = std::collections::HashSet::with_capacity(items.len());
    let mut first: Option<Vec<bool>> = None;
    items.iter().all(|item| {
        let values: Vec<Text> = match keys {
            [] if item.as_scalar().is_none() || is_absent(Some(item)) => return false,
            [] => vec![text_of(item)],
            keys => keys.iter().map(|key| key_of(item, key)).collect(),
        };
        let used: Vec<bool> = values.iter().map(|value| !value.is_empty()).collect();
        let alike = first.get_or_insert_with(|| used.clone()) == &used;
        alike && used.contains(&true) && seen.insert(values)
    })
}

/// Two combinations of which one lacks what the other has, and that agree elsewhere, become one. Each is compared as it
/// was when its turn came.
fn unite(all: &mut [Vec<Text>]) {
    for first in 0..all.len() {
        let own = all[first].clone();
        for second in 0..all.len() {
            if let Some(both) = united(&own, &all[second]) {
                all[first].clone_from(&both);
                all[second] = both;
            }
        }
    }
}

fn united(a: &[Text], b: &[Text]) -> Option<Vec<Text>> {
    let mut agree = false;
    let mut both = Vec::with_capacity(a.len());
    for (a, b) in a.iter().zip(b) {
        if a == b {
            agree = true;
        } else if !a.is_empty() && !b.is_empty() {
            return None;
        }
        both.push(if a.is_empty() { b.clone() } else { a.clone() });
    }
    agree.then_some(both)
}

/// The keys that any item has, with their values; all keys if none has any.
fn usable<'k>(all: &[Vec<Text>], values: &[Text], keys: &[&'k str]) -> (Vec<&'k str>, Vec<Text>) {
    let used = |at: usize| all.iter().any(|values| values.get(at).is_some_and(|value| !value.is_empty()));
    let places: Vec<usize> = (0..keys.len()).filter(|at| used(*at)).collect();
    if places.is_empty() {
        return (keys.to_vec(), values.to_vec());
    }
    (places.iter().map(|at| keys[*at]).collect(), places.iter().map(|at| values[*at].clone()).collect())
}

/// The first item whose keys have exactly these values.
fn find(items: &[Node], keys: &[&str], values: &[Text]) -> Option<usize> {
    if keys.first() == Some(&ITSELF) {
        return items.iter().position(|item| text_of(item) == values[0]);
    }
    items.iter().position(|item| {
        keys.iter()
            .zip(values)
            .all(|(key, value)| item.get(key).is_some_and(|field| text_of(field) == *value))
    })
}

/// Gives an item the keys that it was found by and lacks.
fn complete(item: &mut Node, keys: &[&str], values: &[Text]) {
    for (key, value) in keys.iter().zip(values) {
        if !value.is_empty()
            && item.get(key).is_none()
            && let Some(map) = item.as_map_mut()
        {
            map.put(key, Node::implicit(value.clone()));
        }
    }
}

/// Replaces (or without an element removes) the items with these keys; a new one comes to the end. A value of `""` fits
/// any value, a key without a value fits if the one before it did. Without any value all items are dropped.
fn set_item(
    items: &mut Vec<Node>,
    keys: &[&str],
    values: &[Text],
    element: Option<&Node>,
) -> Result<(), String> {
    let wants_maps = keys.first().is_some_and(|key| !key.is_empty())
        && values.first().is_some_and(|value| !value.is_empty());
    let mut found = false;
    let mut kept = Vec::with_capacity(items.len() + 1);
    for item in items.drain(..) {
        if is_nothing(&item) {
            continue;
        }
        if wants_maps && item.as_map().is_none() {
            kept.push(item);
            continue;
        }
        let mut fits = !values.is_empty();
        for (key, value) in keys.iter().zip(values) {
            fits = fits && has(&item, key, value)?;
        }
        if !fits {
            if !values.is_empty() {
                kept.push(item);
            }
            continue;
        }
        found = true;
        kept.extend(element.cloned());
    }
    *items = kept;
    if let Some(element) = element
        && !found
        && !is_absent(Some(element))
    {
        items.push(element.clone());
    }
    Ok(())
}

fn has(item: &Node, key: &str, value: &str) -> Result<bool, String> {
    if key == ITSELF {
        let text = item.text().ok_or_else(|| wrong_kind("ScalarNode", item))?;
        return Ok(text == value);
    }
    if item.as_map().is_none() {
        return Err(wrong_kind("MappingNode", item));
    }
    Ok(item.get(key).is_some_and(|field| value.is_empty() || *text_of(field) == *value))
}

/// The merged items, and behind them those of the target that were not among them.
fn append(mut merged: Vec<Node>, target: &[Node], keys: &[&str]) -> Result<Vec<Node>, String> {
    for item in target {
        if keys.first() == Some(&ITSELF) {
            set_item(&mut merged, keys, &[text_of(item)], Some(item))?;
            continue;
        }
        if !is_absent(Some(item)) && item.as_map().is_none() {
            return Err(wrong_kind("MappingNode", item));
        }
        let mut values = vec![];
        for key in keys {
            match item.get(key) {
                Some(value) => values.push(text_of(value)),
                None => merged.push(item.clone()),
            }
        }
        // With several keys an item goes behind the others even if it was there.
        if keys.len() > 1 {
            set_item(&mut merged, keys, &values, None)?;
        }
        set_item(&mut merged, keys, &values, Some(item))?;
    }
    Ok(merged)
}

/// Reads what an item `$patch: …` alone says of the list, and removes all items that say so.
fn take_directive(list: Node) -> Result<(Directive, Node), String> {
    let items = list.as_list().unwrap_or_default();
    let said = items.iter().find_map(|item| Some((item, item.get(super::DIRECTIVE)?)));
    let Some((item, value)) = said else { return Ok((Directive::Merge, list)) };
    if item.as_map().is_some_and(|map| map.len() > 1) {
        return Ok((Directive::Merge, list));
    }
    let text = text_of(value);
    let directive = directive(&text)?;
    let mut items = items.to_vec();
    set_item(&mut items, &[super::DIRECTIVE], &[text], None)?;
    Ok((directive, Node::list(items)))
}
