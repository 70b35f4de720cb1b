//! Why a build fails. Every error names the file it is about; where kustomize has a well-known wording, it is kept, so
//! that a search for it finds the known answers.

/// Why a build failed. Paths are relative to the tree's root; `/` before them is that root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No kustomization file in a directory.
    #[error(
        "unable to find one of 'kustomization.yaml', 'kustomization.yml' or 'Kustomization' in directory '{dir}'"
    )]
    NoKustomization {
        /// The directory.
        dir: String,
    },
    /// More than one kustomization file in a directory.
    #[error("Found multiple kustomization files under: {dir}")]
    ManyKustomizations {
        /// The directory.
        dir: String,
    },
    /// What is to be built is not there, or not a directory.
    #[error("must build at directory: '{dir}': {reason}")]
    NotDirectory {
        /// The path.
        dir: String,
        /// Why it is none.
        reason: &'static str,
    },
    /// A file that a kustomization names does not exist.
    #[error("{file}: {}", self.reason())]
    Missing {
        /// The kustomization.
        file: String,
        /// The path from the root.
        path: String,
    },
    /// A directory stands where a file is wanted.
    #[error("{file}: {}", self.reason())]
    NotFile {
        /// The kustomization.
        file: String,
        /// The path from the root.
        path: String,
    },
    /// A path leaves the tree, or a file the directory it is restricted to.
    #[error("{file}: {}", self.reason())]
    Outside {
        /// The kustomization.
        file: String,
        /// The path as written, or where it leads.
        path: String,
        /// What it has to be in.
        dir: String,
    },
    /// A symbolic link leads out of the tree, or nowhere.
    #[error("{file}: {}", self.reason())]
    Link {
        /// The kustomization.
        file: String,
        /// The path from the root.
        path: String,
    },
    /// A file is too large to be read.
    #[error("{file}: {}", self.reason())]
    TooLarge {
        /// The kustomization.
        file: String,
        /// The path from the root.
        path: String,
        /// Its size in bytes.
        size: u64,
        /// How many are allowed.
        limit: u64,
    },
    /// A remote file or repository cannot be had.
    #[error("{file}: '{url}' is remote: {reason}")]
    Remote {
        /// The kustomization.
        file: String,
        /// The address as written.
        url: String,
        /// Why.
        reason: String,
    },
    /// A file is not YAML.
    #[error(
        "MalformedYAMLError: yaml: line {}, column {}: {} in File: {file}",
        .error.line, .error.column, .error.message
    )]
    Yaml {
        /// The file.
        file: String,
        /// The reason.
        error: yaml::Error,
    },
    /// A kustomization or a file that it names says something that is wrong or not supported.
    #[error("{file}: {message}")]
    Invalid {
        /// The kustomization, or the file it names.
        file: String,
        /// What and why.
        message: String,
    },
    /// The content of a file that `resources` names cannot be taken in.
    #[error("{file}: accumulating resources: accumulating resources from '{path}': {}", .source.reason())]
    Resource {
        /// The kustomization.
        file: String,
        /// The entry.
        path: String,
        /// Why.
        source: Box<Error>,
    },
    /// An entry of `resources` is neither a file nor a directory that can be loaded.
    #[error(
        "{file}: accumulating resources: accumulation err='accumulating resources from '{path}': {}': {}",
        .as_file.reason(), .as_directory.reason()
    )]
    Neither {
        /// The kustomization.
        file: String,
        /// The entry.
        path: String,
        /// Why it is not a file.
        as_file: Box<Error>,
        /// Why it is not a directory.
        as_directory: Box<Error>,
    },
    /// A path that cannot be a kustomization's directory.
    #[error("{file}: {message}")]
    NotLoadable {
        /// The kustomization that names it.
        file: String,
        /// Why.
        message: String,
    },
    /// Kustomizations that include one another.
    #[error("cycle detected: candidate root '{dir}' contains visited root '{visited}' (by way of {chain})")]
    Cycle {
        /// Where it closes.
        dir: String,
        /// The directory in it that is being built.
        visited: String,
        /// The directories on the way.
        chain: String,
    },
    /// Too much of something.
    #[error("more than {limit} {what}")]
    Limit {
        /// What.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
    /// The resources do not fit together.
    #[error("{0}")]
    Conflict(String),
}

impl Error {
    /// The text without the kustomization that it begins with, to be put into a longer one.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Missing { path, .. } => {
                format!("evalsymlink failure on '{path}' : no such file or directory")
            }
            Self::NotFile { path, .. } => format!("'{path}' must resolve to a file"),
            Self::Outside { path, dir, .. } => {
                format!("security; file '{path}' is not in or below '{dir}'")
            }
            Self::Link { path, .. } => {
                format!(
                    "evalsymlink failure on '{path}' : a symbolic link on it leads out of the tree or nowhere"
                )
            }
            Self::TooLarge { path, size, limit, .. } => {
                format!("file '{path}' has {size} bytes, more than the {limit} that are read")
            }
            Self::Remote { reason, .. } => reason.clone(),
            Self::NotLoadable { message, .. } => message.clone(),
            other => other.to_string(),
        }
    }
}
