//! What the commands that build a kustomization have in common: the flags of `kustomize build`, the tree to build from,
//! and paths in messages as the person sees them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use kustomize::{Build, Explanation, Options, Order};

use super::fetch::Git;
use crate::directory::Directory;

/// The flags of `kustomize build` that change what is built.
#[derive(Args, Debug)]
pub(crate) struct Rendering {
    /// Whether files may be read from outside of the directory of the kustomization that names them
    #[arg(long, value_enum, value_name = "WHICH", default_value_t = LoadRestrictor::RootOnly)]
    load_restrictor: LoadRestrictor,
    /// Sort the objects by kind before they are written; `sortOptions` in the kustomization says it better
    #[arg(long, value_enum, value_name = "ORDER")]
    reorder: Option<Reorder>,
    /// Add the label app.kubernetes.io/managed-by
    #[arg(long)]
    enable_managedby_label: bool,
    /// Accept plugins that are not built in; none is run
    #[arg(long)]
    enable_alpha_plugins: bool,
    /// Refused: charts are not rendered
    #[arg(long)]
    enable_helm: bool,
    /// Refused: no programs of a repository are run
    #[arg(long)]
    enable_exec: bool,
    #[command(flatten)]
    programs: Programs,
}

/// Flags of `kustomize build` for programs that are never started here. They are taken so that scripts keep working.
#[derive(Args, Debug)]
struct Programs {
    #[arg(short = 'e', long = "env", hide = true, value_name = "NAME=VALUE")]
    env: Vec<String>,
    #[arg(long, hide = true)]
    as_current_user: bool,
    #[arg(long, hide = true)]
    mount: Vec<String>,
    #[arg(long, hide = true)]
    network: bool,
    #[arg(long, hide = true, default_value = "bridge")]
    network_name: String,
    #[arg(long, hide = true)]
    helm_api_versions: Vec<String>,
    #[arg(long, hide = true, default_value = "helm")]
    helm_command: String,
    #[arg(long, hide = true)]
    helm_debug: bool,
    #[arg(long, hide = true, default_value = "")]
    helm_kube_version: String,
    #[arg(long, hide = true)]
    stack_trace: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LoadRestrictor {
    #[value(name = "LoadRestrictionsRootOnly")]
    RootOnly,
    #[value(name = "LoadRestrictionsNone")]
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Reorder {
    /// Namespaces first, webhooks last
    Legacy,
    /// As the files list them
    None,
}

impl Rendering {
    fn options(&self) -> Result<Options> {
        anyhow::ensure!(
            !self.enable_helm,
            "--enable-helm: Helm charts are not rendered, because no programs are run; render the chart with \
             `helm template` and list its output under `resources`"
        );
        anyhow::ensure!(
            !self.enable_exec,
            "--enable-exec: programs of a repository are not run; only the built-in generators and transformers are there"
        );
        Ok(Options {
            unrestricted: self.load_restrictor == LoadRestrictor::None,
            order: match self.reorder {
                None => Order::Unspecified,
                Some(Reorder::Legacy) => Order::Legacy,
                Some(Reorder::None) => Order::None,
            },
            plugins: self.enable_alpha_plugins,
            managed_by: self.enable_managedby_label,
        })
    }

    /// Builds a directory; warnings go to standard error.
    pub(crate) fn build(&self, dir: &Path) -> Result<Build> {
        let place = Place::of(dir)?;
        let built = kustomize::build_fetching(&place.tree, &place.dir, self.options()?, Some(&Git));
        let built = built.map_err(|error| place.failure(&error))?;
        for warning in &built.warnings {
            eprintln!("{}", place.readable(warning));
        }
        Ok(built)
    }

    /// Builds a directory and tells who set the fields of one object.
    pub(crate) fn explain(&self, dir: &Path, name: &str) -> Result<Explanation> {
        let place = Place::of(dir)?;
        let told = kustomize::explain(&place.tree, &place.dir, self.options()?, Some(&Git), name);
        let mut told = told.map_err(|error| place.failure(&error))?;
        let sources = told.lines.iter_mut().filter_map(|line| line.source.as_mut());
        for source in sources.chain(told.removed.iter_mut().map(|(_, source)| source)) {
            source.file = place.readable(&source.file);
        }
        Ok(told)
    }
}

/// Where a build takes place: as for kustomize, the whole file system is the tree.
struct Place {
    tree: Directory,
    /// The directory to build, from the root.
    dir: String,
    /// Where the person is, from the root.
    here: PathBuf,
}

impl Place {
    fn of(dir: &Path) -> Result<Self> {
        let full = std::fs::canonicalize(dir)
            .with_context(|| format!("must build at directory: {}", dir.display()))?;
        let inside = |path: &Path| path.strip_prefix("/").map(Path::to_owned).unwrap_or_default();
        let dir = inside(&full).into_os_string().into_string();
        let dir = dir.ok().with_context(|| format!("{} is not UTF-8", full.display()))?;
        let here = std::env::current_dir().map(|here| inside(&here)).unwrap_or_default();
        Ok(Self { tree: Directory::open(Path::new("/"))?, dir, here })
    }

    fn failure(&self, error: &kustomize::Error) -> anyhow::Error {
        let mut text = self.readable(&error.located(&self.tree));
        for failure in self.tree.failures() {
            text.push_str(&format!(" (cannot read {failure})"));
        }
        anyhow::anyhow!(text)
    }

    /// A message with the paths in it as seen from where the person is.
    fn readable(&self, text: &str) -> String {
        let here = self.here.to_string_lossy();
        let top = self.dir.split('/').next().unwrap_or_default();
        readable(text, top, &here)
    }
}

/// Paths begin with `top`, with or without a slash before it. Those below `here` are shown from there, others from the
/// root of the file system.
fn readable(text: &str, top: &str, here: &str) -> String {
    if top.is_empty() {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(top) {
        let (before, path) = rest.split_at(at);
        let slash = before.ends_with('/');
        let outer = before.strip_suffix('/').unwrap_or(before);
        let begins = outer.chars().next_back().map_or(out.is_empty() || slash, |c| " '\"(\n,".contains(c));
        // A word without any slash is no path.
        let ends = |c: char| c == '/' || (slash && " '\":,)\n".contains(c));
        let ends = path[top.len()..].chars().next().map_or(slash, ends);
        if !begins || !ends {
            out.push_str(before);
            out.push_str(top);
            rest = &path[top.len()..];
            continue;
        }
        out.push_str(outer);
        let inner = path.strip_prefix(here).filter(|_| !here.is_empty());
        match inner.map(|inner| (inner.strip_prefix('/'), inner)) {
            Some((Some(inner), _)) => rest = inner,
            Some((None, inner)) if inner.is_empty() || inner.starts_with([' ', '\'', '"', ':', ',', ')']) => {
                out.push('.');
                rest = inner;
            }
            _ => {
                out.push('/');
                out.push_str(top);
                rest = &path[top.len()..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(readable(text, "home", "home/kim/app"), expected);
    }

    #[test]
    fn paths_are_shown_from_where_the_person_is() {
        check("home/kim/app/kustomization.yaml: no", "kustomization.yaml: no");
        check("in directory '/home/kim/app'", "in directory '.'");
        check("'/home/kim/app/x/y' and home/kim/z", "'x/y' and /home/kim/z");
        check("home/kim/application: x", "/home/kim/application: x");
        check("a home for everything, athome/x", "a home for everything, athome/x");
    }
}
