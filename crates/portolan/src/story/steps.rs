//! The steps, in the diagram's order. Each acts as its person and then checks what anybody could see.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use controller::{Cluster, Propagation};
use object::{Key, Resource, kinds, meta};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Actors, Plot, Teller, app, load, until};
use crate::people::ORGANISATION;
use crate::samples;

/// A push or a click is seen within this time.
const SOON: Duration = Duration::from_secs(30);
/// A task makes and fills three repositories.
const TASK: Duration = Duration::from_secs(120);
/// Installing, testing and building with npm on two cores.
const BUILD: Duration = Duration::from_secs(900);
/// A database starts, then what waits for it.
const STACK: Duration = Duration::from_secs(180);

/// Steps 1 and 2: templates are made, and found without a click.
pub(super) async fn priyanka(actors: &Actors, plot: &Plot, teller: &mut Teller) -> Result<()> {
    let title = "Priyanka pushes her templates and composition";
    teller.step("1", title, SOON, push_templates(actors, plot)).await?;
    let found = until(|| async { template(actors, plot).await });
    teller
        .step("2", "The portal has discovered the template", SOON, async {
            let entity = found.await?;
            Ok(format!("{}, owned by {}", entity["metadata"]["title"], entity["spec"]["owner"]))
        })
        .await
}

async fn push_templates(actors: &Actors, plot: &Plot) -> Result<String> {
    let mut pushed = vec![];
    for name in plot.repositories {
        pushed.push(push_sample(actors, name).await?);
    }
    Ok(pushed.join(", "))
}

/// Makes one of the sample repositories as a person would: over the REST API, then with git.
async fn push_sample(actors: &Actors, name: &str) -> Result<String> {
    let body = json!({"name": name, "description": "Templates for a Node stack", "private": false});
    actors.write("priyanka", Method::POST, &format!("/api/v3/orgs/{ORGANISATION}/repos"), &body).await?;
    let sample = samples::REPOSITORIES.iter().find(|s| s.name == name);
    let topics = json!({"names": sample.map_or(&[][..], |s| s.topics)});
    let path = format!("/api/v3/repos/{ORGANISATION}/{name}/topics");
    actors.write("priyanka", Method::PUT, &path, &topics).await?;
    let folder = actors.workdir.path().join(name);
    let files = samples::files(name);
    ensure!(!files.is_empty(), "there is no sample {name}");
    for (path, content) in &files {
        let path = folder.join(path);
        tokio::fs::create_dir_all(path.parent().context("a file without a folder")?).await?;
        tokio::fs::write(&path, content).await?;
    }
    let url = format!("{}/{ORGANISATION}/{name}.git", actors.base_url);
    actors.git("priyanka", &folder, &["init", "--quiet", "--initial-branch", "main"]).await?;
    actors.git("priyanka", &folder, &["add", "--all"]).await?;
    actors
        .git("priyanka", &folder, &["commit", "--quiet", "-m", "Templates and composition of the Node stack"])
        .await?;
    actors.git("priyanka", &folder, &["push", "--quiet", &url, "main"]).await?;
    Ok(format!("{} files in {ORGANISATION}/{name}", files.len()))
}

async fn template(actors: &Actors, plot: &Plot) -> Result<Option<Value>> {
    let (namespace, name) = plot.template.split_once('/').context("a template has a namespace")?;
    actors.find("sasha", &format!("/api/catalog/entities/by-name/template/{namespace}/{name}")).await
}

