//! The resources of a build, in order.

use crate::id::Id;
use crate::resource::{Behavior, Resource};
use crate::schema::Schema;
use crate::{Error, RESOURCE_LIMIT};

/// Resources in the order in which they came; no two have the same current id when they are added.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resources {
    list: Vec<Resource>,
}

impl Resources {
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Resource> {
        self.list.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Resource> {
        self.list.iter_mut()
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Resource> {
        self.list.get(index)
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut Resource> {
        self.list.get_mut(index)
    }

    pub(crate) fn into_list(self) -> Vec<Resource> {
        self.list
    }

    /// Resources as they are, without a look at their ids.
    pub(crate) fn from_list(list: Vec<Resource>) -> Self {
        Self { list }
    }

    pub(crate) fn retain(&mut self, keep: impl FnMut(&Resource) -> bool) {
        self.list.retain(keep);
    }

    /// Adds a resource; its current id must be new.
    pub(crate) fn append(&mut self, resource: Resource, schema: &Schema) -> Result<(), Error> {
        let id = resource.id(schema);
        if self.list.iter().any(|other| other.name() == &*id.name && other.id(schema).same(&id)) {
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

#[cfg(test)]
mod tests;
