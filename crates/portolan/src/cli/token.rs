//! `portolan token PERSON`: an API token, printed for the owner of the data directory.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use identity::Keyring;

use crate::{data, people};

#[derive(Args, Debug)]
pub(crate) struct Token {
    /// Who the token speaks for, for example sasha
    person: String,
    /// The platform's data directory [default: ~/.local/share/portolan]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Token {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let names = || people::PEOPLE.iter().map(|p| p.login).collect::<Vec<_>>().join(", ");
        let person = people::find(&self.person).with_context(|| {
            format!("there is nobody called {:?}: choose one of {}", self.person, names())
        })?;
        let data = match self.data {
            Some(data) => data,
            None => data::default_path()?,
        };
        let key = data.join("identity.key");
        anyhow::ensure!(
            key.exists(),
            "{} has no key yet: start the platform once with `portolan up`",
            data.display()
        );
        println!("{}", Keyring::open(&key)?.sign(&person.claims()));
        Ok(ExitCode::SUCCESS)
    }
}
