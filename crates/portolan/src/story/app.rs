//! What the story knows of the application that the template makes: names, hosts, and what a page shows.

use anyhow::Result;

use super::{Actors, Plot};
use crate::people::ORGANISATION;

/// The three repositories of the project, code first.
pub(crate) fn repositories(plot: &Plot) -> [String; 3] {
    ["frontend", "backend", "deploy"].map(|part| format!("{}-{part}", plot.project))
}

/// Full name of one of the project's repositories.
pub(crate) fn repository(plot: &Plot, part: &str) -> String {
    format!("{ORGANISATION}/{}-{part}", plot.project)
}

/// The namespace of an environment: prod has the project's bare name.
pub(crate) fn namespace(plot: &Plot, environment: &str) -> String {
    if environment == "prod" { plot.project.clone() } else { format!("{}-{environment}", plot.project) }
}

/// The host that the gateway routes to an environment.
pub(crate) fn host(actors: &Actors, plot: &Plot, environment: &str) -> String {
    format!("{}.{environment}.localhost:{}", plot.project, actors.gateway_port)
}

/// The page's HTML when it answers, none while it does not.
pub(crate) async fn page(
    actors: &Actors,
    plot: &Plot,
    environment: &str,
    path: &str,
) -> Result<Option<String>> {
    match actors.through_gateway(&host(actors, plot, environment), path).await? {
        (200, text) => Ok(Some(text)),
        _ => Ok(None),
    }
}
