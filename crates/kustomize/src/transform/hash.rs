//! `HashTransformer`: the content hash at the end of the names of generated objects.

use serde::Deserialize;

use crate::Error;
use crate::hash::hash;
use crate::plugin::{Context, Transform};
use crate::resources::Resources;

/// Adds the hashes that generators asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct HashTransformer {}

impl Transform for HashTransformer {
    fn transform(&self, context: &Context<'_, '_>, resources: &mut Resources) -> Result<(), Error> {
        for resource in resources.iter_mut().filter(|resource| resource.needs_hash) {
            let hash = hash(&resource.node).map_err(|message| {
                context.invalid(format!("hash of {}: {message}", resource.id(context.schema)))
            })?;
            resource.remember_id(context.schema);
            let name = format!("{}-{hash}", resource.name());
            resource.set_name(&name);
        }
        Ok(())
    }
}
