//! `docker/login-action`: credentials for later pushes, checked where the registry is the platform's own.

use std::time::Duration;

use base64::Engine as _;
use serde_json::json;

use super::Call;

/// The platform's own registry answers at once.
const TIMEOUT: Duration = Duration::from_secs(20);

pub(super) async fn run(call: &mut Call<'_>) -> Result<(), String> {
    let registry = call.input("registry").unwrap_or("docker.io").trim_end_matches('/').to_owned();
    let registry = registry.trim_start_matches("https://").trim_start_matches("http://").to_owned();
    let (user, password) = (call.required("username")?, call.required("password")?);
    call.log.mask(&password);
    if registry == call.job.run.shared.config.registry {
        check(&registry, &user, &password).await?;
    }
    call.job.registries.insert(registry.clone(), (user, password));
    // Programs that steps start themselves read Docker's own file.
    let auths: serde_json::Map<String, serde_json::Value> = call
        .job
        .registries
        .iter()
        .map(|(name, (user, password))| {
            let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            (name.clone(), json!({ "auth": encoded }))
        })
        .collect();
    let path = call.job.directories.root.join("docker").join("config.json");
    let text = serde_json::to_vec_pretty(&json!({ "auths": auths })).unwrap_or_default();
    std::fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    call.log.line(&format!("Login Succeeded: {registry}"));
    Ok(())
}

async fn check(registry: &str, user: &str, password: &str) -> Result<(), String> {
    let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build();
    let client = client.map_err(|error| error.to_string())?;
    let request = client.get(format!("http://{registry}/v2/")).basic_auth(user, Some(password));
    let response = request
        .send()
        .await
        .map_err(|error| format!("{registry} does not answer: {}", error.without_url()))?;
    if response.status().is_success() {
        Ok(())
    } else {
        Err(format!("{registry} refuses the login: {}", response.status()))
    }
}
