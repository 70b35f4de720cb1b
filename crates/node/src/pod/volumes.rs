//! A pod's volumes: directories below the pod's own, filled from the API where they show it.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Component, Path, PathBuf};

use controller::Cluster;
use http::Method;
use object::quantity::Quantity;
use object::{Key, kinds, meta};
use sandbox::{Mount, MountKind};
use serde_json::{Value, json};

use super::env::{field, resource};
use super::sources::{Data, SourceError, Sources};

/// Lifetime asked for tokens of service accounts whose volume names none, in seconds.
const TOKEN_S: u64 = 3607;

/// Why a volume cannot be had; shown in a `FailedMount` event.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{0}")]
    Api(String),
    #[error("{path}")]
    File { path: String, source: io::Error },
    #[error("{0}")]
    Refused(String),
}

impl From<controller::ApiError> for VolumeError {
    fn from(error: controller::ApiError) -> VolumeError {
        VolumeError::Api(error.to_string())
    }
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> VolumeError {
    let path = path.display().to_string();
    move |source| VolumeError::File { path, source }
}

/// One volume that can be mounted.
#[derive(Clone, Debug)]
pub(crate) enum Volume {
    Directory { path: PathBuf, read_only: bool },
    Memory { size_bytes: Option<u64> },
}

/// What volumes are made from.
pub(crate) struct Maker<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) pod: &'a Value,
    /// The pod's directory.
    pub(crate) dir: &'a Path,
    /// Only paths below here may be mounted from the machine.
    pub(crate) data_dir: &'a Path,
    pub(crate) pod_ip: &'a str,
    pub(crate) host_ip: &'a str,
    /// Whether files may belong to others than the node's own user.
    pub(crate) many_users: bool,
}

/// A file to show: path below the volume, content, mode.
type Files = BTreeMap<String, (Vec<u8>, u32)>;

