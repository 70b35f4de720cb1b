//! `docker/setup-buildx-action`: nothing to set up, as images are built by the platform itself.

use super::Call;

pub(super) async fn run(call: &mut Call<'_>) -> Result<(), String> {
    call.log.line("Images are built by the platform's own builder; its layer cache is always on.");
    call.output("name", "portolan");
    call.output("driver", "portolan");
    call.output("platforms", format!("linux/{}", registry::image::architecture()));
    Ok(())
}
