//! `actions/upload-artifact` and `actions/download-artifact`: files handed from job to job of one run.

use std::path::{Path, PathBuf};

use super::{Call, files};

pub(super) async fn upload(call: &mut Call<'_>) -> Result<(), String> {
    let name = check_name(call.input("name").unwrap_or("artifact"))?.to_owned();
    let patterns = call.lines("path");
    if patterns.is_empty() {
        return Err("the input `path` is required".to_owned());
    }
    let (found, root) = files::matching(&patterns, |path| call.job.directories.resolve(path))?;
    if found.is_empty() {
        let message = format!("No files were found with the provided path: {}", patterns.join(" "));
        return match call.input("if-no-files-found").unwrap_or("warn") {
            "error" => Err(message),
            "ignore" => Ok(()),
            _ => {
                call.job.annotate("warning", &message);
                Ok(())
            }
        };
    }
    let target = store(call).join(&name);
    if target.exists() {
        if !call.flag("overwrite", false)? {
            return Err(format!("an artifact named `{name}` already exists in this run"));
        }
        std::fs::remove_dir_all(&target).map_err(|error| format!("cannot replace `{name}`: {error}"))?;
    }
    let count = found.len();
    let done = tokio::task::spawn_blocking(move || files::copy(&found, &root, &target)).await;
    let bytes = done.map_err(|error| error.to_string())??;
    call.log.line(&format!("Artifact {name}: {count} files, {bytes} bytes"));
    call.output("artifact-id", name);
    Ok(())
}

pub(super) async fn download(call: &mut Call<'_>) -> Result<(), String> {
    let target = files::inside(&call.job.directories.workspace, call.input("path").unwrap_or("."))?;
    let store = store(call);
    let (from, what) = match call.input("name") {
        Some(name) => (store.join(check_name(name)?), name.to_owned()),
        // Without a name, each artifact comes in a directory of its own.
        None => (store, "all artifacts".to_owned()),
    };
    if !from.is_dir() {
        return Err(format!("there is no artifact `{what}` in this run"));
    }
    let shown = target.to_string_lossy().into_owned();
    let work = move || {
        let (found, _) = files::matching(&[String::new()], |_| from.clone())?;
        files::copy(&found, &from, &target).map(|bytes| (found.len(), bytes))
    };
    let (count, bytes) = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())??;
    call.log.line(&format!("Downloaded {what}: {count} files, {bytes} bytes"));
    call.output("download-path", shown);
    Ok(())
}

/// The artifacts of the run's present attempt.
fn store(call: &Call<'_>) -> PathBuf {
    let run = &call.job.run;
    run.shared.config.data.join("artifacts").join(&run.name).join(run.spec.attempt.to_string())
}

/// A name is one directory.
fn check_name(name: &str) -> Result<&str, String> {
    let plain = Path::new(name).components().count() == 1
        && !name.contains(['/', '\\', ':', '*', '?', '"', '<', '>', '|']);
    if plain && !name.starts_with('.') {
        Ok(name)
    } else {
        Err(format!("`{name}` is not a valid artifact name"))
    }
}
