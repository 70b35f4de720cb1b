//! What generators and transformers are, whether a kustomization's own field or a configuration object says so.

use crate::Error;
use crate::reader::Reader;
use crate::resource::Resource;
use crate::resources::Resources;
use crate::schema::Schema;

/// Where a generator or transformer runs.
pub(crate) struct Context<'a, 'b> {
    pub(crate) reader: &'a Reader<'b>,
    /// The directory that its paths are relative to.
    pub(crate) dir: &'a str,
    /// The kustomization (or configuration file) that names it, for errors.
    pub(crate) file: &'a str,
    pub(crate) schema: &'a Schema,
}

impl Context<'_, '_> {
    /// An error in the kustomization itself.
    pub(crate) fn invalid(&self, message: impl Into<String>) -> Error {
        Error::Invalid { file: self.file.to_owned(), message: message.into() }
    }
}

/// Makes resources.
pub(crate) trait Generate {
    /// What tells this one from others of its kind, where there is something: a name, a file.
    fn about(&self) -> &str {
        ""
    }

    fn generate(&self, context: &Context<'_, '_>) -> Result<Vec<Resource>, Error>;
}

/// Changes resources.
pub(crate) trait Transform {
    /// What tells this one from others of its kind, where there is something: a name, a file.
    fn about(&self) -> &str {
        ""
    }

    fn transform(&self, context: &Context<'_, '_>, resources: &mut Resources) -> Result<(), Error>;
}
