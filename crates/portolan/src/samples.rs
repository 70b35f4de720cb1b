//! The sample organisation: its repositories are compiled in and pushed once, into a git host that lacks them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use git::host::Sender;
use git::host::metadata::Metadata;
use git::{Change, Host, NewCommit, Signature};
use include_dir::{Dir, DirEntry, include_dir};

use crate::config::Samples;
use crate::people::{self, ORGANISATION};

static SAMPLES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../samples");

/// The topic by which clusters find repositories to deploy.
pub(crate) const DEPLOY_TOPIC: &str = "flux-managed";
/// The template repository of the founding story.
pub(crate) const TEMPLATE_REPOSITORY: &str = "template-node-development";
/// The template of an application that needs no package.
pub(crate) const TINY_REPOSITORY: &str = "template-tiny-app";
/// The repository with people and teams.
const ORGANISATION_REPOSITORY: &str = "org";

/// One repository of the samples.
pub(crate) struct Sample {
    /// Its name, and its folder's.
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) topics: &'static [&'static str],
}

/// All samples that are repositories of an empty platform.
pub(crate) const REPOSITORIES: &[Sample] = &[
    Sample { name: ORGANISATION_REPOSITORY, description: "People and teams", topics: &[] },
    Sample {
        name: TEMPLATE_REPOSITORY,
        description: "Templates for a Node stack, and the composition that runs it",
        topics: &[DEPLOY_TOPIC],
    },
    Sample {
        name: TINY_REPOSITORY,
        description: "Template for an application without packages",
        topics: &[],
    },
];

/// The files of a sample: path and content. Folders named `node_modules` are somebody's leftovers.
pub(crate) fn files(name: &str) -> BTreeMap<String, Bytes> {
    let mut found = BTreeMap::new();
    if let Some(folder) = SAMPLES.get_dir(name) {
        collect(folder, name, &mut found);
    }
    found
}

fn collect(folder: &'static Dir<'static>, root: &str, found: &mut BTreeMap<String, Bytes>) {
    for entry in folder.entries() {
        match entry {
            DirEntry::Dir(inner) if inner.path().file_name().is_some_and(|n| n == "node_modules") => {}
            DirEntry::Dir(inner) => collect(inner, root, found),
            DirEntry::File(file) => {
                let path = file.path().strip_prefix(root).unwrap_or(file.path());
                found.insert(path.to_string_lossy().into_owned(), Bytes::from_static(file.contents()));
            }
        }
    }
}

/// The names of the repositories that an empty platform starts with.
pub(crate) fn pushed(samples: Samples) -> impl Iterator<Item = &'static str> {
    let wanted = move |name: &&str| samples == Samples::All || *name == ORGANISATION_REPOSITORY;
    REPOSITORIES.iter().map(|sample| sample.name).filter(wanted)
}

/// Makes the repositories that are missing, each with one commit by the platform engineer.
pub(crate) async fn push(host: Host, samples: Samples) -> Result<()> {
    let author =
        people::find("priyanka").context("the sample organisation has no platform engineer")?.claims();
    let sender =
        Sender { login: author.subject.clone(), name: author.name.clone(), email: author.email.clone() };
    for sample in REPOSITORIES.iter().filter(|sample| pushed(samples).any(|name| name == sample.name)) {
        if host.repository(&format!("{ORGANISATION}/{}", sample.name)).is_none() {
            push_one(&host, sample, &sender)
                .await
                .with_context(|| format!("cannot push the sample {}", sample.name))?;
        }
    }
    Ok(())
}

async fn push_one(host: &Host, sample: &Sample, sender: &Sender) -> Result<()> {
    let metadata = Metadata {
        description: sample.description.to_owned(),
        topics: sample.topics.iter().map(|t| (*t).to_owned()).collect(),
        ..Metadata::default()
    };
    let hosted = host.create(ORGANISATION, sample.name, metadata, sender).await?;
    let signature = Signature::now(&sender.name, &sender.email);
    let commit = NewCommit {
        reference: "refs/heads/main".to_owned(),
        parent: None,
        changes: files(sample.name)
            .into_iter()
            .map(|(path, content)| (path, Change::file(content)))
            .collect(),
        author: signature.clone(),
        committer: signature,
        message: format!("{}\n", sample.description),
    };
    host.commit(&hosted, &commit, sender).await?;
    Ok(())
}
