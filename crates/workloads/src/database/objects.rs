//! What a Cluster is made of: secrets, services, claims and pods, under CloudNativePG's names and labels
//! (`pkg/specs`). Pure, but for the passwords, which come from outside.

use object::meta;
use serde_json::{Value, json};

use super::scripts::{BOOTSTRAP, DUMP, FIND, JOIN, PROBE, RUN};
use crate::hash::template_hash;

pub(super) const CLUSTER_LABEL: &str = "cnpg.io/cluster";
pub(super) const INSTANCE_LABEL: &str = "cnpg.io/instanceName";
pub(super) const ROLE_LABEL: &str = "cnpg.io/instanceRole";
pub(super) const SERIAL: &str = "cnpg.io/nodeSerial";
/// A pod whose value differs from the wanted one is replaced.
pub(super) const SPEC_HASH: &str = "cnpg.io/podEnvHash";
const PGDATA: &str = "/var/lib/postgresql/data/pgdata";
const SOCKET: &str = "/controller/run";
const DEFAULT_IMAGE: &str = "postgres:15";

/// A Cluster's settings, with CloudNativePG's defaults.
pub(super) struct Settings<'a> {
    pub(super) cluster: &'a Value,
    pub(super) name: &'a str,
    pub(super) namespace: &'a str,
    pub(super) instances: i64,
    pub(super) database: &'a str,
    pub(super) owner: &'a str,
}

impl<'a> Settings<'a> {
    pub(super) fn new(cluster: &'a Value) -> Self {
        let initdb = &cluster["spec"]["bootstrap"]["initdb"];
        let database = initdb["database"].as_str().filter(|d| !d.is_empty()).unwrap_or("app");
        Self {
            cluster,
            name: meta::name(cluster),
            namespace: meta::namespace(cluster),
            instances: cluster["spec"]["instances"].as_i64().unwrap_or(1),
            database,
            owner: initdb["owner"].as_str().filter(|o| !o.is_empty()).unwrap_or(database),
        }
    }

    /// The Secret with the owner's credentials: the user's own, or `<cluster>-app`.
    pub(super) fn app_secret(&self) -> String {
        let own = self.cluster["spec"]["bootstrap"]["initdb"]["secret"]["name"].as_str();
        own.map_or_else(|| format!("{}-app", self.name), str::to_owned)
    }

    pub(super) fn generates_app_secret(&self) -> bool {
        !self.cluster["spec"]["bootstrap"]["initdb"]["secret"]["name"].is_string()
    }

    pub(super) fn superuser_secret(&self) -> Option<String> {
        let enabled = self.cluster["spec"]["enableSuperuserAccess"] == true;
        let own = self.cluster["spec"]["superuserSecret"]["name"].as_str();
        enabled.then(|| own.map_or_else(|| format!("{}-superuser", self.name), str::to_owned))
    }

    pub(super) fn replication_secret(&self) -> String {
        format!("{}-replication", self.name)
    }

    pub(super) fn instance(&self, serial: i64) -> String {
        format!("{}-{serial}", self.name)
    }

    pub(super) fn image(&self) -> &'a str {
        self.cluster["spec"]["imageName"].as_str().unwrap_or(DEFAULT_IMAGE)
    }

    fn metadata(&self, name: &str, labels: Value) -> Value {
        let mut all = json!({ CLUSTER_LABEL: self.name });
        for (key, value) in labels.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
        json!({
            "name": name, "namespace": self.namespace, "labels": all,
            "ownerReferences": [meta::controller_reference(self.cluster)],
        })
    }

    fn user(&self, field: &str) -> i64 {
        self.cluster["spec"][field].as_i64().unwrap_or(26)
    }

    fn security(&self) -> Value {
        json!({
            "runAsUser": self.user("postgresUID"), "runAsGroup": self.user("postgresGID"),
            "fsGroup": self.user("postgresGID"), "runAsNonRoot": true,
            "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"},
        })
    }
}

