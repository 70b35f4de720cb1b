//! Rolling an environment back: the newest commit that touched its overlay is taken back by a new commit of the person
//! who presses the button, after they saw its diff.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Query, RawForm, State};
use axum::response::Redirect;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::{Changes, check_environment, check_repository, commit, decoded, diff};
use crate::caller::Caller;
use crate::failure::Failure;
use crate::layout::{Page, encode, form_key, page as frame};
use crate::pages::repositories::subject;
use crate::session::{Signed, form_value};
use crate::{Config, marks, when};

/// What to roll back.
#[derive(Deserialize)]
pub(crate) struct Asked {
    repository: String,
    environment: String,
}

impl Asked {
    fn check(&self, config: &Config) -> Result<(), Failure> {
        check_repository(&self.repository)?;
        check_environment(config, &self.environment)
    }
}

/// What a roll-back would do.
struct Revert {
    /// The commit that is taken back, with its files.
    commit: Value,
    /// Texts now, by path.
    now: Changes,
    /// Texts as they were before that commit.
    changes: Changes,
}

pub(crate) async fn review(
    State(config): State<Arc<Config>>,
    Extension(caller): Signed,
    Query(asked): Query<Asked>,
) -> Result<Markup, Failure> {
    asked.check(&config)?;
    let revert = read(&caller, &asked).await?;
    let content = html! {
        div.head { div.grow {
            h1 { "Roll back " (asked.environment) }
            p { (asked.repository) ": one commit in your name; the " (asked.environment) " cluster pulls it." }
        } }
        @match &revert {
            None => div.empty { h2 { "Nothing to go back to" } p { "No commit has changed " (asked.environment) " since the repository was made." }
                p { a.button href="/environments" { "Back" } } },
            Some(revert) => (offer(&caller, &asked, revert)),
        }
    };
    let crumbs = [("Environments", "/environments"), ("Roll back", "")];
    Ok(frame(&caller, &Page { title: "Roll back", section: "/environments", crumbs: &crumbs }, content))
}

fn offer(caller: &Caller, asked: &Asked, revert: &Revert) -> Markup {
    let sha = revert.commit["sha"].as_str().unwrap_or_default();
    let author = &revert.commit["commit"]["author"];
    html! {
        p { "This takes back " a href={ "/repositories/" (asked.repository) "/commit/" (sha) } { (subject(&revert.commit)) } ", "
            (marks::commit(sha)) " by " (author["name"].as_str().unwrap_or_default()) ", " (when::ago(author["date"].as_str().unwrap_or_default())) "." }
        h2 { "The commit" }
        @for (path, before) in &revert.changes {
            @let now = revert.now.get(path).and_then(Option::as_deref).unwrap_or_default();
            (diff(path, now, before.as_deref().unwrap_or_default()))
        }
        form method="post" action="/environments/rollback" data-once {
            (form_key(caller))
            input type="hidden" name="repository" value=(asked.repository);
            input type="hidden" name="environment" value=(asked.environment);
            input type="hidden" name="commit" value=(sha);
            div.actions { button.primary { "Roll back " (asked.environment) } a.button.quiet href="/environments" { "Cancel" } }
        }
        p.small.muted { "The same by hand: " code { "git revert " (sha.get(..7).unwrap_or(sha)) } "; it can be undone by rolling back once more." }
    }
}

pub(crate) async fn apply(
    State(config): State<Arc<Config>>,
    Extension(caller): Signed,
    RawForm(form): RawForm,
) -> Result<Redirect, Failure> {
    let field = |name: &str| form_value(&form, name).unwrap_or_default();
    let asked = Asked { repository: field("repository"), environment: field("environment") };
    asked.check(&config)?;
    let revert = read(&caller, &asked).await?;
    // Somebody may have committed between the look and the press.
    let wanted = field("commit");
    let revert = revert.filter(|revert| revert.commit["sha"] == wanted.as_str()).ok_or_else(|| {
        Failure::input(format!(
            "{} changed since you looked: look at what a roll-back would do now",
            asked.environment
        ))
    })?;
    let message = format!(
        "Revert \"{}\"\n\nThis reverts commit {wanted} in overlays/{}.\n",
        subject(&revert.commit),
        asked.environment
    );
    commit(&caller, &asked.repository, &revert.changes, &message).await?;
    Ok(Redirect::to("/environments"))
}

/// The newest commit that touched the overlay and has a parent to go back to.
async fn read(caller: &Caller, asked: &Asked) -> Result<Option<Revert>, Failure> {
    let api = format!("/api/v3/repos/{}", asked.repository);
    let overlay = format!("overlays/{}", asked.environment);
    let found = caller.get(&format!("{api}/commits?per_page=1&path={}", encode(&overlay))).await?;
    let Some(newest) = found[0]["sha"].as_str() else { return Ok(None) };
    let whole = caller.get(&format!("{api}/commits/{newest}")).await?;
    let Some(parent) = whole["parents"][0]["sha"].as_str() else { return Ok(None) };
    let (mut now, mut changes) = (Changes::new(), Changes::new());
    for path in overlay_files(&whole, &overlay) {
        let text = async |at: &str| -> Result<Option<String>, Failure> {
            let encoded: Vec<String> = path.split('/').map(encode).collect();
            let found = caller.find(&format!("{api}/contents/{}?ref={at}", encoded.join("/"))).await?;
            Ok(found.map(|file| decoded(&file)))
        };
        now.insert(path.clone(), text(newest).await?);
        changes.insert(path.clone(), text(parent).await?);
    }
    Ok(Some(Revert { commit: whole, now, changes }))
}

/// The commit's files below the overlay; what it changed elsewhere stays.
fn overlay_files(commit: &Value, overlay: &str) -> Vec<String> {
    let files = commit["files"].as_array().into_iter().flatten().filter_map(|f| f["filename"].as_str());
    files
        .filter(|file| file.strip_prefix(overlay).is_some_and(|rest| rest.starts_with('/')))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_environments_own_files_go_back() {
        let commit = json!({"files": [{"filename": "overlays/qa/a.yaml"}, {"filename": "overlays/qa2/a.yaml"}, {"filename": "base/a.yaml"}]});
        assert_eq!(overlay_files(&commit, "overlays/qa"), ["overlays/qa/a.yaml"]);
    }
}
