//! The two server hooks that every push runs: one refuses what a protected branch does not allow, one tells the host
//! which refs really moved. They are shell scripts because git runs programs, and are the same for all repositories.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::Error;

/// Name of the variable that lists protected branches, one full ref per line.
pub(crate) const PROTECTED: &str = "PORTOLAN_PROTECTED";
/// Name of the variable that says where `post-receive` writes `<old> <new> <ref>` lines.
pub(crate) const RECEIVED: &str = "PORTOLAN_RECEIVED";

/// Refuses deletions and rewritten history of protected branches, ref by ref.
const UPDATE: &str = r#"#!/bin/sh
# $1 ref, $2 old, $3 new
zero=0000000000000000000000000000000000000000
printf '%s\n' "$PORTOLAN_PROTECTED" | grep -qxF -- "$1" || exit 0
[ "$2" = "$zero" ] && exit 0
if [ "$3" = "$zero" ]; then
  echo "protected branch: $1 cannot be deleted" >&2
  exit 1
fi
if [ "$(git merge-base "$2" "$3")" != "$2" ]; then
  echo "protected branch: $1 cannot be force-pushed" >&2
  exit 1
fi
"#;

const POST_RECEIVE: &str = "#!/bin/sh\nexec cat > \"$PORTOLAN_RECEIVED\"\n";

/// Writes the hooks below the data directory and gives their directory.
pub(crate) async fn install(root: &Path) -> Result<PathBuf, Error> {
    let directory = root.join(".hooks");
    tokio::fs::create_dir_all(&directory).await.map_err(|e| Error::file(&directory, e))?;
    for (name, script) in [("update", UPDATE), ("post-receive", POST_RECEIVE)] {
        let path = directory.join(name);
        tokio::fs::write(&path, script).await.map_err(|e| Error::file(&path, e))?;
        let executable = std::fs::Permissions::from_mode(0o755);
        tokio::fs::set_permissions(&path, executable).await.map_err(|e| Error::file(&path, e))?;
    }
    Ok(directory)
}