/// A Secret with which applications connect.
pub(super) fn credentials(s: &Settings<'_>, name: &str, user: &str, database: &str, password: &str) -> Value {
    let (host, namespace) = (format!("{}-rw", s.name), s.namespace);
    let (encoded, user_encoded) = (percent_encoded(password), percent_encoded(user));
    let fqdn = format!("{host}.{namespace}.svc.cluster.local");
    let uri = |host: &str| format!("postgresql://{user_encoded}:{encoded}@{host}:5432/{database}");
    let jdbc = |host: &str| {
        format!("jdbc:postgresql://{host}:5432/{database}?password={encoded}&user={user_encoded}")
    };
    let short = format!("{host}.{namespace}");
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/basic-auth",
        "metadata": s.metadata(name, json!({"cnpg.io/reload": "true"})),
        "stringData": {
            "username": user, "user": user, "password": password, "dbname": database, "host": host, "port": "5432",
            "pgpass": format!("{host}:5432:{database}:{user}:{password}\n"),
            "uri": uri(&short), "jdbc-uri": jdbc(&short), "fqdn-uri": uri(&fqdn), "fqdn-jdbc-uri": jdbc(&fqdn),
        },
    })
}

/// The password with which replicas stream.
pub(super) fn replication(s: &Settings<'_>, password: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/basic-auth",
        "metadata": s.metadata(&s.replication_secret(), json!({})),
        "stringData": {"username": "streaming_replica", "password": password},
    })
}

/// `-rw` leads to the primary, `-ro` to replicas, `-r` to any ready instance.
pub(super) fn services(s: &Settings<'_>) -> Vec<Value> {
    let service = |suffix: &str, label: &str, value: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": s.metadata(&format!("{}-{suffix}", s.name), json!({})),
            "spec": {
                "type": "ClusterIP", "selector": {CLUSTER_LABEL: s.name, label: value},
                "ports": [{"name": "postgres", "port": 5432, "targetPort": 5432, "protocol": "TCP"}],
            },
        })
    };
    vec![
        service("rw", ROLE_LABEL, "primary"),
        service("ro", ROLE_LABEL, "replica"),
        service("r", "cnpg.io/podRole", "instance"),
    ]
}

/// The claim of one instance's data.
pub(super) fn claim(s: &Settings<'_>, serial: i64) -> Value {
    let name = s.instance(serial);
    let labels = json!({INSTANCE_LABEL: name, "cnpg.io/pvcRole": "PG_DATA"});
    let mut metadata = s.metadata(&name, labels);
    metadata["annotations"] = json!({SERIAL: serial.to_string(), "cnpg.io/pvcStatus": "ready"});
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": claim_spec(s)})
}

/// The claim that dumps go to.
pub(super) fn backup_claim(s: &Settings<'_>) -> Value {
    let metadata = s.metadata(&format!("{}-backups", s.name), json!({"cnpg.io/pvcRole": "BACKUPS"}));
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": claim_spec(s)})
}

fn claim_spec(s: &Settings<'_>) -> Value {
    let storage = &s.cluster["spec"]["storage"];
    let size = storage.get("size").cloned().unwrap_or_else(|| "1Gi".into());
    let mut spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}});
    if let Some(class) = storage["storageClass"].as_str() {
        spec["storageClassName"] = class.into();
    }
    spec
}

/// The pod of one instance.
pub(super) fn instance(s: &Settings<'_>, serial: i64, primary: bool) -> Value {
    let name = s.instance(serial);
    let role = if primary { "primary" } else { "replica" };
    let labels = json!({INSTANCE_LABEL: name, ROLE_LABEL: role, "role": role, "cnpg.io/podRole": "instance"});
    let mut metadata = s.metadata(&name, labels);
    let spec = pod_spec(s, &name, primary);
    metadata["annotations"] = json!({SERIAL: serial.to_string(), SPEC_HASH: template_hash(&spec, None)});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}