/// Steps 3 to 6: Sasha finds the template, is refused bad input, and gets three repositories.
pub(super) async fn sasha(actors: &Actors, plot: &Plot, teller: &mut Teller) -> Result<()> {
    teller.step("3", "Sasha signs in and browses the catalog", SOON, browse(actors, plot)).await?;
    teller.step("4", "Sasha opens the template's form", SOON, open_form(actors, plot)).await?;
    teller.step("4b", "Bad input is refused with the field named", SOON, bad_input(actors, plot)).await?;
    let mut task = String::new();
    teller
        .step("5", "Sasha fills the form and submits it", SOON, async {
            let body = json!({"templateRef": format!("template:{}", plot.template), "values": plot.values});
            let made = actors.write("sasha", Method::POST, "/api/scaffolder/v2/tasks", &body).await?;
            task = made["id"].as_str().context("the task has no id")?.to_owned();
            Ok(format!("task {task}"))
        })
        .await?;
    let play = async {
        until(|| async { finished_task(actors, &task).await }).await?;
        three_repositories(actors, plot).await
    };
    teller.step("6", "One task creates three repositories", TASK, play).await
}

async fn browse(actors: &Actors, plot: &Plot) -> Result<String> {
    let cookie = actors.sign_in("sasha").await?;
    let (_, name) = plot.template.split_once('/').unwrap_or_default();
    for (path, expected) in [("/", "Sasha"), ("/catalog?kind=template", name), ("/create", name)] {
        let page = actors.page(&cookie, path).await?;
        ensure!(page.contains(expected), "the page {path} does not show {expected:?}");
    }
    Ok("the create page offers it".to_owned())
}

async fn open_form(actors: &Actors, plot: &Plot) -> Result<String> {
    let cookie = actors.sign_in("sasha").await?;
    let page = actors.page(&cookie, &format!("/create/{}", plot.template)).await?;
    let fields: Vec<&String> = plot.values.as_object().into_iter().flatten().map(|(name, _)| name).collect();
    for field in &fields {
        ensure!(page.contains(&format!("name=\"{field}\"")), "the form has no field {field}");
    }
    Ok(format!("{} fields", fields.len()))
}

/// Each row is one field with a value that must be refused; nothing may be created.
async fn bad_input(actors: &Actors, plot: &Plot) -> Result<String> {
    let before = repository_names(actors).await?;
    let rows = [
        ("name", json!("Dash Board!")),
        ("apiPort", json!(70000)),
        ("owner", json!("group:default/nobody-here")),
    ];
    let mut refused = 0;
    for (field, value) in rows {
        let mut values = plot.values.clone();
        ensure!(values.get(field).is_some(), "the form has no field {field}");
        values[field] = value.clone();
        let body = json!({"templateRef": format!("template:{}", plot.template), "values": values});
        let (status, answer) =
            actors.ask("sasha", Method::POST, "/api/scaffolder/v2/tasks", Some(&body)).await?;
        ensure!(status == 400, "{field} = {value} was not refused but answered {status}");
        ensure!(
            answer["errors"].to_string().contains(field),
            "the refusal of {value} does not name {field}: {answer}"
        );
        refused += 1;
    }
    ensure!(repository_names(actors).await? == before, "refused input created something");
    Ok(format!("{refused} refused, nothing created"))
}

async fn repository_names(actors: &Actors) -> Result<Vec<String>> {
    let found = actors
        .find("sasha", &format!("/api/v3/orgs/{ORGANISATION}/repos?per_page=100"))
        .await?
        .unwrap_or_default();
    let names = found.as_array().into_iter().flatten().filter_map(|r| r["name"].as_str().map(str::to_owned));
    Ok(names.collect())
}

async fn finished_task(actors: &Actors, id: &str) -> Result<Option<()>> {
    let path = format!("/api/scaffolder/v2/tasks/{id}");
    let task = actors.find("sasha", &path).await?.context("the task is gone")?;
    match task["status"].as_str() {
        Some("completed") => Ok(Some(())),
        Some("failed" | "cancelled") => {
            let events = actors.find("sasha", &format!("{path}/events")).await?.unwrap_or_default();
            let last: Vec<&str> = events
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|e| e["body"]["message"].as_str())
                .collect();
            bail!(
                "the task failed: {}",
                last.iter().rev().take(4).rev().copied().collect::<Vec<_>>().join(" | ")
            )
        }
        _ => Ok(None),
    }
}

