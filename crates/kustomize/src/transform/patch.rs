//! Patches: strategic merge and JSON (RFC 6902), to the resource that a patch names or to those that a target selects.

mod apply;

use serde::Deserialize;

use crate::Error;
use crate::id::Id;
use crate::json6902;
use crate::load;
use crate::node::{Node, read_documents};
use crate::plugin::{Context, Transform};
use crate::resource::Resource;
use crate::resources::Resources;
use crate::schema::Schema;
use crate::select::{Matcher, Selector};
use apply::{apply_json, merge_copies, merge_into, texts_only};

/// An entry of `patches`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PatchTransformer {
    pub(crate) path: String,
    pub(crate) patch: String,
    pub(crate) target: Option<Selector>,
    pub(crate) options: Option<PatchOptions>,
}

/// What a strategic merge patch may change beside the content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PatchOptions {
    pub(crate) allow_name_change: bool,
    pub(crate) allow_kind_change: bool,
}

/// `patchesStrategicMerge`: paths, or the patches themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PatchStrategicMergeTransformer {
    pub(crate) paths: Vec<String>,
    pub(crate) patches: String,
}

/// An entry of `patchesJson6902`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PatchJson6902Transformer {
    pub(crate) target: Option<Selector>,
    pub(crate) path: String,
    pub(crate) json_op: String,
}

/// A patch, read.
enum Patch {
    Strategic(Vec<Node>),
    Json(json6902::Patch),
}

impl Transform for PatchTransformer {
    fn about(&self) -> &str {
        &self.path
    }

    fn transform(&self, context: &Context<'_, '_>, resources: &mut Resources) -> Result<(), Error> {
        let invalid =
            |reason| context.invalid(format!("unable to find patch target in `resources`: {reason}"));
        let matcher = || self.target.as_ref().map(Matcher::new).transpose().map_err(invalid);
        match self.read(context)? {
            Patch::Strategic(patches) => match matcher()? {
                Some(_) if patches.len() > 1 => Err(context.invalid(format!(
                    "Multiple Strategic-Merge Patches in one `patches` entry is not allowed to set `patches.target` \
                     field: {}",
                    self.source()
                ))),
                Some(matcher) => self.merge_selected(context, resources, &patches, &matcher),
                None => self.merge_named(context, resources, patches),
            },
            Patch::Json(patch) if patch.is_empty() => Ok(()),
            Patch::Json(patch) => {
                let missing = || context.invalid(format!("must specify a target for JSON patch {}", self.source()));
                let matcher = matcher()?.ok_or_else(missing)?;
                apply_json(context, resources, &patch, &matcher, true)
            }
        }
    }
}

impl PatchTransformer {
    /// Where it comes from, for errors.
    fn source(&self) -> String {
        match (self.patch.trim(), self.path.as_str()) {
            (text, "") => format!("[patch: {text:?}]"),
            (_, path) => format!("[path: {path:?}]"),
        }
    }

    fn read(&self, context: &Context<'_, '_>) -> Result<Patch, Error> {
        let (text, strategic) = match (self.patch.trim(), self.path.as_str()) {
            ("", "") => return Err(context.invalid("must specify one of patch and path")),
            (text, "") => (None, strategic(text)),
            ("", path) => {
                let strategic = load_strategic(context, path)?;
                let text = || load_patch(context, path);
                (strategic.is_err().then(text).transpose()?, strategic)
            }
            _ => return Err(context.invalid("patch and path can't be set at the same time")),
        };
        let strategic = match strategic {
            Ok(patches) => return Ok(Patch::Strategic(nodes(patches))),
            Err(reason) => reason,
        };
        let text = text.as_deref().unwrap_or(self.patch.trim());
        json6902::Patch::read(text).map(Patch::Json).map_err(|json| {
            context.invalid(format!(
                "unable to parse SM or JSON patch from {}: not a strategic merge patch: {strategic}; not a JSON \
                 patch: {json}",
                self.source()
            ))
        })
    }

    fn merge_selected(
        &self,
        context: &Context<'_, '_>,
        resources: &mut Resources,
        patches: &[Node],
        matcher: &Matcher,
    ) -> Result<(), Error> {
        let Some(patch) = patches.first() else { return Ok(()) };
        let selected = matcher.select(resources, context.schema).map_err(|reason| {
            context.invalid(format!("unable to find patch target in `resources`: {reason}"))
        })?;
        let options = self.options.unwrap_or_default();
        merge_copies(context, resources, &selected, patch, options)
    }

