//! `fetch:template` and `fetch:plain`: files of a repository of the git host into the workspace. A relative `url`
//! starts at the folder of the template itself, at the commit that the task was started with.

use dialect::nunjucks::{self, Whitespace};
use globset::{Glob, GlobSet, GlobSetBuilder};
use serde_json::{Value, json};

use super::{Action, ActionContext, ActionError, text, texts};
use crate::content::place;
use crate::workspace::{self, Content};

pub(super) const TEMPLATE: Action = Action {
    id: "fetch:template",
    description: "Downloads a skeleton, renders its file names and contents with values, and puts it in the workspace.",
    input: || {
        json!({"type": "object", "required": ["url"], "properties": {
            "url": {"type": "string", "title": "Fetch URL"},
            "targetPath": {"type": "string", "title": "Target path", "description": "Default: the workspace itself."},
            "values": {"type": "object", "title": "Template values"},
            "copyWithoutTemplating": {"type": "array", "items": {"type": "string"}},
            "copyWithoutRender": {"type": "array", "items": {"type": "string"}},
            "templateFileExtension": {"type": ["string", "boolean"]},
            "trimBlocks": {"type": "boolean"}, "lstripBlocks": {"type": "boolean"}, "replace": {"type": "boolean"},
        }})
    },
    output: || json!({}),
    call: |context, input| Box::pin(fetch_template(context, input)),
    works_on_files: true,
};

pub(super) const PLAIN: Action = Action {
    id: "fetch:plain",
    description: "Downloads files as they are and puts them in the workspace.",
    input: || {
        json!({"type": "object", "required": ["url"], "properties": {
            "url": {"type": "string", "title": "Fetch URL"},
            "targetPath": {"type": "string", "title": "Target path"},
        }})
    },
    output: || json!({}),
    call: |context, input| Box::pin(fetch_plain(context, input)),
    works_on_files: true,
};

async fn fetch_plain(context: ActionContext, input: Value) -> Result<Value, ActionError> {
    let entries = download(&context, text(&input, "url", "")).await?;
    let target = text(&input, "targetPath", "").to_owned();
    let count = entries.len();
    context
        .blocking(move |root| {
            for (path, content) in entries {
                workspace::write(&root, &below(&target, &path), &content, true)?;
            }
            Ok(())
        })
        .await?;
    context.log(&format!("Fetched {count} files"));
    Ok(json!({}))
}

async fn fetch_template(context: ActionContext, input: Value) -> Result<Value, ActionError> {
    let entries = download(&context, text(&input, "url", "")).await?;
    context.log(&format!("Processing {} template files", entries.len()));
    let written = context.blocking(move |root| render_all(&root, &input, entries)).await?;
    context.log(&format!("Template result written: {written} files"));
    Ok(json!({}))
}

/// How the files of a skeleton are treated.
struct Rules {
    verbatim_content: GlobSet,
    verbatim_all: GlobSet,
    extension: Option<String>,
    whitespace: Whitespace,
}

impl Rules {
    fn read(input: &Value) -> Result<Self, ActionError> {
        let extension = match &input["templateFileExtension"] {
            Value::Bool(true) => Some(".njk".to_owned()),
            Value::String(extension) if extension.starts_with('.') => Some(extension.clone()),
            Value::String(extension) if !extension.is_empty() => Some(format!(".{extension}")),
            _ => None,
        };
        if extension.is_some()
            && (!input["copyWithoutTemplating"].is_null() || !input["copyWithoutRender"].is_null())
        {
            let message =
                "templateFileExtension cannot be combined with copyWithoutTemplating or copyWithoutRender";
            return Err(ActionError::Input(message.to_owned()));
        }
        let flag = |field: &str| input[field].as_bool().unwrap_or(false);
        Ok(Self {
            verbatim_content: globs(&texts(input, "copyWithoutTemplating"))?,
            verbatim_all: globs(&texts(input, "copyWithoutRender"))?,
            extension,
            whitespace: Whitespace { trim_blocks: flag("trimBlocks"), lstrip_blocks: flag("lstripBlocks") },
        })
    }
}

fn globs(patterns: &[String]) -> Result<GlobSet, ActionError> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = Glob::new(pattern)
            .map_err(|error| ActionError::Input(format!("copyWithoutTemplating: {error}")))?;
        set.add(glob);
    }
    set.build().map_err(|error| ActionError::Input(format!("copyWithoutTemplating: {error}")))
}

fn render_all(
    root: &std::path::Path,
    input: &Value,
    entries: Vec<(String, Content)>,
) -> Result<usize, ActionError> {
    let rules = Rules::read(input)?;
    let scope = json!({"values": input.get("values").cloned().unwrap_or_else(|| json!({}))});
    let target = text(input, "targetPath", "");
    let replace = input["replace"].as_bool().unwrap_or(false);
    let mut written = 0;
    for (path, content) in entries {
        let Some((path, content)) = render_one(&rules, &scope, path, content)? else { continue };
        written += usize::from(workspace::write(root, &below(target, &path), &content, replace)?);
    }
    Ok(written)
}

