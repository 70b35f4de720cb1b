//! `portolan demo`: the platform, and the founding story played on it for real.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::json;

use super::up::{Up, stop_on_signal};
use crate::config::Samples;
use crate::story::{self, Actors, Plot, Teller};
use crate::{samples, wire};

#[derive(Args, Debug)]
pub(crate) struct Demo {
    #[command(flatten)]
    up: Up,
    /// End after the last step; the exit code is 0 only if every step was verified
    #[arg(long)]
    exit: bool,
    /// Write the timeline to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// What Sasha makes: an application with packages from npm, or one that needs no network
    #[arg(long, value_enum, default_value_t = Application::NodeDevelopment)]
    template: Application,
}

/// The templates that the story can be played with.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Application {
    /// The founding document's: React, Express, PostgreSQL
    NodeDevelopment,
    /// The same application in plain Node, without any package
    TinyApp,
}

impl Demo {
    pub(crate) async fn run(mut self) -> Result<ExitCode> {
        let stop = stop_on_signal()?;
        // Without --data the demo leaves nothing behind: it starts empty each time.
        let temporary = match &self.up.data {
            Some(_) => None,
            None => Some(
                tempfile::Builder::new()
                    .prefix("portolan-demo-")
                    .tempdir()
                    .context("cannot make a folder")?,
            ),
        };
        if let Some(folder) = &temporary {
            self.up.data = Some(folder.path().to_owned());
        }
        let mut platform = wire::start(self.up.config(Samples::Organisation)?, stop.clone()).await?;
        println!(
            "portal {}, clusters: KUBECONFIG={}",
            platform.config.base_url(),
            platform.kubeconfig().display()
        );
        let actors =
            Actors::new(&platform.config.data, platform.config.base_url(), platform.config.gateway.port())?;
        let mut teller = Teller::new();
        let plot = plot(self.template);
        let played = tokio::select! {
            played = async { platform.ready().await?; story::play(&actors, &plot, &mut teller).await } => played,
            () = stop.cancelled() => Err(anyhow::anyhow!("stopped before the story's end")),
        };
        if let Some(file) = &self.json {
            let timeline = json!({"verified": played.is_ok(), "steps": teller.told});
            std::fs::write(file, format!("{timeline:#}\n"))
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        if let Err(error) = &played {
            eprintln!("portolan: {}", crate::one_line(error));
        }
        if !self.exit && !stop.is_cancelled() {
            println!("{}", places(&actors, &plot));
            stop.cancelled().await;
        }
        platform.stop().await;
        if let Some(folder) = temporary {
            println!("removing {}", folder.path().display());
            drop(folder);
        }
        Ok(if played.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// The founding document's own values.
fn plot(application: Application) -> Plot {
    let (template, repositories): (_, &[_]) = match application {
        Application::NodeDevelopment => ("default/node-development", &[samples::TEMPLATE_REPOSITORY]),
        // It runs on the composition of the other repository.
        Application::TinyApp => {
            ("default/tiny-app", &[samples::TEMPLATE_REPOSITORY, samples::TINY_REPOSITORY])
        }
    };
    Plot {
        template: template.to_owned(),
        repositories,
        values: json!({
            "name": "dashboard",
            "owner": "group:default/platform-team",
            "database": "metrics",
            "apiPort": 3001,
            "monitoring": true,
        }),
        project: "dashboard".to_owned(),
    }
}

fn places(actors: &Actors, plot: &Plot) -> String {
    let host = |environment: &str| {
        format!("http://{}.{environment}.localhost:{}", plot.project, actors.gateway_port)
    };
    format!(
        "\nportal  {}\ndev     {}\nqa      {}\nprod    {}\nEnd with Ctrl-C.",
        actors.base_url,
        host("dev"),
        host("qa"),
        host("prod")
    )
}