impl Maker<'_> {
    /// Makes (or refreshes) every volume of the pod; the first that fails is named.
    pub(crate) async fn make_all(&self) -> Result<HashMap<String, Volume>, (String, VolumeError)> {
        let mut made = HashMap::new();
        for volume in array(&self.pod["spec"]["volumes"]) {
            let name = volume["name"].as_str().unwrap_or_default().to_owned();
            match self.make(&name, volume).await {
                Ok(one) => made.insert(name, one),
                Err(error) => return Err((name, error)),
            };
        }
        Ok(made)
    }

    async fn make(&self, name: &str, volume: &Value) -> Result<Volume, VolumeError> {
        let path = self.dir.join("volumes").join(name);
        if let Some(empty) = volume.get("emptyDir") {
            if empty["medium"] == "Memory" {
                let size = Quantity::from_value(&empty["sizeLimit"]).ok().map(Quantity::value);
                return Ok(Volume::Memory { size_bytes: size.and_then(|bytes| u64::try_from(bytes).ok()) });
            }
            self.shared_directory(&path)?;
            return Ok(Volume::Directory { path, read_only: false });
        }
        if let Some(claim) = volume.get("persistentVolumeClaim") {
            return self.claim(claim).await;
        }
        if let Some(host) = volume["hostPath"]["path"].as_str() {
            let path = self.below_data(Path::new(host))?;
            return Ok(Volume::Directory { path, read_only: false });
        }
        let files = self.files(volume).await?;
        write_atomically(&path, &files).map_err(file(&path))?;
        if let Some(group) = self.group() {
            give_to_group(&path, group).map_err(file(&path))?;
        }
        Ok(Volume::Directory { path, read_only: true })
    }

    /// A directory that all users of the pod may write to; with `fsGroup`, that group's.
    fn shared_directory(&self, path: &Path) -> Result<(), VolumeError> {
        if !path.exists() {
            fs::create_dir_all(path).map_err(file(path))?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).map_err(file(path))?;
        }
        match self.group() {
            Some(group) => give_to_group(path, group).map_err(file(path)),
            None => Ok(()),
        }
    }

    fn group(&self) -> Option<u32> {
        let group = self.pod["spec"]["securityContext"]["fsGroup"].as_u64();
        group.and_then(|group| u32::try_from(group).ok()).filter(|_| self.many_users)
    }

    async fn claim(&self, claim: &Value) -> Result<Volume, VolumeError> {
        let name = claim["claimName"].as_str().unwrap_or_default();
        let key = Key::new(meta::namespace(self.pod), name);
        let found = self.cluster.get(&kinds::PERSISTENT_VOLUME_CLAIM, &key).await?;
        let found =
            found.ok_or_else(|| VolumeError::Refused(format!("persistentvolumeclaim {name:?} not found")))?;
        let bound = found["spec"]["volumeName"].as_str().filter(|_| found["status"]["phase"] == "Bound");
        let volume = bound
            .ok_or_else(|| VolumeError::Refused(format!("persistentvolumeclaim {name:?} is not bound")))?;
        let volume = self.cluster.get(&kinds::PERSISTENT_VOLUME, &Key::cluster(volume)).await?;
        let spec = volume.map(|one| one["spec"].clone()).unwrap_or_default();
        let path = spec["local"]["path"].as_str().or(spec["hostPath"]["path"].as_str());
        let path = path.ok_or_else(|| VolumeError::Refused("the volume is not on this machine".into()))?;
        let path = self.below_data(Path::new(path))?;
        self.shared_directory(&path)?;
        Ok(Volume::Directory { path, read_only: claim["readOnly"] == true })
    }

    fn below_data(&self, path: &Path) -> Result<PathBuf, VolumeError> {
        let plain = path.components().all(|part| !matches!(part, Component::ParentDir));
        if plain && path.starts_with(self.data_dir) {
            return Ok(path.to_owned());
        }
        let text = format!(
            "hostPath {} is refused: pods see nothing of the machine but the data directory",
            path.display()
        );
        Err(VolumeError::Refused(text))
    }

    /// The files that a volume from the API shows.
    async fn files(&self, volume: &Value) -> Result<Files, VolumeError> {
        let mut files = Files::new();
        let (single, default_mode) = if let Some(projected) = volume.get("projected") {
            (array(&projected["sources"]).to_vec(), &projected["defaultMode"])
        } else if let Some(one) = volume.get("configMap") {
            (vec![json!({"configMap": one})], &one["defaultMode"])
        } else if let Some(one) = volume.get("secret") {
            (vec![json!({"secret": one})], &one["defaultMode"])
        } else if let Some(one) = volume.get("downwardAPI") {
            (vec![json!({"downwardAPI": one})], &one["defaultMode"])
        } else {
            let kind = volume.as_object().and_then(|all| all.keys().find(|key| *key != "name"));
            let kind = kind.map_or("(none)", String::as_str);
            return Err(VolumeError::Refused(format!(
                "volumes of type {kind} are not available on this node"
            )));
        };
        let default_mode = mode(default_mode).unwrap_or(0o644);
        for source in &single {
            self.add_source(source, default_mode, &mut files).await?;
        }
        Ok(files)
    }

    async fn add_source(
        &self,
        source: &Value,
        default_mode: u32,
        files: &mut Files,
    ) -> Result<(), VolumeError> {
        let namespace = meta::namespace(self.pod);
        let mut sources = Sources::default();
        if let Some(one) = source.get("configMap") {
            let name = text(&one["name"]);
            sources.fetch(self.cluster, namespace, &[name], &[]).await?;
            add_items(
                sources.config_map(one)?,
                one,
                default_mode,
                "configmap references non-existent config key",
                files,
            )?;
        } else if let Some(one) = source.get("secret") {
            let name = text(if one["secretName"].is_string() { &one["secretName"] } else { &one["name"] });
            sources.fetch(self.cluster, namespace, &[], &[name]).await?;
            add_items(sources.secret(one)?, one, default_mode, "references non-existent secret key", files)?;
        } else if let Some(one) = source.get("downwardAPI") {
            for item in array(&one["items"]) {
                let path = item["fieldRef"]["fieldPath"].as_str();
                let value = match path {
                    Some(path) => field(self.pod, path, self.pod_ip, self.host_ip),
                    None => resource(self.pod, &item["resourceFieldRef"], None),
                };
                let value = value.ok_or_else(|| SourceError::Field(path.unwrap_or_default().to_owned()))?;
                let mode = mode(&item["mode"]).unwrap_or(default_mode);
                files.insert(text(&item["path"]), (value.into_bytes(), mode));
            }
        } else if let Some(one) = source.get("serviceAccountToken")
            && let Some(token) = self.token(one).await?
        {
            files.insert(text(&one["path"]), (token.into_bytes(), default_mode));
        }
        Ok(())
    }

    /// A token bound to this pod; none from a server that gives no tokens.
    async fn token(&self, source: &Value) -> Result<Option<String>, VolumeError> {
        let account = self.pod["spec"]["serviceAccountName"].as_str().unwrap_or("default");
        let mut request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "expirationSeconds": source["expirationSeconds"].as_u64().unwrap_or(TOKEN_S),
                "boundObjectRef": {
                    "apiVersion": "v1", "kind": "Pod", "name": meta::name(self.pod), "uid": meta::uid(self.pod),
                },
            },
        });
        if let Some(audience) = source["audience"].as_str() {
            request["spec"]["audiences"] = json!([audience]);
        }
        let key = Key::new(meta::namespace(self.pod), account);
        let path = format!("{}/token", kinds::SERVICE_ACCOUNT.object_path(&key));
        let body = request.to_string();
        match self.cluster.call(Method::POST, &path, Some("application/json"), body.as_bytes()).await {
            Ok(answer) => Ok(answer["status"]["token"].as_str().map(str::to_owned)),
            Err(error) if matches!(error.code(), 404 | 405) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Where a container wants the volumes.
pub(crate) fn mounts(
    container: &Value,
    volumes: &HashMap<String, Volume>,
    expand: impl Fn(&str) -> String,
) -> Result<Vec<Mount>, VolumeError> {
    let mut mounts = Vec::new();
    for wanted in array(&container["volumeMounts"]) {
        let name = wanted["name"].as_str().unwrap_or_default();
        let volume =
            volumes.get(name).ok_or_else(|| VolumeError::Refused(format!("no volume is named {name:?}")))?;
        let below = match (wanted["subPath"].as_str(), wanted["subPathExpr"].as_str()) {
            (_, Some(expression)) => expand(expression),
            (Some(path), None) => path.to_owned(),
            (None, None) => String::new(),
        };
        let (kind, read_only) = match volume {
            Volume::Memory { size_bytes } => (MountKind::Tmpfs { size_bytes: *size_bytes }, false),
            Volume::Directory { path, read_only } => (MountKind::Bind(sub_path(path, &below)?), *read_only),
        };
        mounts.push(Mount {
            kind,
            target: PathBuf::from(wanted["mountPath"].as_str().unwrap_or_default()),
            read_only: read_only || wanted["readOnly"] == true,
        });
    }
    Ok(mounts)
}

/// A path below a volume, made if missing; resolved here, so that a link in the volume cannot lead out of it.
fn sub_path(volume: &Path, below: &str) -> Result<PathBuf, VolumeError> {
    if below.is_empty() {
        return Ok(volume.to_owned());
    }
    let refused = || VolumeError::Refused(format!("subPath {below:?} leads out of the volume"));
    if Path::new(below).components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(refused());
    }
    let path = volume.join(below);
    if !path.exists() {
        fs::create_dir_all(&path).map_err(file(&path))?;
        let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o777));
    }
    let (real, root) =
        (fs::canonicalize(&path).map_err(file(&path))?, fs::canonicalize(volume).map_err(file(volume))?);
    if real.starts_with(root) { Ok(real) } else { Err(refused()) }
}

