//! Fields that change together: the value of a label or annotation that kustomize adds to several maps of an object is
//! one value for it, so that whatever changes one of these fields later changes the others, too. Fields that were
//! there before stay on their own.

use std::sync::Arc;

use crate::few::Few;
use crate::node::{Node, Text};

/// One such value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Twins {
    text: Text,
    /// Where it stands, sorted as kustomize walks.
    places: Vec<Vec<Place>>,
}

/// A step to a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Field(Text),
    Item(usize),
}

impl Twins {
    /// The fields that have this very text, if there are several.
    pub(crate) fn find(object: &Node, text: &Text) -> Option<Self> {
        let mut places = vec![];
        collect(object, text, &mut vec![], &mut places);
        places.sort();
        (places.len() > 1).then(|| Self { text: text.clone(), places })
    }

    /// Makes all fields what one of them became since they were set, the last one if there are several.
    fn settle(&self, object: &mut Node) -> Option<Self> {
        let changed = |place: &Vec<Place>| {
            let scalar = at(object, place)?.as_scalar()?;
            (scalar.text != self.text).then(|| scalar.clone())
        };
        let new = self.places.iter().rev().find_map(changed)?;
        for place in &self.places {
            if at(object, place).and_then(Node::as_scalar).is_some_and(|scalar| *scalar != new)
                && let Some(node) = at_mut(object, place)
            {
                *node = Node::Scalar(new.clone());
            }
        }
        Some(Self { text: new.text, places: self.places.clone() })
    }
}

/// After a step: see [`Twins`].
pub(crate) fn settle(object: &mut Node, twins: &mut [Arc<Twins>]) {
    for twins in twins {
        if let Some(settled) = twins.settle(object) {
            *twins = Arc::new(settled);
        }
    }
}

/// The values of a map are made anew, and so stand alone.
pub(crate) fn detach(twins: &mut Few<Arc<Twins>>, map: &[&str]) {
    let is_in_map = |place: &Vec<Place>| {
        let same = |(step, name): (&Place, &&str)| matches!(step, Place::Field(field) if &**field == *name);
        place.len() > map.len() && place.iter().zip(map).all(same)
    };
    if !twins.iter().any(|twins| twins.places.iter().any(is_in_map)) {
        return;
    }
    let left = twins.iter().map(|twins| {
        let places = twins.places.iter().filter(|place| !is_in_map(place)).cloned().collect();
        Twins { text: twins.text.clone(), places }
    });
    let left: Vec<_> = left.filter(|twins| twins.places.len() > 1).map(Arc::new).collect();
    *twins = left.into();
}

fn collect(node: &Node, text: &Text, path: &mut Vec<Place>, places: &mut Vec<Vec<Place>>) {
    match node {
        Node::Scalar(scalar) if Arc::ptr_eq(&scalar.text, text) => places.push(path.clone()),
        Node::Scalar(_) => {}
        Node::List(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(Place::Item(index));
                collect(item, text, path, places);
                path.pop();
            }
        }
        Node::Map(map) => {
            for (name, item) in map.iter() {
                path.push(Place::Field(name.clone()));
                collect(item, text, path, places);
                path.pop();
            }
        }
    }
}

fn at<'n>(object: &'n Node, place: &[Place]) -> Option<&'n Node> {
    place.iter().try_fold(object, |node, step| match step {
        Place::Field(name) => node.get(name),
        Place::Item(index) => node.as_list()?.get(*index),
    })
}

fn at_mut<'n>(object: &'n mut Node, place: &[Place]) -> Option<&'n mut Node> {
    place.iter().try_fold(object, |node, step| match step {
        Place::Field(name) => node.get_mut(name),
        Place::Item(index) => node.as_list_mut()?.get_mut(*index),
    })
}