    fn merge_named(
        &self,
        context: &Context<'_, '_>,
        resources: &mut Resources,
        patches: Vec<Node>,
    ) -> Result<(), Error> {
        let options = self.options.unwrap_or_default();
        for mut patch in patches {
            let id = Id::of(&patch, context.schema);
            let index = find(resources, &id, context.schema).map_err(|reason| {
                let id = id.to_string();
                context.invalid(format!("no resource matches strategic merge patch {id:?}: {reason}"))
            })?;
            if options != PatchOptions::default() {
                texts_only(&mut patch, "annotations");
            }
            if let Some(resource) = resources.get_mut(index) {
                merge_into(resource, &patch, options, context)?;
            }
        }
        resources.drop_empty();
        Ok(())
    }
}

impl Transform for PatchStrategicMergeTransformer {
    fn transform(&self, context: &Context<'_, '_>, resources: &mut Resources) -> Result<(), Error> {
        if self.paths.is_empty() && self.patches.is_empty() {
            return Err(context.invalid("empty file path and empty patch content"));
        }
        let mut patches = vec![];
        for path in &self.paths {
            match load::inline(path) {
                Some(inline) => patches.extend(nodes(inline)),
                None => patches.extend(nodes(load::file(context, path)?)),
            }
        }
        if !self.patches.is_empty() {
            patches.extend(nodes(strategic(&self.patches).map_err(|reason| context.invalid(reason))?));
        }
        if patches.is_empty() {
            let (paths, text) = (self.paths.join(" "), &self.patches);
            return Err(context.invalid(format!("patch appears to be empty; files=[{paths}], Patch={text}")));
        }
        for patch in &patches {
            let id = Id::of(patch, context.schema);
            let index = find(resources, &id, context.schema).map_err(|reason| context.invalid(reason))?;
            merge_copies(context, resources, &[index], patch, PatchOptions::default())?;
        }
        Ok(())
    }
}

impl Transform for PatchJson6902Transformer {
    fn transform(&self, context: &Context<'_, '_>, resources: &mut Resources) -> Result<(), Error> {
        let target = self.target.as_ref().filter(|target| !target.name.is_empty());
        let target = target.ok_or_else(|| context.invalid("must specify the target name"))?;
        let text = match (self.path.as_str(), self.json_op.as_str()) {
            ("", "") => return Err(context.invalid("empty file path and empty jsonOp")),
            ("", text) => text.to_owned(),
            (path, "") => context.reader.load_text(context.dir, context.file, path)?.1,
            _ => return Err(context.invalid("must specify a file path or jsonOp, not both")),
        };
        if text.is_empty() {
            let path = &self.path;
            return Err(context.invalid(format!("patch file '{path}' empty seems to be empty")));
        }
        let patch = json6902::Patch::read(&text)
            .map_err(|reason| context.invalid(format!("decoding {text}: {reason}")))?;
        if patch.is_empty() {
            let path = &self.path;
            return Err(context.invalid(format!("patch appears to be empty; file={path}, JsonOp={text}")));
        }
        let matcher = Matcher::new(target).map_err(|reason| context.invalid(reason))?;
        apply_json(context, resources, &patch, &matcher, false)
    }
}

/// A file that cannot be had.
fn not_loaded(context: &Context<'_, '_>, path: &str, error: &Error) -> Error {
    let reason = error.reason();
    context.invalid(format!("failed to get the patch file from path({path}): {reason}"))
}

/// The text of a patch file.
fn load_patch(context: &Context<'_, '_>, path: &str) -> Result<String, Error> {
    let loaded = context.reader.load_text(context.dir, context.file, path);
    loaded.map(|(_, text)| text).map_err(|error| not_loaded(context, path, &error))
}

/// The strategic merge patches of a file, or why there are none in it.
fn load_strategic(context: &Context<'_, '_>, path: &str) -> Result<Result<Vec<Resource>, String>, Error> {
    match context.reader.load_documents(context.dir, context.file, path) {
        Ok((_, documents)) => Ok(load::resources(&documents)),
        Err(Error::Yaml { error, .. }) => Ok(Err(error.to_string())),
        Err(error) => Err(not_loaded(context, path, &error)),
    }
}

/// Reads strategic merge patches.
fn strategic(text: &str) -> Result<Vec<Resource>, String> {
    load::resources(&read_documents(text).map_err(|error| error.to_string())?)
}

fn nodes(patches: Vec<Resource>) -> Vec<Node> {
    patches.into_iter().map(|patch| patch.node).collect()
}

/// The one resource that has or had the name of a patch.
fn find(resources: &mut Resources, id: &Id, schema: &Schema) -> Result<usize, String> {
    let found = resources.by_any_name(id, schema);
    let problem = match found.as_slice() {
        [index] => return Ok(*index),
        [] => "no",
        _ => "multiple",
    };
    Err(format!("{problem} matches for Id {id}; failed to find unique target for patch {id}"))
}
