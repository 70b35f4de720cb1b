//! `portolan build DIR`: what `kustomize build` does, with its flags, in one process that starts at once; and
//! `--explain NAME`, which tells who set each field of an object.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use kustomize::{Explanation, Source};

use super::paint::{Color, Paint};
use super::render::Rendering;

/// Widest text before its source in `--explain`; what is wider pushes its source to the right.
const WIDTH: usize = 64;

#[derive(Args, Debug)]
pub(crate) struct Build {
    /// A directory with a kustomization
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Write to this file or, if it is a directory, a file for each object into it
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Tell for each field of one object who set it: name, kind/name or namespace/kind/name
    #[arg(long, value_name = "NAME", conflicts_with = "output")]
    explain: Option<String>,
    #[command(flatten)]
    rendering: Rendering,
    /// When to use colours
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    color: Color,
}

impl Build {
    pub(crate) fn run(self) -> Result<ExitCode> {
        if let Some(name) = &self.explain {
            let told = self.rendering.explain(&self.dir, name)?;
            print(&explained(&told, self.color.paint()))?;
            return Ok(ExitCode::SUCCESS);
        }
        let built = self.rendering.build(&self.dir)?;
        match &self.output {
            None => print(&built.to_yaml()?)?,
            Some(path) if path.is_dir() => write_each(path, &built.files()?)?,
            Some(path) => write(path, &built.to_yaml()?)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// To standard output; a reader that wants no more is no failure.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write the output")
        }
        _ => Ok(()),
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn write_each(dir: &Path, files: &[(String, String)]) -> Result<()> {
    for (name, text) in files {
        anyhow::ensure!(!name.contains('/'), "the object's file cannot be called {name:?}");
        write(&dir.join(name), text)?;
    }
    Ok(())
}

/// The object's lines with their sources beside them. A source that goes on is faint on a terminal.
fn explained(told: &Explanation, paint: Paint) -> String {
    let width = told.lines.iter().map(|line| line.text.chars().count()).filter(|width| *width <= WIDTH);
    let width = width.max().unwrap_or(0);
    let mut out = format!("{}\n", paint.bold(&format!("# {}", told.object)));
    let mut before: Option<&Source> = None;
    for line in &told.lines {
        let Some(source) = &line.source else {
            out.push_str(&format!("{}\n", line.text));
            continue;
        };
        let gap = " ".repeat((width + 2).saturating_sub(line.text.chars().count()).max(2));
        let shown = if before == Some(source) { paint.faint(&source.to_string()) } else { by(source, paint) };
        out.push_str(&format!("{}{gap}{shown}\n", line.text));
        before = Some(source);
    }
    if !told.removed.is_empty() {
        out.push_str(&format!("\n{}\n", paint.bold("# removed")));
    }
    let width = told.removed.iter().map(|(path, _)| path.chars().count()).max().unwrap_or(0);
    for (path, source) in &told.removed {
        let gap = " ".repeat(width + 2 - path.chars().count());
        out.push_str(&format!("{}{gap}{}\n", paint.red(path), by(source, paint)));
    }
    out
}

fn by(source: &Source, paint: Paint) -> String {
    if source.entry.is_empty() {
        return paint.cyan(&source.file);
    }
    format!("{}: {}", paint.cyan(&source.file), paint.yellow(&source.entry))
}

#[cfg(test)]
mod tests {
    use kustomize::Line;

    use super::*;

    #[test]
    fn sources_stand_in_a_column() {
        let source = |file: &str, entry: &str| Source { file: file.to_owned(), entry: entry.to_owned() };
        let line = |text: &str, source: Option<Source>| Line { text: text.to_owned(), source };
        let told = Explanation {
            object: "ConfigMap/a".to_owned(),
            lines: vec![
                line("kind: ConfigMap", Some(source("a.yaml", ""))),
                line("metadata:", None),
                line("  name: a", Some(source("kustomization.yaml", "namePrefix"))),
            ],
            removed: vec![("data".to_owned(), source("kustomization.yaml", "patches[0]"))],
        };
        let expected = "# ConfigMap/a
kind: ConfigMap  a.yaml
metadata:
  name: a        kustomization.yaml: namePrefix

# removed
data  kustomization.yaml: patches[0]
";
        assert_eq!(explained(&told, Color::Never.paint()), expected);
    }
}