async fn three_repositories(actors: &Actors, plot: &Plot) -> Result<String> {
    for name in app::repositories(plot) {
        let path = format!("/api/v3/repos/{ORGANISATION}/{name}");
        let repository =
            actors.find("sasha", &path).await?.with_context(|| format!("there is no repository {name}"))?;
        let mut files = vec!["catalog-info.yaml"];
        if name.ends_with("-deploy") {
            let managed =
                repository["topics"].as_array().is_some_and(|t| t.iter().any(|t| t == samples::DEPLOY_TOPIC));
            ensure!(managed, "{name} lacks the topic {}", samples::DEPLOY_TOPIC);
            files.extend(["kustomization.yaml", "overlays/dev", "overlays/qa", "overlays/prod", "base"]);
        } else {
            files.extend([
                ".github/workflows/ci.yaml",
                ".github/workflows/release.yaml",
                "src",
                "package.json",
                "Dockerfile",
            ]);
        }
        for file in files {
            let found = actors.find("sasha", &format!("{path}/contents/{file}")).await?;
            ensure!(found.is_some(), "{name} has no {file}");
        }
    }
    Ok(app::repositories(plot).join(", "))
}

/// The workflows test, build and push, and write the new tag into the deploy repository.
pub(super) async fn workflows(actors: &Actors, plot: &Plot, teller: &mut Teller) -> Result<()> {
    for part in ["frontend", "backend"] {
        let title = format!("Workflows of {}-{part} test, build and push an image", plot.project);
        teller.step("W", &title, BUILD, built(actors, plot, part)).await?;
    }
    Ok(())
}

/// Waits for the checks of the newest commit, then for its image and the commit that names it in dev.
async fn built(actors: &Actors, plot: &Plot, part: &str) -> Result<String> {
    let repository = app::repository(plot, part);
    let sha = newest(actors, &repository).await?;
    let count = until(|| async { passed(actors, &repository, &sha).await }).await?;
    let tag = format!("sha-{}", &sha[..7]);
    for tag in [tag.as_str(), "latest"] {
        let (status, _) =
            actors.ask("sasha", Method::GET, &format!("/v2/{repository}/manifests/{tag}"), None).await?;
        ensure!(status == 200, "the registry answered {status} for {repository}:{tag}");
    }
    let deploy = app::repository(plot, "deploy");
    until(|| async { names_tag(actors, &deploy, &tag).await }).await?;
    Ok(format!("{count} checks passed, image {tag}"))
}

async fn newest(actors: &Actors, repository: &str) -> Result<String> {
    let found = actors.find("sasha", &format!("/api/v3/repos/{repository}/commits?per_page=1")).await?;
    let sha = found.and_then(|c| c[0]["sha"].as_str().map(str::to_owned));
    sha.with_context(|| format!("{repository} has no commit"))
}

/// How many checks a commit has once all of them passed; an error when one failed.
async fn passed(actors: &Actors, repository: &str, sha: &str) -> Result<Option<usize>> {
    let path = format!("/api/v3/repos/{repository}/commits/{sha}/status");
    let found = actors.find("sasha", &path).await?.unwrap_or_default();
    let statuses = found["statuses"].as_array().cloned().unwrap_or_default();
    let released =
        statuses.iter().any(|s| s["context"].as_str().is_some_and(|c| c.to_lowercase().contains("release")));
    match found["state"].as_str() {
        Some("failure" | "error") => {
            let failed = statuses.iter().find(|s| matches!(s["state"].as_str(), Some("failure" | "error")));
            bail!("a check of {repository} failed: {}", failed.cloned().unwrap_or_default())
        }
        Some("success") if released => Ok(Some(statuses.len())),
        _ => Ok(None),
    }
}

async fn names_tag(actors: &Actors, deploy: &str, tag: &str) -> Result<Option<()>> {
    let found = actors
        .find("sasha", &format!("/api/v3/repos/{deploy}/commits?per_page=20"))
        .await?
        .unwrap_or_default();
    let named =
        found.as_array().into_iter().flatten().any(|c| c["commit"]["message"].to_string().contains(tag));
    Ok(named.then_some(()))
}

