//! `actions/cache`: directories kept on this machine between runs, per repository, found again by key.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{Call, Post};
use crate::triggers::hash;

/// Entries of one repository; the oldest go first. GitHub limits by size, which follows from what jobs keep.
const ENTRY_LIMIT: usize = 40;
/// Keys may be this long, as on GitHub.
const KEY_LIMIT: usize = 512;

/// What to save, where, and from where.
pub(crate) struct Entry {
    pub(crate) key: String,
    store: PathBuf,
    paths: Vec<(String, PathBuf)>,
}

/// The facts beside the archives of an entry.
#[derive(Serialize, Deserialize)]
struct Facts {
    key: String,
    paths: Vec<String>,
}

pub(super) async fn run(call: &mut Call<'_>) -> Result<(), String> {
    let entry = entry(call)?;
    if !restore(call, &entry).await? {
        call.job.posts.push(Post::SaveCache(entry));
    }
    Ok(())
}

pub(super) async fn restore_only(call: &mut Call<'_>) -> Result<(), String> {
    let entry = entry(call)?;
    restore(call, &entry).await.map(|_| ())
}

pub(super) async fn save_only(call: &mut Call<'_>) -> Result<(), String> {
    let entry = entry(call)?;
    let text = save(&entry).await?;
    call.log.line(&text);
    Ok(())
}

