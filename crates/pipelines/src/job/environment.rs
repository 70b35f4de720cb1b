//! The environment of a step's process: nothing of the platform's own, but what GitHub promises and what the machine's
//! package managers need.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::{Directories, JobRun};
use crate::process::TRACKING;
use crate::workflow::Job;

/// Variables of the platform's environment that steps see: where packages and certificates come from on this machine.
const KEPT: [&str; 15] = [
    "LANG",
    "LC_ALL",
    "TZ",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "ALL_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "PIP_INDEX_URL",
];

/// The `runner` context.
pub(super) fn runner_context(directories: &Directories) -> Value {
    json!({
        "name": "portolan",
        "os": "Linux",
        "arch": architecture(),
        "temp": directories.temp.to_string_lossy(),
        "tool_cache": directories.root.join("tools").to_string_lossy(),
        "environment": "self-hosted",
        "debug": "",
    })
}

/// Adds the variables that are the same for all steps of a job; they win over what the workflow declares.
pub(super) fn add_fixed(run: &mut JobRun, job: &Job, tracking: &str) -> Result<(), String> {
    let directories = &run.directories;
    let docker = directories.root.join("docker");
    let tools = directories.root.join("tools");
    for path in [&docker, &tools] {
        std::fs::create_dir_all(path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
    }
    let github = run.contexts.values["github"].clone();
    let text = |name: &str| dialect::actions::text_of(&github[name]);
    let shown = |path: &Path| path.to_string_lossy().into_owned();
    let mut fixed: BTreeMap<String, String> = machine_variables();
    for name in [
        "actor",
        "api_url",
        "server_url",
        "event_name",
        "event_path",
        "ref",
        "ref_name",
        "ref_type",
        "repository",
        "repository_owner",
        "run_id",
        "run_number",
        "run_attempt",
        "sha",
        "workflow",
        "workflow_ref",
        "workflow_sha",
        "workspace",
        "triggering_actor",
    ] {
        fixed.insert(format!("GITHUB_{}", name.to_ascii_uppercase()), text(name));
    }
    let own = [
        ("CI", "true".to_owned()),
        ("GITHUB_ACTIONS", "true".to_owned()),
        ("GITHUB_JOB", job.id.clone()),
        ("GITHUB_HEAD_REF", String::new()),
        ("GITHUB_BASE_REF", String::new()),
        ("HOME", shown(&directories.home)),
        ("RUNNER_OS", "Linux".to_owned()),
        ("RUNNER_ARCH", architecture().to_owned()),
        ("RUNNER_NAME", "portolan".to_owned()),
        ("RUNNER_ENVIRONMENT", "self-hosted".to_owned()),
        ("RUNNER_TEMP", shown(&directories.temp)),
        ("TMPDIR", shown(&directories.temp)),
        ("RUNNER_TOOL_CACHE", shown(&tools)),
        ("RUNNER_WORKSPACE", shown(directories.workspace.parent().unwrap_or(&directories.root))),
        ("DOCKER_CONFIG", shown(&docker)),
        ("REGISTRY_ADDRESS", run.run.shared.config.registry.clone()),
        (TRACKING, tracking.to_owned()),
    ];
    fixed.extend(own.into_iter().map(|(name, value)| (name.to_owned(), value)));
    // Packages are kept between jobs: with an empty home, each job would load them all again.
    let cache = run.run.shared.config.data.join("cache").join("npm");
    fixed.entry("npm_config_cache".to_owned()).or_insert_with(|| shown(&cache));
    run.env.extend(fixed);
    Ok(())
}

/// All variables of one step's process.
pub(super) fn of_process(run: &JobRun, step: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut all = run.env.clone();
    all.extend(step.iter().map(|(name, value)| (name.clone(), value.clone())));
    let own = all.get("PATH").cloned().unwrap_or_else(machine_path);
    let path: Vec<&str> = run.path.iter().map(String::as_str).chain([own.as_str()]).collect();
    let path = path.join(":");
    all.insert("PATH".to_owned(), path);
    all
}

/// The `PATH` that the platform was started with.
pub(crate) fn machine_path() -> String {
    std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".to_owned())
}

/// The machine's configuration of package managers and proxies. npm reads the user's `~/.npmrc`, which the job's own
/// home does not have, so its place is named.
fn machine_variables() -> BTreeMap<String, String> {
    let kept = |name: &str| KEPT.contains(&name) || name.to_ascii_lowercase().starts_with("npm_config_");
    let mut variables: BTreeMap<String, String> = std::env::vars().filter(|(name, _)| kept(name)).collect();
    let named = variables.keys().any(|name| name.eq_ignore_ascii_case("npm_config_userconfig"));
    let npmrc = std::env::var_os("HOME").map(|home| Path::new(&home).join(".npmrc"));
    if let (false, Some(npmrc)) = (named, npmrc.filter(|path| path.is_file())) {
        variables.insert("NPM_CONFIG_USERCONFIG".to_owned(), npmrc.to_string_lossy().into_owned());
    }
    variables
}

fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "ARM64" } else { "X64" }
}
