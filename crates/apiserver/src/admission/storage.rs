//! DefaultStorageClass.

use object::{kinds, meta};
use serde_json::Value;

use crate::catalog::collection;
use crate::convert;
use crate::http::Context;

const IS_DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

/// A claim that names no class gets the default one; of several the newest.
pub(super) fn default_class(cx: &Context, claim: &mut Value) {
    if claim["spec"]["storageClassName"].is_string() {
        return;
    }
    let classes = cx.api.store.list(&collection(&kinds::STORAGE_CLASS), "");
    let defaults = classes.items.iter().map(|(_, e)| convert::parse(&e.value));
    let newest = defaults
        .filter(|class| meta::annotation(class, IS_DEFAULT) == Some("true"))
        .max_by_key(|class| meta::creation_timestamp(class).to_owned());
    if let Some(class) = newest {
        claim["spec"]["storageClassName"] = meta::name(&class).into();
    }
}