/// Steps 7 to 14 in every environment: pulled, applied, composed, running.
pub(super) async fn clusters(actors: &Actors, plot: &Plot, teller: &mut Teller) -> Result<()> {
    let clusters = actors.clusters().await?;
    for (environment, cluster) in &clusters {
        let deploy = format!("{}-deploy", plot.project);
        let kind = |version: &'static str, kind: &'static str| ready(cluster, version, kind, &deploy);
        let title = format!("{environment}: the cluster pulls {deploy}");
        teller.step("7-8", &title, SOON * 3, kind("source.toolkit.fluxcd.io/v1", "GitRepository")).await?;
        let title = format!("{environment}: the overlay is applied");
        teller.step("9", &title, STACK, kind("kustomize.toolkit.fluxcd.io/v1", "Kustomization")).await?;
        let title = format!("{environment}: the composition has made every resource");
        teller.step("10-11", &title, STACK, composed(cluster, plot, environment)).await?;
        for (step, part) in [("12", "frontend"), ("13", "backend"), ("14", "database")] {
            let title = format!("{environment}: the {part} is running");
            teller.step(step, &title, STACK, running(cluster, plot, environment, part)).await?;
        }
    }
    Ok(())
}

/// Waits until the object of this kind whose name is or starts with `name` is Ready.
async fn ready(cluster: &Cluster, version: &str, kind: &str, name: &str) -> Result<String> {
    let resource = until(|| async { Ok(cluster.resolve(version, kind).await.ok()) }).await?;
    until(|| async {
        let found = cluster.list(&resource, "", "").await?.items;
        let ready =
            found.iter().find(|o| meta::name(o).contains(name) && meta::condition_is_true(o, "Ready"));
        Ok(ready.map(|o| meta::condition(o, "Ready").map(|c| text(&c["message"])).unwrap_or_default()))
    })
    .await
}

async fn composed(cluster: &Cluster, plot: &Plot, environment: &str) -> Result<String> {
    let resource = until(|| async { Ok(cluster.resolve("platform.io/v1", "XNodeApp").await.ok()) }).await?;
    let namespace = app::namespace(plot, environment);
    until(|| async {
        let found = cluster.list(&resource, &namespace, "").await?.items;
        let done = found
            .iter()
            .find(|o| meta::condition_is_true(o, "Synced") && meta::condition_is_true(o, "Ready"));
        Ok(done.map(|o| format!("XNodeApp {} in {namespace}", meta::name(o))))
    })
    .await
}

/// Waits for the ready pods of one part.
async fn running(cluster: &Cluster, plot: &Plot, environment: &str, part: &str) -> Result<String> {
    let namespace = app::namespace(plot, environment);
    until(|| async {
        let pods = cluster.list(&kinds::POD, &namespace, "").await?.items;
        let of_part = |pod: &&Value| match part {
            "database" => {
                meta::label(pod, "cnpg.io/cluster").is_some() && meta::label(pod, "job-name").is_none()
            }
            part => meta::name(pod).contains(part),
        };
        let ready = pods.iter().filter(of_part).find(|pod| meta::condition_is_true(pod, "Ready"));
        Ok(ready.map(|pod| format!("{} at {}", meta::name(pod), text(&pod["status"]["podIP"]))))
    })
    .await
}

/// Every environment shows the page, with rows of its own database.
pub(super) async fn pages(actors: &Actors, plot: &Plot, teller: &mut Teller) -> Result<()> {
    for environment in crate::config::ENVIRONMENTS {
        let title = format!("http://{} answers", app::host(actors, plot, environment));
        let seen = async {
            let page = until(|| app::page(actors, plot, environment, "/")).await?;
            ensure!(page.contains("<html"), "the page is not HTML");
            let rows = until(|| app::page(actors, plot, environment, "/api/metrics")).await?;
            let rows: Value = serde_json::from_str(&rows).context("the rows are not JSON")?;
            let rows = rows
                .as_array()
                .or(rows["rows"].as_array())
                .or(rows["metrics"].as_array())
                .map_or(0, Vec::len);
            ensure!(rows > 0, "the database of {environment} gave no row");
            Ok(format!("{rows} rows from the database"))
        };
        teller.step("URL", &title, STACK, seen).await?;
    }
    Ok(())
}

