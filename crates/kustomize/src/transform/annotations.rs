//! `AnnotationsTransformer`: `commonAnnotations`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::labels::set_pairs;
use crate::Error;
use crate::fieldspec::Specs;
use crate::plugin::{Context, Transform};
use crate::resources::Resources;

/// Annotations for maps of annotations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct AnnotationsTransformer {
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) field_specs: Specs,
}

impl Transform for AnnotationsTransformer {
    fn transform(&self, context: &Context<'_, '_>, resources: &mut Resources) -> Result<(), Error> {
        set_pairs(context, resources, &self.annotations, &self.field_specs)
    }
}
