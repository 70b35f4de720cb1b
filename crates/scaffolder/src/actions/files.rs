//! Small actions on the workspace and the log: `debug:log`, `fs:rename`, `fs:delete`.

use std::fs;

use globset::Glob;
use serde_json::json;

use super::{Action, ActionError, text, texts};
use crate::workspace::{self, WorkspaceError};

pub(super) const DEBUG_LOG: Action = Action {
    id: "debug:log",
    description: "Writes a message into the log, and on request the names of the files in the workspace.",
    input: || {
        json!({"type": "object", "properties": {
            "message": {"type": "string"},
            "listWorkspace": {"type": ["boolean", "string"]},
            "extra": {"type": "object"},
        }})
    },
    output: || json!({}),
    call: |context, input| {
        Box::pin(async move {
            if let Some(message) = input["message"].as_str() {
                context.log(message);
            }
            if input["extra"].is_object() {
                context.log(&input["extra"].to_string());
            }
            let with_contents = input["listWorkspace"] == "with-contents";
            if with_contents || input["listWorkspace"] == "with-filenames" || input["listWorkspace"] == true {
                let entries = context.blocking(|root| Ok(workspace::read_all(&root, "")?)).await?;
                let lines: Vec<String> = entries.iter().map(|entry| line_of(entry, with_contents)).collect();
                context.log(&format!("Workspace:\n{}", lines.join("\n")));
            }
            Ok(json!({}))
        })
    },
    works_on_files: false,
};

fn line_of(entry: &workspace::Entry, with_contents: bool) -> String {
    match &entry.content {
        workspace::Content::File { bytes, .. } if with_contents => {
            format!("  - {}:\n\n{}", entry.path, String::from_utf8_lossy(bytes))
        }
        _ => format!("  - {}", entry.path),
    }
}

pub(super) const RENAME: Action = Action {
    id: "fs:rename",
    description: "Renames files and folders in the workspace.",
    input: || {
        json!({"type": "object", "required": ["files"], "properties": {"files": {"type": "array", "items": {
            "type": "object", "required": ["from", "to"], "properties": {
                "from": {"type": "string"}, "to": {"type": "string"}, "overwrite": {"type": "boolean"}}}}}})
    },
    output: || json!({}),
    call: |context, input| {
        Box::pin(async move {
            for file in input["files"].as_array().cloned().unwrap_or_default() {
                let (from, to) = (text(&file, "from", "").to_owned(), text(&file, "to", "").to_owned());
                let overwrite = file["overwrite"].as_bool().unwrap_or(false);
                let message = format!("File {from} renamed to {to} successfully");
                context.blocking(move |root| rename(&root, &from, &to, overwrite)).await?;
                context.log(&message);
            }
            Ok(json!({}))
        })
    },
    works_on_files: true,
};

fn rename(root: &std::path::Path, from: &str, to: &str, overwrite: bool) -> Result<(), ActionError> {
    let failed = |source| WorkspaceError::File { path: from.to_owned(), source };
    let (source, target) = (workspace::resolve(root, from)?, workspace::resolve(root, to)?);
    if fs::symlink_metadata(&target).is_ok() && !overwrite {
        return Err(ActionError::Input(format!("File {to} exists already; set overwrite to replace it")));
    }
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    fs::rename(source, target).map_err(failed)?;
    Ok(())
}

pub(super) const DELETE: Action = Action {
    id: "fs:delete",
    description: "Deletes files and folders of the workspace, by name or pattern.",
    input: || {
        json!({"type": "object", "required": ["files"],
            "properties": {"files": {"type": "array", "items": {"type": "string"}}}})
    },
    output: || json!({}),
    call: |context, input| {
        Box::pin(async move {
            for file in texts(&input, "files") {
                let name = file.clone();
                let count = context.blocking(move |root| delete(&root, &file)).await?;
                context.log(&format!("Deleted {name} ({count})"));
            }
            Ok(json!({}))
        })
    },
    works_on_files: true,
};

fn delete(root: &std::path::Path, pattern: &str) -> Result<usize, ActionError> {
    let relative = workspace::clean(pattern)?;
    let exact = workspace::resolve(root, pattern)?;
    let failed = |source| WorkspaceError::File { path: pattern.to_owned(), source };
    if let Ok(found) = fs::symlink_metadata(&exact) {
        if exact == root {
            return Err(ActionError::Input("the workspace itself cannot be deleted".to_owned()));
        }
        if found.is_dir() { fs::remove_dir_all(&exact) } else { fs::remove_file(&exact) }.map_err(failed)?;
        return Ok(1);
    }
    let glob =
        Glob::new(&relative.to_string_lossy()).map_err(|error| ActionError::Input(error.to_string()))?;
    let matcher = glob.compile_matcher();
    let mut count = 0;
    for entry in workspace::read_all(root, "")? {
        if matcher.is_match(&entry.path) {
            fs::remove_file(workspace::resolve(root, &entry.path)?).map_err(failed)?;
            count += 1;
        }
    }
    Ok(count)
}
