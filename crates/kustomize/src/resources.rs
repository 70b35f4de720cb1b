//! The resources of a build, in order.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::id::Id;
use crate::resource::{Behavior, Resource};
use crate::schema::Schema;
use crate::{Error, RESOURCE_LIMIT};

/// Resources in the order in which they came; no two have the same current id when they are added.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resources {
    list: Vec<Resource>,
    /// Hashes of the kinds and names of all resources, so that adding one does not mean a look at each; none while it
    /// is not known what has changed.
    known: Option<HashSet<u64>>,
}

impl Resources {
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Resource> {
        self.list.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Resource> {
        self.known = None;
        self.list.iter_mut()
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Resource> {
        self.list.get(index)
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut Resource> {
        self.known = None;
        self.list.get_mut(index)
    }

    pub(crate) fn into_list(self) -> Vec<Resource> {
        self.list
    }

    /// Resources as they are, without a look at their ids.
    pub(crate) fn from_list(list: Vec<Resource>) -> Self {
        Self { list, known: None }
    }

    pub(crate) fn retain(&mut self, keep: impl FnMut(&Resource) -> bool) {
        self.known = None;
        self.list.retain(keep);
    }

    /// Adds a resource; its current id must be new.
    pub(crate) fn append(&mut self, resource: Resource, schema: &Schema) -> Result<(), Error> {
        // The schema has to see this question for every resource: what it was asked decides what it knows later.
        let id = resource.id(schema);
        let list = &self.list;
        let known = self.known.get_or_insert_with(|| list.iter().map(kind_and_name).collect());
        let is_new = known.insert(kind_and_name(&resource));
        let mut same = list.iter().filter(|other| other.name() == &*id.name && other.id(schema).same(&id));
        if !is_new && same.next().is_some() {
            return Err(Error::Conflict(format!("may not add resource with an already registered id: {id}")));
        }
        if self.list.len() >= RESOURCE_LIMIT {
            return Err(Error::Limit { what: "resources", limit: RESOURCE_LIMIT });
        }
        self.list.push(resource);
        Ok(())
    }

    pub(crate) fn append_all(
        &mut self,
        more: impl IntoIterator<Item = Resource>,
        schema: &Schema,
    ) -> Result<(), Error> {
        more.into_iter().try_for_each(|resource| self.append(resource, schema))
    }

    /// Adds a generated resource, or puts it in the place of the one that has or had its name, as its behavior says.
    pub(crate) fn absorb(&mut self, mut new: Resource, schema: &Schema) -> Result<(), Error> {
        let id = new.id(schema);
        let matches = self.by_any_name(&id, schema);
        let index = match (matches.as_slice(), new.behavior) {
            ([], Behavior::Merge | Behavior::Replace) => {
                return Err(Error::Conflict(format!("id {id} does not exist; cannot merge or replace")));
            }
            ([], _) => return self.append(new, schema),
            ([index], Behavior::Merge | Behavior::Replace) => *index,
            ([_], behavior) => {
                return Err(Error::Conflict(format!(
                    "id {id} exists; can not use behavior: '{behavior}', behavior must be merge or replace"
                )));
            }
            (many, _) => {
                let found: Vec<String> =
                    many.iter().filter_map(|at| Some(self.get(*at)?.id(schema).to_string())).collect();
                let found = found.join(", ");
                return Err(Error::Conflict(format!(
                    "found multiple objects [{found}] that could accept merge of {id}"
                )));
            }
        };
        if let Some(old) = self.get(index) {
            let merge = new.behavior == Behavior::Merge;
            new.take_identity(old, merge);
            if merge {
                new.take_data(old);
            }
        }
        self.replace(index, new, schema)
    }

    pub(crate) fn absorb_all(
        &mut self,
        more: impl IntoIterator<Item = Resource>,
        schema: &Schema,
    ) -> Result<(), Error> {
        more.into_iter().try_for_each(|resource| self.absorb(resource, schema))
    }

    /// Puts a resource in the place of the only one with its current id.
    fn replace(&mut self, index: usize, new: Resource, schema: &Schema) -> Result<(), Error> {
        let id = new.id(schema);
        let mut same = self
            .list
            .iter()
            .enumerate()
            .filter(|(_, other)| other.name() == &*id.name && other.id(schema).same(&id));
        let problem = match (same.next(), same.next()) {
            (None, _) => format!("cannot find resource with id {id} to replace"),
            (Some(_), Some(_)) => format!("in Replace: id {id} matched {} resources", 2 + same.count()),
            (Some((found, _)), None) if found != index => "unexpected target index in replacement".to_owned(),
            _ => {
                self.known = None;
                self.list.splice(index..=index, [new]);
                return Ok(());
            }
        };
        Err(Error::Conflict(problem))
    }

    /// Positions of the resources that have or have had this name.
    fn by_any_name(&self, id: &Id, schema: &Schema) -> Vec<usize> {
        // Most have never had the name: that is seen without making ids.
        let had = |resource: &Resource| {
            resource.name() == &*id.name || resource.previous.iter().any(|previous| previous.name == id.name)
        };
        let found = self.list.iter().enumerate().filter(|(_, resource)| {
            had(resource)
                && !resource.node.is_nil_or_empty()
                && resource.any_id(schema, |other| other.same(id))
        });
        found.map(|(index, _)| index).collect()
    }

    /// Positions of the resources that have or have had a name that satisfies a condition.
    pub(crate) fn by_any_id(&self, schema: &Schema, fits: impl Fn(&Id) -> bool) -> Vec<usize> {
        let found = self
            .list
            .iter()
            .enumerate()
            .filter(|(_, resource)| !resource.node.is_nil_or_empty() && resource.any_id(schema, &fits));
        found.map(|(index, _)| index).collect()
    }
}

fn kind_and_name(resource: &Resource) -> u64 {
    let mut hasher = DefaultHasher::new();
    (resource.kind(), resource.name()).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