fn pod_spec(s: &Settings<'_>, name: &str, primary: bool) -> Value {
    let mounts = json!([
        {"name": "pgdata", "mountPath": "/var/lib/postgresql/data"},
        {"name": "scratch-data", "mountPath": "/controller"},
    ]);
    let first = if primary { BOOTSTRAP } else { JOIN };
    let mut init = json!({
        "name": "bootstrap-controller", "image": s.image(), "command": ["bash", "-c", format!("{FIND}{first}")],
        "env": bootstrap_environment(s, primary), "volumeMounts": mounts,
    });
    let mut command = vec![json!("bash"), json!("-c"), json!(format!("{FIND}{RUN}")), json!("postgres")];
    for (key, value) in s.cluster["spec"]["postgresql"]["parameters"].as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        command.extend([json!("-c"), json!(literal(&format!("{key}={value}")))]);
    }
    let probe = |period: i64, failures: i64| {
        json!({"exec": {"command": ["bash", "-c", format!("{FIND}{PROBE}")]},
            "periodSeconds": period, "timeoutSeconds": 5, "failureThreshold": failures})
    };
    let mut main = json!({
        "name": "postgres", "image": s.image(), "command": command, "env": environment(s),
        "ports": [{"name": "postgresql", "containerPort": 5432, "protocol": "TCP"}],
        "startupProbe": probe(1, 3600), "readinessProbe": probe(5, 3), "livenessProbe": probe(10, 3),
        "volumeMounts": mounts,
    });
    if let Some(resources) = s.cluster["spec"].get("resources") {
        main["resources"] = resources.clone();
        init["resources"] = resources.clone();
    }
    if let Some(policy) = s.cluster["spec"]["imagePullPolicy"].as_str() {
        main["imagePullPolicy"] = policy.into();
        init["imagePullPolicy"] = policy.into();
    }
    let mut spec = json!({
        "hostname": name, "restartPolicy": "Always",
        "terminationGracePeriodSeconds": s.cluster["spec"]["stopDelay"].as_i64().unwrap_or(1800),
        "securityContext": s.security(),
        "initContainers": [init], "containers": [main],
        "volumes": [
            {"name": "pgdata", "persistentVolumeClaim": {"claimName": name}},
            {"name": "scratch-data", "emptyDir": {}},
        ],
    });
    for field in ["nodeSelector", "tolerations"] {
        if let Some(value) = s.cluster["spec"]["affinity"].get(field) {
            spec[field] = value.clone();
        }
    }
    if let Some(secrets) = s.cluster["spec"].get("imagePullSecrets") {
        spec["imagePullSecrets"] = secrets.clone();
    }
    spec
}

fn environment(s: &Settings<'_>) -> Vec<Value> {
    vec![
        json!({"name": "PGDATA", "value": PGDATA}),
        json!({"name": "PGHOST_SOCKET", "value": SOCKET}),
        json!({"name": "PGHOST", "value": SOCKET}),
        json!({"name": "CLUSTER_NAME", "value": s.name}),
        json!({"name": "NAMESPACE", "value": s.namespace}),
    ]
}

fn bootstrap_environment(s: &Settings<'_>, primary: bool) -> Vec<Value> {
    let mut all = environment(s);
    let secret = |name: &str, secret: String, key: &str| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}});
    all.push(secret("REPLICATION_PASSWORD", s.replication_secret(), "password"));
    if !primary {
        all.push(json!({"name": "PRIMARY", "value": format!("{}-rw", s.name)}));
        return all;
    }
    all.push(secret("OWNER_PASSWORD", s.app_secret(), "password"));
    if let Some(name) = s.superuser_secret() {
        all.push(secret("SUPERUSER_PASSWORD", name, "password"));
    }
    let initdb = &s.cluster["spec"]["bootstrap"]["initdb"];
    let text = |field: &str, default: &str| initdb[field].as_str().unwrap_or(default).to_owned();
    let lines = |value: &Value, end: &str| -> String {
        let items = value.as_array().into_iter().flatten().filter_map(Value::as_str);
        items.map(|line| format!("{}{end}", line.trim_end().trim_end_matches(';'))).collect()
    };
    let values = [
        ("OWNER", s.owner.to_owned()),
        ("DATABASE", s.database.to_owned()),
        ("ENCODING", text("encoding", "UTF8")),
        ("COLLATE", text("localeCollate", "C")),
        ("CTYPE", text("localeCType", "C")),
        ("CHECKSUMS", (initdb["dataChecksums"] == true).to_string()),
        ("POST_INIT_SQL", lines(&initdb["postInitSQL"], ";\n")),
        ("POST_INIT_TEMPLATE_SQL", lines(&initdb["postInitTemplateSQL"], ";\n")),
        ("POST_INIT_APPLICATION_SQL", lines(&initdb["postInitApplicationSQL"], ";\n")),
        ("HBA_RULES", lines(&s.cluster["spec"]["postgresql"]["pg_hba"], "\n")),
    ];
    all.extend(values.map(|(name, value)| json!({"name": name, "value": literal(&value)})));
    all
}

