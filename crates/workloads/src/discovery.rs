//! Every kind that the cluster serves, read from discovery: for those who work on objects of any kind.

use controller::{ApiError, Cluster};
use http::Method;
use object::{Resource, meta};

/// What one pass over discovery found.
pub(crate) struct Served {
    /// Kinds that can be listed, watched and deleted, in each group's preferred version.
    pub(crate) resources: Vec<Resource>,
    /// Group versions that could not be read.
    pub(crate) failed: Vec<String>,
}

/// Asks the API server which kinds there are.
pub(crate) async fn served(cluster: &Cluster) -> Result<Served, ApiError> {
    let mut served = Served { resources: vec![], failed: vec![] };
    read(cluster, "v1", &mut served).await;
    let groups = cluster.call(Method::GET, "/apis", None, b"").await?;
    for group in groups["groups"].as_array().into_iter().flatten() {
        let preferred = group["preferredVersion"]["groupVersion"].as_str();
        if let Some(group_version) = preferred.or_else(|| group["versions"][0]["groupVersion"].as_str()) {
            read(cluster, group_version, &mut served).await;
        }
    }
    Ok(served)
}

async fn read(cluster: &Cluster, group_version: &str, served: &mut Served) {
    let path = if group_version.contains('/') {
        format!("/apis/{group_version}")
    } else {
        format!("/api/{group_version}")
    };
    let Ok(list) = cluster.call(Method::GET, &path, None, b"").await else {
        served.failed.push(group_version.to_owned());
        return;
    };
    let (group, version) = meta::split_api_version(group_version);
    for entry in list["resources"].as_array().into_iter().flatten() {
        let has = |verb: &str| entry["verbs"].as_array().is_some_and(|verbs| verbs.iter().any(|v| v == verb));
        let (Some(plural), Some(kind)) = (entry["name"].as_str(), entry["kind"].as_str()) else { continue };
        if !plural.contains('/') && has("list") && has("watch") && has("delete") {
            let namespaced = entry["namespaced"] == true;
            served.resources.push(Resource::new(group, version, plural, kind, namespaced));
        }
    }
}
