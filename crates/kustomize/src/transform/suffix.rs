//! `SuffixTransformer`: `nameSuffix`.

use serde::Deserialize;

use super::prefix::{Side, add_to_names};
use crate::Error;
use crate::fieldspec::Specs;
use crate::plugin::{Context, Transform};
use crate::resources::Resources;

/// A text after names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct SuffixTransformer {
    pub(crate) suffix: String,
    /// None is an error: a suffix is never put anywhere by itself.
    pub(crate) field_specs: Option<Specs>,
}

impl Transform for SuffixTransformer {
    fn transform(&self, context: &Context<'_, '_>, resources: &mut Resources) -> Result<(), Error> {
        add_to_names(context, resources, &self.suffix, self.field_specs.as_deref(), Side::After)
    }
}