/// Rachel promotes what dev runs to qa and prod.
pub(super) async fn rachel(actors: &Actors, plot: &Plot, teller: &mut Teller) -> Result<()> {
    let deploy = app::repository(plot, "deploy");
    for pair in crate::config::ENVIRONMENTS.windows(2) {
        let title = format!("Rachel promotes {} to {}", pair[0], pair[1]);
        let play = async {
            promote(actors, &deploy, pair[0], pair[1]).await?;
            let sha = newest(actors, &deploy).await?;
            let commit = actors
                .find("rachel", &format!("/api/v3/repos/{deploy}/commits/{sha}"))
                .await?
                .unwrap_or_default();
            ensure!(
                commit["commit"]["author"]["name"] == "Rachel",
                "the commit is not Rachel's: {}",
                commit["commit"]["author"]
            );
            until(|| async { same_versions(actors, plot, pair[0], pair[1]).await }).await
        };
        teller.step("R", &title, STACK, play).await?;
    }
    Ok(())
}

/// Presses the portal's button.
async fn promote(actors: &Actors, repository: &str, from: &str, to: &str) -> Result<()> {
    let cookie = actors.sign_in("rachel").await?;
    let path = format!("/environments/promote?repository={repository}&from={from}&to={to}");
    let page = actors.page(&cookie, &path).await?;
    let marker = "name=\"form_key\" value=\"";
    let key = page
        .split(marker)
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .context("there is nothing to promote")?;
    let form = format!("form_key={key}&repository={repository}&from={from}&to={to}");
    let status = actors.post_form(&cookie, "/environments/promote", &form).await?;
    ensure!(status == 303, "the promotion answered {status}");
    Ok(())
}

/// What the Deployments of the project run in two environments, once it is the same and ready.
async fn same_versions(actors: &Actors, plot: &Plot, from: &str, to: &str) -> Result<Option<String>> {
    let left = images(&actors.cluster(from).await?, &app::namespace(plot, from)).await?;
    let right = images(&actors.cluster(to).await?, &app::namespace(plot, to)).await?;
    Ok((left == right && !left.is_empty()).then(|| left.join(", ")))
}

/// The images of all fully rolled out Deployments of a namespace; empty while one is not.
async fn images(cluster: &Cluster, namespace: &str) -> Result<Vec<String>> {
    let deployments = cluster.list(&kinds::DEPLOYMENT, namespace, "").await?.items;
    if !deployments.iter().all(rolled_out) {
        return Ok(vec![]);
    }
    let image = |d: &Value| text(&d["spec"]["template"]["spec"]["containers"][0]["image"]);
    let mut images: Vec<String> =
        deployments.iter().map(image).map(|i| i.rsplit('/').next().unwrap_or_default().to_owned()).collect();
    images.sort();
    Ok(images)
}

fn rolled_out(deployment: &Value) -> bool {
    let wanted = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
    let status = &deployment["status"];
    let is = |field: &str| status[field].as_i64().unwrap_or(0) == wanted;
    status["observedGeneration"].as_i64() == Some(meta::generation(deployment))
        && is("updatedReplicas")
        && is("availableReplicas")
        && is("replicas")
}

