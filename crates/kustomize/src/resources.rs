//! The resources of a build, in order.

mod changed;
mod names;

use std::collections::HashSet;

use self::changed::Changed;
use self::names::Names;
use crate::id::Id;
use crate::node::Text;
use crate::resource::{Behavior, Resource};
use crate::schema::Schema;
use crate::twins;
use crate::{Error, RESOURCE_LIMIT};

/// Resources in the order in which they came; no two have the same current id when they are added.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resources {
    list: Vec<Resource>,
    names: Names,
    /// Since the last [`Resources::drop_empty`] and [`Resources::settle_twins`].
    unchecked: Changed,
    unsettled: Changed,
}

impl Resources {
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Resource> {
        self.list.iter()
    }

    /// All, to change. What changes few of many asks for these alone.
    pub(crate) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Resource> {
        self.names.forget();
        self.unchecked.add_all();
        self.unsettled.add_all();
        self.list.iter_mut()
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Resource> {
        self.list.get(index)
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut Resource> {
        self.changed(index);
        self.list.get_mut(index)
    }

    pub(crate) fn into_list(self) -> Vec<Resource> {
        self.list
    }

    /// Resources as they are, without a look at their ids.
    pub(crate) fn from_list(list: Vec<Resource>) -> Self {
        let (unchecked, unsettled) = (Changed::everything(), Changed::everything());
        Self { list, names: Names::default(), unchecked, unsettled }
    }

    pub(crate) fn retain(&mut self, keep: impl FnMut(&Resource) -> bool) {
        let before = self.list.len();
        self.list.retain(keep);
        if self.list.len() != before {
            self.names.forget();
            self.unchecked.add_all();
            self.unsettled.add_all();
        }
    }

    fn changed(&mut self, position: usize) {
        self.names.changed(position);
        self.unchecked.add(position);
        self.unsettled.add(position);
    }

    /// Drops what a change made null or empty.
    pub(crate) fn drop_empty(&mut self) {
        let is_empty = |resource: &Resource| resource.node.is_nil_or_empty();
        let changed = self.unchecked.take(self.list.len());
        if changed.into_iter().filter_map(|at| self.list.get(at)).any(is_empty) {
            self.retain(|resource| !is_empty(resource));
        }
    }

    /// Fields that change together do so. No name is among them.
    pub(crate) fn settle_twins(&mut self) {
        for position in self.unsettled.take(self.list.len()) {
            if let Some(resource) = self.list.get_mut(position).filter(|resource| !resource.twins.is_empty())
            {
                twins::settle(&mut resource.node, resource.twins.as_mut_slice());
            }
        }
    }

    /// Whether no two resources have the same current id; the error names the first one that does.
    pub(crate) fn check_unique(&self, schema: &Schema) -> Result<(), String> {
        let mut seen = HashSet::with_capacity(self.list.len());
        for resource in &self.list {
            let id = resource.id(schema);
            if !seen.insert((id.gvk.clone(), id.name.clone(), Text::from(id.effective_namespace()))) {
                return Err(format!("may not add resource with an already registered id: {id}"));
            }
        }
        Ok(())
    }

    /// Adds a resource; its current id must be new.
    pub(crate) fn append(&mut self, resource: Resource, schema: &Schema) -> Result<(), Error> {
        // The schema has to see this question for every resource: what it was asked decides what it knows later.
        let id = resource.id(schema);
        if !self.by_name(&id, schema).is_empty() {
            return Err(Error::Conflict(format!("may not add resource with an already registered id: {id}")));
        }
        if self.list.len() >= RESOURCE_LIMIT {
            return Err(Error::Limit { what: "resources", limit: RESOURCE_LIMIT });
        }
        self.changed(self.list.len());
        if self.list.len() == self.list.capacity() {
            // Resources are large: doubling the room would waste much of it.
            self.list.reserve_exact(4 + self.list.len() / 4);
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
        let same = self.by_name(&id, schema);
        let problem = match same.as_slice() {
            [] => format!("cannot find resource with id {id} to replace"),
            [found] if *found != index => "unexpected target index in replacement".to_owned(),
            [_] => {
                self.changed(index);
                self.list.splice(index..=index, [new]);
                return Ok(());
            }
            many => format!("in Replace: id {id} matched {} resources", many.len()),
        };
        Err(Error::Conflict(problem))
    }

    /// Positions of the resources that have this name now.
    fn by_name(&mut self, id: &Id, schema: &Schema) -> Vec<usize> {
        let mut found = self.names.find(&self.list, &id.name);
        found.retain(|at| {
            let other = self.list.get(*at).filter(|other| other.name() == &*id.name);
            other.is_some_and(|other| other.id(schema).same(id))
        });
        found
    }

    /// Positions of the resources that have or have had this name.
    pub(crate) fn by_any_name(&mut self, id: &Id, schema: &Schema) -> Vec<usize> {
        // Most have never had the name: that is seen without making ids.
        let had = |resource: &Resource| {
            resource.name() == &*id.name || resource.previous.iter().any(|previous| previous.name == id.name)
        };
        let mut found = self.names.find(&self.list, &id.name);
        found.retain(|at| {
            self.list.get(*at).is_some_and(|resource| {
                had(resource)
                    && !resource.node.is_nil_or_empty()
                    && resource.any_id(schema, |other| other.same(id))
            })
        });
        found
    }
}

#[cfg(test)]
mod tests;