/// Saves an entry, unless its key is taken; gives a line for the log.
pub(crate) async fn save(entry: &Entry) -> Result<String, String> {
    let present: Vec<(String, PathBuf)> =
        entry.paths.iter().filter(|(_, path)| path.exists()).cloned().collect();
    if present.is_empty() {
        return Ok("nothing to save: none of the paths exists".to_owned());
    }
    let (store, key) = (entry.store.clone(), entry.key.clone());
    let names: Vec<String> = entry.paths.iter().map(|(name, _)| name.clone()).collect();
    let work = move || -> Result<String, String> {
        let target = store.join(hash(&[&key]));
        if target.exists() {
            return Ok(format!("the key {key} is already saved"));
        }
        let failed = |error: std::io::Error| format!("cannot write {}: {error}", store.display());
        std::fs::create_dir_all(&store).map_err(failed)?;
        let new = tempfile::Builder::new().prefix(".new-").tempdir_in(&store).map_err(failed)?;
        for (name, path) in &present {
            archive(path, &new.path().join(format!("{}.tar", hash(&[name])))).map_err(failed)?;
        }
        let facts = Facts { key: key.clone(), paths: names };
        std::fs::write(new.path().join("facts.json"), serde_json::to_vec(&facts).unwrap_or_default())
            .map_err(failed)?;
        // Another job may have been faster; its entry stays.
        if std::fs::rename(new.path(), &target).is_ok() {
            let _ = new.keep();
        }
        trim(&store);
        Ok(format!("Cache saved with key: {key}"))
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
}

fn entry(call: &Call<'_>) -> Result<Entry, String> {
    let key = call.required("key")?;
    if key.len() > KEY_LIMIT || key.contains(',') {
        return Err(format!("`key` must be at most {KEY_LIMIT} characters, without commas"));
    }
    let paths = call.lines("path");
    if paths.is_empty() {
        return Err("the input `path` is required".to_owned());
    }
    let store = call.job.run.shared.config.data.join("cache").join("actions").join(hash(&[&call
        .job
        .run
        .spec
        .repository]));
    let paths = paths.into_iter().map(|path| (path.clone(), call.job.directories.resolve(&path))).collect();
    Ok(Entry { key, store, paths })
}

/// Restores by the exact key, else by the newest key that begins with one of `restore-keys`. True for an exact hit.
async fn restore(call: &mut Call<'_>, entry: &Entry) -> Result<bool, String> {
    let prefixes = call.lines("restore-keys");
    let paths: Vec<String> = entry.paths.iter().map(|(name, _)| name.clone()).collect();
    let found = find(&entry.store, &entry.key, &prefixes, &paths);
    let exact = found.as_ref().is_some_and(|(_, key)| *key == entry.key);
    call.output("cache-hit", if found.is_some() { exact.to_string() } else { String::new() });
    call.output("cache-primary-key", entry.key.clone());
    let Some((directory, key)) = found else {
        call.log.line(&format!("Cache not found for key: {}", entry.key));
        if call.flag("fail-on-cache-miss", false)? {
            return Err(format!("no cache entry for {}", entry.key));
        }
        return Ok(false);
    };
    call.output("cache-matched-key", key.clone());
    if !call.flag("lookup-only", false)? {
        let targets = entry.paths.clone();
        let work = move || -> std::io::Result<()> {
            for (name, path) in targets {
                let archive = directory.join(format!("{}.tar", hash(&[&name])));
                if archive.exists() {
                    unpack(&archive, &path)?;
                }
            }
            Ok(())
        };
        let done = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?;
        done.map_err(|error| format!("cannot restore the cache: {error}"))?;
    }
    call.log.line(&format!("Cache restored from key: {key}"));
    Ok(exact)
}

fn find(store: &Path, key: &str, prefixes: &[String], paths: &[String]) -> Option<(PathBuf, String)> {
    let mut entries: Vec<(SystemTime, PathBuf, Facts)> = entries(store);
    // An entry of other paths is another cache.
    entries.retain(|(_, _, facts)| facts.paths == paths);
    entries.sort_by_key(|(time, _, _)| std::cmp::Reverse(*time));
    let chosen = std::iter::once((key, true)).chain(prefixes.iter().map(|prefix| (prefix.as_str(), false)));
    for (wanted, exact) in chosen {
        let matches = |facts: &Facts| if exact { facts.key == wanted } else { facts.key.starts_with(wanted) };
        if let Some((_, path, facts)) = entries.iter().find(|(_, _, facts)| matches(facts)) {
            return Some((path.clone(), facts.key.clone()));
        }
    }
    None
}

fn entries(store: &Path) -> Vec<(SystemTime, PathBuf, Facts)> {
    let entry = |entry: std::fs::DirEntry| {
        let path = entry.path();
        let facts = serde_json::from_slice(&std::fs::read(path.join("facts.json")).ok()?).ok()?;
        Some((entry.metadata().ok()?.modified().ok()?, path, facts))
    };
    std::fs::read_dir(store).into_iter().flatten().flatten().filter_map(entry).collect()
}

/// Removes the oldest entries beyond the limit.
fn trim(store: &Path) {
    let mut all = entries(store);
    all.sort_by_key(|(time, _, _)| std::cmp::Reverse(*time));
    for (_, path, _) in all.into_iter().skip(ENTRY_LIMIT) {
        std::fs::remove_dir_all(path).ok();
    }
}

fn archive(path: &Path, target: &Path) -> std::io::Result<()> {
    let mut builder = tar::Builder::new(std::io::BufWriter::new(std::fs::File::create(target)?));
    builder.follow_symlinks(false);
    if path.is_dir() {
        builder.append_dir_all("content", path)?;
    } else {
        builder.append_path_with_name(path, "content")?;
    }
    builder.into_inner()?.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()
}

/// Puts the archived `content` at `path`. The archive is unpacked beside it, where no entry can leave the directory.
fn unpack(archive: &Path, path: &Path) -> std::io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(parent)?;
    let scratch = tempfile::Builder::new().prefix(".cache-").tempdir_in(parent)?;
    let file = std::io::BufReader::new(std::fs::File::open(archive)?);
    tar::Archive::new(file).unpack(scratch.path())?;
    let content = scratch.path().join("content");
    if !path.exists() {
        return std::fs::rename(content, path);
    }
    let mut files = Vec::new();
    let mut pending = vec![content.clone()];
    while let Some(next) = pending.pop() {
        if next.is_dir() && !next.is_symlink() {
            pending.extend(std::fs::read_dir(&next)?.flatten().map(|entry| entry.path()));
        } else {
            files.push(next);
        }
    }
    super::files::copy(&files, &content, path).map(|_| ()).map_err(std::io::Error::other)
}