/// One file of a skeleton, rendered; `None` when a part of its path renders to nothing.
fn render_one(
    rules: &Rules,
    scope: &Value,
    path: String,
    content: Content,
) -> Result<Option<(String, Content)>, ActionError> {
    if rules.verbatim_all.is_match(&path) {
        return Ok(Some((path, content)));
    }
    let failed = |source| ActionError::Render { path: path.clone(), source };
    let (stem, renders) = match &rules.extension {
        Some(extension) => match path.strip_suffix(extension.as_str()) {
            Some(stem) => (stem.to_owned(), true),
            None => (path.clone(), false),
        },
        None => (path.clone(), !rules.verbatim_content.is_match(&path)),
    };
    let name = nunjucks::render_text(&stem, scope, Whitespace::default()).map_err(failed)?;
    if name.split('/').any(str::is_empty) {
        return Ok(None);
    }
    let content = match content {
        Content::File { bytes, executable } if renders && !is_binary(&bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let bytes = nunjucks::render_text(&text, scope, rules.whitespace).map_err(failed)?.into_bytes();
            Content::File { bytes, executable }
        }
        other => other,
    };
    Ok(Some((name, content)))
}

/// A zero byte near the start, or no UTF-8 at all.
fn is_binary(bytes: &[u8]) -> bool {
    bytes.iter().take(8000).any(|byte| *byte == 0) || std::str::from_utf8(bytes).is_err()
}

/// The files at an address: relative to the template, or a folder or file of a repository on the git host.
async fn download(context: &ActionContext, url: &str) -> Result<Vec<(String, Content)>, ActionError> {
    let host = context.host();
    let spec = context.task.with(|record| record.spec.clone());
    let copies = &context.services.copies;
    context.log(&format!("Fetching template content from {url}"));
    let (repository, commit, folder) = if url.contains("://") {
        let place = place(url).filter(|_| context.services.is_own_address(url)).ok_or_else(|| {
            ActionError::Input(format!("url: \"{url}\" is not a folder of a repository on {}", host.base_url))
        })?;
        let branch = match place.branch.as_str() {
            "" => {
                let found = host.repository(&place.repository).await?;
                let found = found.ok_or_else(|| {
                    ActionError::Input(format!("there is no repository {}", place.repository))
                })?;
                found["default_branch"].as_str().unwrap_or("main").to_owned()
            }
            branch => branch.to_owned(),
        };
        let commit = copies.head(&host, &place.repository, &branch).await?;
        (place.repository, commit, place.path)
    } else {
        let folder = below(&spec.template_folder, url);
        let folder = workspace::clean(&folder)?.to_string_lossy().into_owned();
        (spec.template_repository, spec.template_commit, folder)
    };
    let files = copies.files(&host, &repository, &commit, &folder).await?;
    if files.is_empty() {
        return Err(ActionError::Input(format!(
            "there are no files in {folder} of {repository} at {commit}"
        )));
    }
    Ok(files.into_iter().map(entry_of).collect())
}

/// A path below a folder that may be empty.
fn below(folder: &str, path: &str) -> String {
    if folder.is_empty() { path.to_owned() } else { format!("{folder}/{path}") }
}

fn entry_of(file: git::repository::File) -> (String, Content) {
    let content = match file.mode.as_str() {
        "120000" => Content::Link(String::from_utf8_lossy(&file.content).into_owned()),
        mode => Content::File { bytes: file.content.to_vec(), executable: mode == "100755" },
    };
    (file.path, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Content {
        Content::File { bytes: text.as_bytes().to_vec(), executable: false }
    }

    #[test]
    fn names_and_contents_are_rendered_as_the_input_says() {
        let scope = json!({"values": {"name": "web", "none": ""}});
        let check = |input: Value, path: &str, content: &str, expected: Option<(&str, &str)>| {
            let rules = Rules::read(&input).unwrap();
            let found = render_one(&rules, &scope, path.to_owned(), file(content)).unwrap();
            assert_eq!(
                found,
                expected.map(|(path, content)| (path.to_owned(), file(content))),
                "{input} {path}"
            );
        };
        check(json!({}), "${{ values.name }}/a", "n: ${{ values.name }}", Some(("web/a", "n: web")));
        check(json!({}), "${{ values.none }}/a", "x", None);
        check(json!({}), "{% if values.none %}a{% endif %}", "x", None);
        let verbatim = json!({"copyWithoutTemplating": [".github/workflows/*"]});
        check(
            verbatim.clone(),
            ".github/workflows/ci-${{ values.name }}.yaml",
            "${{ github.sha }}",
            Some((".github/workflows/ci-web.yaml", "${{ github.sha }}")),
        );
        check(verbatim, "src/a", "${{ values.name }}", Some(("src/a", "web")));
        check(json!({"copyWithoutRender": ["*.t"]}), "${{x}}.t", "${{ y }}", Some(("${{x}}.t", "${{ y }}")));
        check(json!({"templateFileExtension": true}), "a.njk", "${{ values.name }}", Some(("a", "web")));
        check(
            json!({"templateFileExtension": true}),
            "a",
            "${{ values.name }}",
            Some(("a", "${{ values.name }}")),
        );
        check(json!({}), "bin", "\0${{ values.name }}", Some(("bin", "\0${{ values.name }}")));
    }
}