/// The pod that writes one dump.
pub(super) fn dump_pod(s: &Settings<'_>, backup: &Value, id: &str) -> Value {
    let secret = |name: &str, key: &str| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": s.app_secret(), "key": key}}});
    let env = json!([
        {"name": "PGHOST", "value": format!("{}-rw", s.name)},
        {"name": "PGDATABASE", "value": s.database},
        secret("PGUSER", "username"), secret("PGPASSWORD", "password"),
        {"name": "BACKUP_ID", "value": id},
    ]);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("{}-dump", meta::name(backup)), "namespace": s.namespace,
            "labels": {CLUSTER_LABEL: s.name, "cnpg.io/backupName": meta::name(backup)},
            "ownerReferences": [meta::controller_reference(backup)],
        },
        "spec": {
            "restartPolicy": "Never", "securityContext": s.security(),
            "containers": [{
                "name": "dump", "image": s.image(), "command": ["bash", "-c", format!("{FIND}{DUMP}")], "env": env,
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [{"name": "backups", "mountPath": "/backups"}],
            }],
            "volumes": [{"name": "backups", "persistentVolumeClaim": {"claimName": format!("{}-backups", s.name)}}],
        },
    })
}

/// `$(NAME)` would be expanded in a container's environment and command.
fn literal(text: &str) -> String {
    text.replace("$(", "$$(")
}

fn percent_encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { (b as char).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(spec: Value) -> Value {
        json!({"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster",
            "metadata": {"name": "pg", "namespace": "shop", "uid": "u"}, "spec": spec})
    }

    #[test]
    fn applications_connect_with_the_secret() {
        let cluster = cluster(json!({"bootstrap": {"initdb": {"database": "metrics"}}}));
        let settings = Settings::new(&cluster);
        assert_eq!((settings.owner, settings.app_secret().as_str()), ("metrics", "pg-app"));
        let secret = credentials(&settings, "pg-app", "metrics", "metrics", "a/b");
        let data = &secret["stringData"];
        assert_eq!(secret["type"], "kubernetes.io/basic-auth");
        assert_eq!(data["uri"], "postgresql://metrics:a%2Fb@pg-rw.shop:5432/metrics");
        assert_eq!(data["jdbc-uri"], "jdbc:postgresql://pg-rw.shop:5432/metrics?password=a%2Fb&user=metrics");
        assert_eq!(data["fqdn-uri"], "postgresql://metrics:a%2Fb@pg-rw.shop.svc.cluster.local:5432/metrics");
        assert_eq!(data["pgpass"], "pg-rw:5432:metrics:metrics:a/b\n");
        assert_eq!(
            (&data["host"], &data["port"], &data["user"]),
            (&json!("pg-rw"), &json!("5432"), &json!("metrics"))
        );
    }

    #[test]
    fn services_select_by_role() {
        let cluster = cluster(json!({}));
        let services = services(&Settings::new(&cluster));
        let selectors: Vec<String> =
            services.iter().map(|s| format!("{} {}", meta::name(s), s["spec"]["selector"])).collect();
        assert_eq!(
            selectors,
            [
                r#"pg-rw {"cnpg.io/cluster":"pg","cnpg.io/instanceRole":"primary"}"#,
                r#"pg-ro {"cnpg.io/cluster":"pg","cnpg.io/instanceRole":"replica"}"#,
                r#"pg-r {"cnpg.io/cluster":"pg","cnpg.io/podRole":"instance"}"#,
            ]
        );
    }

    #[test]
    fn the_pod_changes_with_what_it_runs() {
        let hash = |spec: Value| {
            let cluster = cluster(spec);
            let pod = instance(&Settings::new(&cluster), 1, true);
            meta::annotation(&pod, SPEC_HASH).map(str::to_owned)
        };
        let plain = json!({"instances": 1});
        assert_eq!(hash(plain.clone()), hash(json!({"instances": 3, "storage": {"size": "2Gi"}})));
        assert_ne!(hash(plain.clone()), hash(json!({"imageName": "postgres:16"})));
        assert_ne!(hash(plain), hash(json!({"postgresql": {"parameters": {"max_connections": "50"}}})));
    }

    #[test]
    fn values_reach_the_script_as_they_are() {
        let initdb = json!({"postInitSQL": ["CREATE EXTENSION x;", "SELECT '$(HOME)'"]});
        let cluster = cluster(json!({"bootstrap": {"initdb": initdb}}));
        let pod = instance(&Settings::new(&cluster), 1, true);
        let env = pod["spec"]["initContainers"][0]["env"].as_array().unwrap();
        let sql = env.iter().find(|e| e["name"] == "POST_INIT_SQL").unwrap();
        assert_eq!(sql["value"], "CREATE EXTENSION x;\nSELECT '$$(HOME)';\n");
        let names: Vec<&str> = env.iter().filter_map(|e| e["name"].as_str()).collect();
        assert!(names.contains(&"OWNER_PASSWORD") && !names.contains(&"SUPERUSER_PASSWORD"));
    }
}
