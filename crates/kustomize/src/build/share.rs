//! Layers that several builds share: what a directory gives is the same for all that include it, if they find the same
//! files and hand down the same things.

use std::sync::Arc;

use super::{Layer, Place, Target, Walk};
use crate::config::Config;
use crate::node::Text;
use crate::origin::Origin;
use crate::renderer::{Seen, all_hold, size, without_repetition};
use crate::schema::SchemaState;
use crate::tree::is_in;
use crate::{DEPTH_LIMIT, Error};

/// What a layer is asked for by, and what it inherits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LayerKey {
    dir: String,
    unrestricted: bool,
    /// Only if `buildMetadata` asks for origins.
    origin: Option<Origin>,
    /// Whether a schema was decided on, and what the built-in one was needed for.
    schema: [bool; 3],
}

/// A finished layer and all that making it did besides.
#[derive(Debug)]
pub(crate) struct KnownLayer {
    layer: Layer,
    seen: Arc<[Seen]>,
    warnings: Vec<String>,
    /// Bytes read.
    bytes: u64,
    schema: SchemaState,
    /// The directories that were entered, and how far below this one.
    entered: Vec<(Text, usize)>,
}

/// Where a build was when it entered a layer.
struct Mark {
    seen: usize,
    warnings: usize,
    entered: usize,
    bytes: u64,
}

impl Walk<'_> {
    /// What a directory of the same tree gives, made here or for another build.
    pub(super) fn included(&mut self, target: &Target<'_>, path: &str, place: Place) -> Result<Layer, Error> {
        let key = self.key(target, path, &place.dir);
        let below = |walk: &mut Self| walk.below(target, path, target.reader, place, Layer::default(), false);
        let Some(key) = key else { return below(self) };
        if let Some(layer) = self.known(target, &key) {
            return Ok(layer);
        }
        let mark = Mark {
            seen: target.reader.seen_so_far(),
            warnings: self.warnings.len(),
            entered: self.entered.len(),
            bytes: target.reader.bytes(),
        };
        let layer = below(self)?;
        self.keep(target, key, &mark, &layer);
        Ok(layer)
    }

    /// None when the layer is not to be shared: nobody keeps it, somebody watches, or it stands on a schema of the
    /// build's own.
    fn key(&self, target: &Target<'_>, path: &str, dir: &str) -> Option<LayerKey> {
        if target.tree != 0 || self.trace.is_some() || self.fetch.is_some() || target.reader.known().is_none()
        {
            return None;
        }
        let schema = self.schema.state();
        Some(LayerKey {
            dir: dir.to_owned(),
            unrestricted: target.reader.is_unrestricted(),
            origin: target.origin.as_ref().map(|origin| origin.append(path)),
            schema: schema.flags_if_builtin()?,
        })
    }

    fn known(&mut self, target: &Target<'_>, key: &LayerKey) -> Option<Layer> {
        let (reader, tree) = (target.reader, target.reader.tree());
        let mut known = reader.known()?.borrow_mut();
        let found = known.layers.find(key, |known| self.admits(known) && all_hold(&known.seen, tree))?;
        known.layers_reused += 1;
        drop(known);
        // Beyond a limit the build that reads everything says so.
        reader.recall(&found.seen, found.bytes).ok()?;
        self.warnings.extend_from_slice(&found.warnings);
        let depth = self.stack.len();
        self.entered.extend(found.entered.iter().map(|(dir, below)| (dir.clone(), depth + below)));
        self.schema.recall(&found.schema);
        Some(found.layer.clone())
    }

    /// Whether the layer, made here, would close no cycle and be nowhere too deep.
    fn admits(&self, known: &KnownLayer) -> bool {
        let open = |dir: &str| self.stack.iter().any(|place| place.tree == 0 && is_in(dir, &place.dir));
        let depth = self.stack.len();
        known.entered.iter().all(|(dir, below)| depth + below < DEPTH_LIMIT && !open(dir))
    }

    fn keep(&mut self, target: &Target<'_>, key: LayerKey, mark: &Mark, layer: &Layer) {
        let Some(known) = target.reader.known() else { return };
        let mut seen = target.reader.take_seen(mark.seen);
        without_repetition(&mut seen);
        let seen: Arc<[Seen]> = seen.into();
        target.reader.note_layer(seen.clone());
        let depth = self.stack.len();
        let entered = self.entered.get(mark.entered..).unwrap_or_default();
        let made = KnownLayer {
            layer: layer.clone(),
            warnings: self.warnings.get(mark.warnings..).unwrap_or_default().to_vec(),
            bytes: target.reader.bytes() - mark.bytes,
            schema: self.schema.state(),
            entered: entered.iter().map(|(dir, at)| (dir.clone(), at - depth)).collect(),
            seen,
        };
        let size = size(&made.seen) + made.layer.size();
        known.borrow_mut().layers.insert(key, Arc::new(made), size);
    }
}

impl Layer {
    /// The bytes that it takes, about.
    fn size(&self) -> usize {
        /// A configuration of its own is about as large as the built-in one.
        const CONFIG: usize = 64 << 10;
        let config = if Arc::ptr_eq(&self.config, &Config::builtin()) { 0 } else { CONFIG };
        self.resources.iter().map(|resource| resource.size()).sum::<usize>() + config
    }
}