fn add_items(
    data: Option<Data>,
    reference: &Value,
    default_mode: u32,
    missing: &str,
    files: &mut Files,
) -> Result<(), VolumeError> {
    let Some(mut data) = data else { return Ok(()) };
    let Some(items) = reference["items"].as_array() else {
        files.extend(data.into_iter().map(|(key, value)| (key, (value, default_mode))));
        return Ok(());
    };
    for item in items {
        let key = text(&item["key"]);
        match data.remove(&key) {
            Some(value) => {
                files.insert(text(&item["path"]), (value, mode(&item["mode"]).unwrap_or(default_mode)));
            }
            None if reference["optional"] == true => {}
            None => return Err(VolumeError::Refused(format!("{missing}: {key}"))),
        }
    }
    Ok(())
}

/// Shows `files` in `path` all at once: a new directory, then one renamed link (`atomic_writer.go`).
fn write_atomically(path: &Path, files: &Files) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    let current = fs::read_link(path.join("..data")).ok();
    if let Some(current) = &current
        && same(&path.join(current), files)
    {
        return Ok(());
    }
    let name = format!("..{}", jiff::Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S.%9f"));
    for (file, (content, mode)) in files {
        let relative = Path::new(file);
        if relative.components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(io::Error::other(format!("the path {file:?} leads out of the volume")));
        }
        let target = path.join(&name).join(relative);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&target, content)?;
        fs::set_permissions(&target, fs::Permissions::from_mode(*mode))?;
    }
    fs::create_dir_all(path.join(&name))?;
    symlink(&name, path.join("..data_tmp"))?;
    fs::rename(path.join("..data_tmp"), path.join("..data"))?;
    let tops: std::collections::BTreeSet<&str> =
        files.keys().filter_map(|file| file.split('/').next()).collect();
    for entry in fs::read_dir(path)?.flatten() {
        let known = entry.file_name();
        if known.to_str().is_some_and(|known| !known.starts_with("..") && !tops.contains(known)) {
            fs::remove_file(entry.path())?;
        }
    }
    for top in tops {
        if path.join(top).symlink_metadata().is_err() {
            symlink(Path::new("..data").join(top), path.join(top))?;
        }
    }
    if let Some(old) = current {
        let _ = fs::remove_dir_all(path.join(old));
    }
    Ok(())
}

