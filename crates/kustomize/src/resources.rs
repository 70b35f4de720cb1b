//! The resources of a build, in order.

use crate::id::Id;
use crate::resource::Resource;
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