/// Sasha changes a label; then the change is reverted. The page never fails meanwhile.
pub(super) async fn change(actors: &Actors, plot: &Plot, teller: &mut Teller) -> Result<()> {
    let host = app::host(actors, plot, "dev");
    let stop = CancellationToken::new();
    let playing = async {
        let label = "Fleet at a glance";
        let title = "Sasha changes a label; it is built, pulled and rolled out";
        let played = async {
            teller.step("10", title, BUILD, change_label(actors, plot, label)).await?;
            teller
                .step("10b", "git revert brings the old version back", STACK, revert(actors, plot, label))
                .await
        };
        let played = played.await;
        stop.cancel();
        played
    };
    let (seen, played) = tokio::join!(load::load(actors, &host, "/", stop.clone()), playing);
    played?;
    let seen = seen?;
    teller
        .step("10c", "The load generator saw no failed request", SOON, async {
            let first = seen.failures.first().cloned().unwrap_or_default();
            ensure!(
                seen.failures.is_empty(),
                "{} of {} requests failed, first: {first}",
                seen.failures.len(),
                seen.requests
            );
            Ok(format!("{} requests", seen.requests))
        })
        .await
}

/// The sources of the page's title live in one file of the frontend, marked for this.
async fn change_label(actors: &Actors, plot: &Plot, label: &str) -> Result<String> {
    let folder = actors.clone("sasha", &format!("{}-frontend", plot.project)).await?;
    let file = folder.join("src/labels.json");
    let old = tokio::fs::read_to_string(&file).await.context("the frontend has no src/labels.json")?;
    let mut labels: Value = serde_json::from_str(&old)?;
    labels["title"] = label.into();
    tokio::fs::write(&file, format!("{labels:#}\n")).await?;
    actors.git("sasha", &folder, &["commit", "--quiet", "--all", "-m", "Say what the page is for"]).await?;
    actors.git("sasha", &folder, &["push", "--quiet", "origin", "main"]).await?;
    let built = built(actors, plot, "frontend").await?;
    until(|| async { shows(actors, plot, label).await }).await?;
    Ok(built)
}

/// Whether the new label is on the page, or in the scripts that it loads.
async fn shows(actors: &Actors, plot: &Plot, label: &str) -> Result<Option<()>> {
    let Some(page) = app::page(actors, plot, "dev", "/").await? else { return Ok(None) };
    if page.contains(label) {
        return Ok(Some(()));
    }
    for script in page.split("src=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        let content = app::page(actors, plot, "dev", script).await?;
        if script.starts_with('/') && content.is_some_and(|c| c.contains(label)) {
            return Ok(Some(()));
        }
    }
    Ok(None)
}

async fn revert(actors: &Actors, plot: &Plot, label: &str) -> Result<String> {
    let folder = actors.clone("sasha", &format!("{}-deploy", plot.project)).await?;
    actors.git("sasha", &folder, &["revert", "--no-edit", "HEAD"]).await?;
    actors.git("sasha", &folder, &["push", "--quiet", "origin", "main"]).await?;
    until(|| async { Ok(shows(actors, plot, label).await?.is_none().then_some(())) }).await?;
    let cluster = actors.cluster("dev").await?;
    let namespace = app::namespace(plot, "dev");
    let images =
        until(|| async { Ok(Some(images(&cluster, &namespace).await?).filter(|i| !i.is_empty())) }).await?;
    Ok(images.join(", "))
}

/// Somebody deletes a Deployment; it is back within seconds.
pub(super) async fn repair(actors: &Actors, plot: &Plot, teller: &mut Teller) -> Result<()> {
    let cluster = actors.cluster("dev").await?;
    let namespace = app::namespace(plot, "dev");
    let play = async {
        let found = cluster.list(&kinds::DEPLOYMENT, &namespace, "").await?.items;
        let victim = found.first().context("there is no Deployment")?.clone();
        let key = meta::key(&victim);
        cluster.delete(&kinds::DEPLOYMENT, &key, None, Propagation::Background).await?;
        back(&cluster, &kinds::DEPLOYMENT, &key, meta::uid(&victim)).await
    };
    teller.step("11", "A Deployment deleted by hand comes back", SOON, play).await
}

async fn back(cluster: &Cluster, resource: &Resource, key: &Key, old_uid: &str) -> Result<String> {
    until(|| async {
        let found = cluster.get(resource, key).await?;
        Ok(found.filter(|o| meta::uid(o) != old_uid).map(|_| format!("{} is back", key.name)))
    })
    .await
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
