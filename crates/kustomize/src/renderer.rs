//! Building again: what changed is built anew, everything else is given again.
//!
//! A build is a function of what it has seen of its tree: where paths lead, what is there, which content. A [`Renderer`]
//! keeps these answers with what was made of them. As long as a tree gives the same ones, the result is the same, and
//! the tree is not read. That holds for finished builds, for the layers that a kustomization includes (a base is built
//! once for all overlays) and for files.

mod bounded;
mod known;

use std::cell::RefCell;
use std::sync::Arc;

use crate::tree::Tree;
use crate::{Build, Error, Options, build};
use bounded::Bounded;
pub(crate) use known::{COST, Known, Parsed, Seen, all_hold, size, without_repetition};

/// Most bytes that a [`Renderer`] keeps, as it estimates them: a thousand overlays of a dozen objects take a tenth.
pub const RENDERER_SIZE_LIMIT: usize = 256 << 20;

/// Builds, and keeps what it built while its limit allows: what was not used for longest goes first.
///
/// One renderer is for one tree as it changes, or a few of its revisions at once. Remote references are refused.
#[derive(Debug)]
pub struct Renderer {
    builds: Bounded<(String, Options), Arc<Finished>>,
    known: RefCell<Known>,
    counts: Counts,
}

/// How often a [`Renderer`] did what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Builds that were made, those that failed included.
    pub built: u64,
    /// Builds that were given again.
    pub reused: u64,
    /// Layers below the root of a build that were taken from another build.
    pub layers_reused: u64,
}

#[derive(Debug)]
struct Finished {
    build: Arc<Build>,
    seen: Vec<Seen>,
}

impl Default for Renderer {
    fn default() -> Self {
        Self::with_size_limit(RENDERER_SIZE_LIMIT)
    }
}

impl Renderer {
    /// A renderer that keeps at most so many bytes, as it estimates them.
    pub fn with_size_limit(bytes: usize) -> Self {
        Self {
            builds: Bounded::new(bytes / 2),
            known: RefCell::new(Known::new(bytes - bytes / 2)),
            counts: Counts::default(),
        }
    }

    /// What [`build`](crate::build) gives. An error is found anew each time.
    pub fn render(&mut self, tree: &dyn Tree, dir: &str, options: Options) -> Result<Arc<Build>, Error> {
        let key = (dir.to_owned(), options);
        if let Some(finished) = self.builds.find(&key, |finished| all_hold(&finished.seen, tree)) {
            self.counts.reused += 1;
            return Ok(finished.build.clone());
        }
        self.counts.built += 1;
        let (build, seen) = build::root_knowing(tree, dir, options, &self.known)?;
        let build = Arc::new(build);
        let size = build.size() + size(&seen);
        self.builds.insert(key, Arc::new(Finished { build: build.clone(), seen }), size);
        Ok(build)
    }

    /// What was done so far.
    pub fn counts(&self) -> Counts {
        Counts { layers_reused: self.known.borrow().layers_reused, ..self.counts }
    }

    /// The bytes that are kept, as estimated.
    pub fn size(&self) -> usize {
        self.builds.size() + self.known.borrow().size()
    }
}