fn same(directory: &Path, files: &Files) -> bool {
    fn count(directory: &Path) -> usize {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
    }
    count(directory) == files.len()
        && files
            .iter()
            .all(|(file, (content, _))| fs::read(directory.join(file)).is_ok_and(|old| old == *content))
}

/// `fsGroup`: the group owns everything and may write what the owner may; new files inherit it.
fn give_to_group(path: &Path, group: u32) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_symlink() {
        return Ok(());
    }
    chown(path, None, Some(group))?;
    let mode = metadata.permissions().mode();
    let more = if metadata.is_dir() { 0o2070 } else { (mode >> 3) & 0o070 | 0o060 & (mode >> 3) };
    fs::set_permissions(path, fs::Permissions::from_mode((mode | more) & 0o7777))?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            give_to_group(&entry?.path(), group)?;
        }
    }
    Ok(())
}

fn mode(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|mode| u32::try_from(mode).ok())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(all: &[(&str, &str)]) -> Files {
        all.iter().map(|(path, text)| ((*path).to_owned(), (text.as_bytes().to_vec(), 0o644))).collect()
    }

    #[test]
    fn files_change_all_at_once() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("v");
        let check = |all: &[(&str, &str)]| {
            write_atomically(&path, &files(all)).unwrap();
            for (name, text) in all {
                assert_eq!(fs::read_to_string(path.join(name)).unwrap(), *text);
            }
            let shown = fs::read_dir(&path).unwrap().flatten();
            let shown = shown.filter(|entry| !entry.file_name().to_string_lossy().starts_with("..")).count();
            assert_eq!(shown, all.len());
        };
        check(&[("a", "1"), ("b", "2")]);
        let before = fs::read_link(path.join("..data")).unwrap();
        check(&[("a", "1"), ("b", "2")]);
        assert_eq!(
            fs::read_link(path.join("..data")).unwrap(),
            before,
            "nothing changed, nothing is written"
        );
        check(&[("a", "3"), ("deep/c", "4")]);
        assert!(write_atomically(&path, &files(&[("../x", "")])).is_err());
    }

    #[test]
    fn sub_paths_stay_in_the_volume() {
        let place = tempfile::tempdir().unwrap();
        let volume = place.path().join("v");
        fs::create_dir(&volume).unwrap();
        symlink("/etc", volume.join("out")).unwrap();
        let check =
            |below: &str, allowed: bool| assert_eq!(sub_path(&volume, below).is_ok(), allowed, "{below}");
        check("", true);
        check("a/b", true);
        check("../x", false);
        check("/etc", false);
        check("out", false);
    }
}
