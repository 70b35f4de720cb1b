//! From an entry to the kustomization that it names: in the same tree, or fetched.

use super::{Layer, Place, Target, Walk};
use crate::file::{COMPONENT, Kustomization};
use crate::reader::{NO_FETCHER, Reader};
use crate::remote::{Remote, is_url};
use crate::tree::{Kind, is_in, shown};
use crate::{DEPTH_LIMIT, Error};

impl Walk<'_> {
    /// What the kustomization that an entry names makes of `layer`.
    pub(super) fn enter(
        &mut self,
        target: &Target<'_>,
        path: &str,
        layer: Layer,
        component: bool,
    ) -> Result<Layer, Error> {
        let not_loadable = |message| Error::NotLoadable { file: target.file().to_owned(), message };
        if path.is_empty() {
            return Err(not_loadable("new root cannot be empty".to_owned()));
        }
        if self.stack.len() >= DEPTH_LIMIT {
            return Err(Error::Limit { what: "kustomizations inside one another", limit: DEPTH_LIMIT });
        }
        if let Some(remote) = Remote::parse(path) {
            return self.enter_remote(target, remote, layer, component);
        }
        let dir = local(target, path)?;
        self.check_cycle(target.tree, &dir)?;
        let place = Place { tree: target.tree, dir, remote: None };
        if component {
            return self.below(target, path, target.reader, place, layer, true);
        }
        self.included(target, path, place)
    }

    fn enter_remote(
        &mut self,
        target: &Target<'_>,
        remote: Remote,
        layer: Layer,
        component: bool,
    ) -> Result<Layer, Error> {
        let failed = |reason: String| Error::Remote {
            file: target.file().to_owned(),
            url: remote.raw.clone(),
            reason,
        };
        let visited = self.stack.iter().filter_map(|place| place.remote.as_ref());
        if let Some(visited) = visited.into_iter().find(|visited| visited.raw.starts_with(&remote.raw)) {
            let chain = self.chain();
            return Err(Error::Cycle { dir: remote.raw, visited: visited.raw.clone(), chain });
        }
        let fetch = self.fetch.ok_or_else(|| failed(NO_FETCHER.to_owned()))?;
        let tree = fetch.repository(&remote).map_err(failed)?;
        // What comes from elsewhere may never read outside of its own directories.
        let reader = Reader::new(&*tree, false, self.fetch);
        let dir = reader.follow(&remote.path).filter(|dir| reader.kind(dir) == Some(Kind::Directory));
        let dir = dir.ok_or_else(|| failed(format!("'{}' is not a directory in it", remote.path)))?;
        self.trees += 1;
        let path = remote.raw.clone();
        let place = Place { tree: self.trees, dir, remote: Some(remote) };
        self.below(target, &path, &reader, place, layer, component)
    }

    pub(super) fn below(
        &mut self,
        from: &Target<'_>,
        path: &str,
        reader: &Reader<'_>,
        place: Place,
        layer: Layer,
        component: bool,
    ) -> Result<Layer, Error> {
        let missing = |error: Error| match error {
            Error::NoKustomization { .. } | Error::ManyKustomizations { .. } => Error::NotLoadable {
                file: from.file().to_owned(),
                message: format!("couldn't make target for path '{}': {error}", shown(&place.dir)),
            },
            other => other,
        };
        let loaded = Kustomization::load(reader, &place.dir).map_err(missing)?;
        self.warnings.extend_from_slice(&loaded.warnings);
        let origin = from.origin.as_ref().map(|origin| origin.append(path));
        let target = Target { reader, tree: place.tree, dir: place.dir.clone(), loaded, origin };
        self.set_schema(&target, false)?;
        let (kind, dir) = (&target.kustomization().kind, shown(&target.dir));
        if component && kind != COMPONENT {
            let message = format!("expected kind '{COMPONENT}' for path '{dir}' but got '{kind}'");
            return Err(from.invalid(format!("accumulating components: accumulateDirectory: {message:?}")));
        }
        if !component && kind == COMPONENT {
            return Err(from.invalid(format!(
                "accumulating resources: expected kind != '{COMPONENT}' for path '{dir}'"
            )));
        }
        self.entered.push((place.dir.as_str().into(), self.stack.len()));
        self.stack.push(place);
        let layer = self.layer(&target, layer);
        self.stack.pop();
        layer
    }

    /// Lets the kustomization's `openapi` decide about the schema of the build.
    pub(super) fn set_schema(&mut self, target: &Target<'_>, top: bool) -> Result<(), Error> {
        let field = &target.kustomization().openapi;
        if field.is_empty() {
            return Ok(());
        }
        let load = |path: &String| target.reader.load_text(&target.dir, target.file(), path);
        let text = field.get("path").map(load).transpose()?;
        let text = text.as_ref().map(|(_, text)| text.as_str());
        self.schema.set(field, text, top).map_err(|message| target.invalid(message))
    }

    /// A kustomization may not include a directory that contains one that is being built.
    fn check_cycle(&self, tree: usize, dir: &str) -> Result<(), Error> {
        let open = self.stack.iter().rev().filter(|place| place.tree == tree);
        match open.into_iter().find(|place| is_in(dir, &place.dir)) {
            None => Ok(()),
            Some(visited) => {
                Err(Error::Cycle { dir: shown(dir), visited: shown(&visited.dir), chain: self.chain() })
            }
        }
    }

    fn chain(&self) -> String {
        let places = self.stack.iter().map(|place| match &place.remote {
            Some(remote) => remote.raw.clone(),
            None => shown(&place.dir),
        });
        places.collect::<Vec<_>>().join(", ")
    }
}

/// The directory of the same tree that an entry names.
fn local(target: &Target<'_>, path: &str) -> Result<String, Error> {
    let file = || target.file().to_owned();
    let not_loadable = |message| Error::NotLoadable { file: file(), message };
    if is_url(path) {
        return Err(not_loadable(format!("must build at directory: '{path}' is not a repository")));
    }
    if path.starts_with('/') {
        return Err(not_loadable(format!("new root '{path}' cannot be absolute")));
    }
    let mut names = path.split('/').filter(|name| !matches!(*name, "" | "." | ".."));
    if names.any(|name| name.contains("..")) {
        return Err(not_loadable(format!(
            "path {path:?} is ambiguous, which is likely not the intended target; check for YAML indentation errors \
             in your kustomization file"
        )));
    }
    let outside = |path: &str| {
        let outside = if target.tree == 0 { "the tree" } else { "the repository" };
        not_loadable(format!("security; base '{path}' is outside of {outside}"))
    };
    let full = Reader::resolve(&target.dir, path).ok_or_else(|| outside(path))?;
    let followed = target.reader.follow(&full).ok_or_else(|| {
        let link = Error::Link { file: file(), path: shown(&full) };
        not_loadable(link.reason())
    })?;
    match target.reader.kind(&followed) {
        Some(Kind::Directory) => Ok(followed),
        Some(Kind::File) => {
            Err(not_loadable(format!("must build at directory: '{}': file is not directory", shown(&full))))
        }
        None => {
            let missing = Error::Missing { file: file(), path: shown(&full) };
            Err(not_loadable(format!("must build at directory: not a valid directory: {}", missing.reason())))
        }
    }
}
