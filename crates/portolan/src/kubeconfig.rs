//! What clients need to find the platform: `kubeconfig` and `endpoints.json` in the data directory.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::config::{Config, ENVIRONMENTS};
use crate::data::{DataDir, write_private};

/// Writes both files. `token` is the administrator's, for the person who owns the directory.
pub(crate) fn write(data: &DataDir, config: &Config, ca_pem: &str, token: &str) -> Result<()> {
    let kubeconfig = kubeconfig(config, ca_pem, token);
    write_private(&data.file("kubeconfig"), yaml::emit(&kubeconfig).as_bytes())?;
    let endpoints = json!({
        "portal": config.base_url(),
        "git": config.base_url(),
        "registry": config.registry(),
        "gateway": config.gateway_url(),
        "clusters": ENVIRONMENTS.iter().map(|name| ((*name).to_owned(), config.cluster_url(name).into())).collect::<serde_json::Map<String, Value>>(),
    });
    write_private(&data.file("endpoints.json"), format!("{endpoints:#}\n").as_bytes())
}

/// A kubeconfig with a context for each environment; the first is current.
fn kubeconfig(config: &Config, ca_pem: &str, token: &str) -> Value {
    let clusters = ENVIRONMENTS.iter().map(|name| {
        json!({"name": name, "cluster": {"server": config.cluster_url(name), "certificate-authority-data": STANDARD.encode(ca_pem)}})
    });
    let contexts = ENVIRONMENTS
        .iter()
        .map(|name| json!({"name": name, "context": {"cluster": name, "user": "portolan"}}));
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": clusters.collect::<Vec<_>>(),
        "contexts": contexts.collect::<Vec<_>>(),
        "current-context": ENVIRONMENTS[0],
        "users": [{"name": "portolan", "user": {"token": token}}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_context_for_each_environment() {
        let config = Config {
            data: "/nowhere".into(),
            listen: ([127, 0, 0, 1], 7007).into(),
            gateway: ([127, 0, 0, 1], 8080).into(),
            kubernetes: ([0, 0, 0, 0], 6443).into(),
            offline: true,
            no_host_images: false,
            samples: crate::config::Samples::All,
        };
        let made = kubeconfig(&config, "pem", "token");
        let names: Vec<&str> =
            made["contexts"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["dev", "qa", "prod"]);
        assert_eq!(made["clusters"][2]["cluster"]["server"], "https://127.0.0.1:6443/clusters/prod");
    }
}
