//! The shell that runs in a database's pods. Values come in as environment variables, never as text in a script.

/// Finds PostgreSQL's programs: those of the data's version, else the newest on the machine, else on the path.
pub(super) const FIND: &str = r#"
set -euo pipefail
bin=""
if [ -s "${PGDATA:-}/PG_VERSION" ] && [ -x "/usr/lib/postgresql/$(cat "$PGDATA/PG_VERSION")/bin/postgres" ]; then
  bin="/usr/lib/postgresql/$(cat "$PGDATA/PG_VERSION")/bin"
fi
if [ -z "$bin" ]; then
  bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1 || true)
fi
if [ -z "$bin" ]; then
  bin=$(dirname "$(command -v postgres || command -v pg_dump)")
fi
mkdir -p "${PGHOST_SOCKET:-/tmp}"
"#;

/// The first start of a primary: everything is made beside the final directory, which appears complete or not at all.
/// Later starts only bring the passwords of the secrets into the database.
pub(super) const BOOTSTRAP: &str = r#"
quoted() { printf "'%s'" "${1//\'/\'\'}"; }
name() { printf '"%s"' "${1//\"/\"\"}"; }
hba() {
  {
    printf 'local all all trust\n'
    printf '%s\n' "$HBA_RULES"
    printf 'host replication streaming_replica all scram-sha-256\n'
    printf 'host all all all scram-sha-256\n'
  } > "$1/pg_hba.conf"
}
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  new="$PGDATA.new"
  rm -rf "$new"
  options=(-D "$new" --username=postgres --encoding="$ENCODING" --lc-collate="$COLLATE" --lc-ctype="$CTYPE" --auth=trust)
  if [ "$CHECKSUMS" = true ]; then options+=(--data-checksums); fi
  "$bin/initdb" "${options[@]}"
  "$bin/pg_ctl" -D "$new" -w -t 120 -o "-c listen_addresses='' -c unix_socket_directories='$PGHOST_SOCKET' -c password_encryption=scram-sha-256" start
  sql() { "$bin/psql" -X -q -v ON_ERROR_STOP=1 -h "$PGHOST_SOCKET" -U postgres -d "$1"; }
  {
    printf 'CREATE ROLE %s LOGIN PASSWORD %s;\n' "$(name "$OWNER")" "$(quoted "$OWNER_PASSWORD")"
    printf 'CREATE ROLE streaming_replica LOGIN REPLICATION PASSWORD %s;\n' "$(quoted "$REPLICATION_PASSWORD")"
    printf 'GRANT pg_read_all_data TO streaming_replica;\n'
  } | sql postgres
  printf '%s' "$POST_INIT_SQL" | sql postgres
  printf '%s' "$POST_INIT_TEMPLATE_SQL" | sql template1
  printf 'CREATE DATABASE %s OWNER %s;\n' "$(name "$DATABASE")" "$(name "$OWNER")" | sql postgres
  printf '%s' "$POST_INIT_APPLICATION_SQL" | sql "$DATABASE"
  "$bin/pg_ctl" -D "$new" -w -m fast stop
  mv "$new" "$PGDATA"
  echo "initialised database $DATABASE for $OWNER"
fi
chmod 0700 "$PGDATA"
hba "$PGDATA"
if [ ! -e "$PGDATA/standby.signal" ]; then
  {
    printf 'ALTER ROLE %s PASSWORD %s;\n' "$(name "$OWNER")" "$(quoted "$OWNER_PASSWORD")"
    printf 'ALTER ROLE streaming_replica PASSWORD %s;\n' "$(quoted "$REPLICATION_PASSWORD")"
    if [ -n "${SUPERUSER_PASSWORD:-}" ]; then printf 'ALTER ROLE postgres PASSWORD %s;\n' "$(quoted "$SUPERUSER_PASSWORD")"; fi
  } | "$bin/postgres" --single -D "$PGDATA" -c password_encryption=scram-sha-256 postgres > /dev/null
fi
"#;

/// The first start of a replica: a copy of the primary that goes on streaming from it.
pub(super) const JOIN: &str = r#"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  new="$PGDATA.new"
  rm -rf "$new"
  export PGPASSWORD="$REPLICATION_PASSWORD"
  "$bin/pg_basebackup" -h "$PRIMARY" -p 5432 -U streaming_replica -D "$new" -R -X stream -c fast
  mv "$new" "$PGDATA"
fi
chmod 0700 "$PGDATA"
"#;

/// PostgreSQL itself. Arguments are its own. SIGTERM would wait for clients to leave; SIGINT ends them and stops.
pub(super) const RUN: &str = r#"
"$bin/postgres" -D "$PGDATA" -c listen_addresses='*' -c port=5432 -c unix_socket_directories="$PGHOST_SOCKET" \
  -c password_encryption=scram-sha-256 -c wal_level=logical -c hot_standby=on -c max_wal_senders=10 "$@" &
child=$!
trap 'kill -INT "$child" 2>/dev/null || true' TERM INT
code=0
wait "$child" || code=$?
while kill -0 "$child" 2>/dev/null; do code=0; wait "$child" || code=$?; done
exit "$code"
"#;

/// Whether the server takes connections.
pub(super) const PROBE: &str =
    r#"exec "$bin/pg_isready" -q -U postgres -d postgres -h "$PGHOST_SOCKET" -p 5432"#;

/// One dump; it appears under its final name only when it is complete.
pub(super) const DUMP: &str = r#"
target="/backups/$BACKUP_ID.dump"
"$bin/pg_dump" --format=custom --no-password --file="$target.partial"
mv "$target.partial" "$target"
echo "wrote $(basename "$target"), $(stat -c %s "$target") bytes"
"#;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    use std::path::Path;
    use std::process::{Child, Command, Output};

    use super::*;

    /// PostgreSQL refuses to run as root, and as a user that has no name.
    const USER: u32 = 65534;

    struct Machine {
        place: tempfile::TempDir,
        root: bool,
    }

    impl Machine {
        fn new() -> Self {
            let place = tempfile::tempdir().unwrap();
            let root =
                std::fs::metadata("/proc/self").map(|m| std::os::unix::fs::MetadataExt::uid(&m)).unwrap()
                    == 0;
            std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
            for name in ["data", "run", "backups"] {
                let path = place.path().join(name);
                std::fs::create_dir(&path).unwrap();
                if root {
                    chown(&path, Some(USER), Some(USER)).unwrap();
                }
            }
            Self { place, root }
        }

        fn path(&self, name: &str) -> String {
            self.place.path().join(name).to_str().unwrap().to_owned()
        }

        fn command(&self, script: &str, environment: &[(&str, &str)], arguments: &[&str]) -> Command {
            let mut command = if self.root {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "bash"]);
                command
            } else {
                Command::new("bash")
            };
            command.args(["-c", &format!("{FIND}{script}"), "postgres"]).args(arguments).env_clear();
            command.env("PATH", "/usr/bin:/bin").env("PGDATA", self.path("data/pgdata"));
            command.env("PGHOST_SOCKET", self.path("run")).env("PGHOST", self.path("run"));
            command.envs(environment.iter().copied()).current_dir("/");
            command
        }

        fn run(&self, script: &str, environment: &[(&str, &str)]) -> Output {
            self.command(script, environment, &[]).output().unwrap()
        }

        /// Each try takes as long as starting a program, which is pause enough.
        fn wait_until_ready(&self, port: &str) {
            let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
            while !self.run(&PROBE.replace("5432", port), &[]).status.success() {
                assert!(std::time::Instant::now() < until, "the server does not come up");
            }
        }
    }

    fn environment(password: &str) -> Vec<(&'static str, &str)> {
        vec![
            ("OWNER", "metrics"),
            ("DATABASE", "me\"trics"),
            ("OWNER_PASSWORD", password),
            ("REPLICATION_PASSWORD", "r"),
            ("ENCODING", "UTF8"),
            ("COLLATE", "C"),
            ("CTYPE", "C"),
            ("CHECKSUMS", "false"),
            ("HBA_RULES", ""),
            ("POST_INIT_SQL", "CREATE ROLE reader;\n"),
            ("POST_INIT_TEMPLATE_SQL", ""),
            ("POST_INIT_APPLICATION_SQL", "CREATE TABLE seen (at int);\n"),
        ]
    }

    fn stop(mut server: Child) {
        let asked = Command::new("kill").args(["-TERM", &server.id().to_string()]).status().unwrap();
        assert!(asked.success() && server.wait().unwrap().success(), "SIGTERM ends the server in order");
    }

    fn succeed(output: Output) -> String {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
        text.trim().to_owned()
    }

    #[test]
    fn a_database_is_made_once_keeps_its_data_and_can_be_dumped() {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        if !versions.into_iter().any(|v| v.path().join("bin/initdb").exists())
            || !Path::new("/usr/bin/setpriv").exists()
        {
            println!("skipped: PostgreSQL is not installed");
            return;
        }
        let machine = Machine::new();
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        // Only this test's port differs from what runs in a pod.
        let (run, query) = (
            RUN.replace("port=5432", &format!("port={port}")).replace("'*'", "127.0.0.1"),
            r#"exec "$bin/psql" -X -t -A -c "$SQL""#,
        );
        let sql = |password: &str, sql: &str| {
            let (directory, port) = ("127.0.0.1".to_owned(), port.clone());
            let env = [
                ("PGHOST", directory.as_str()),
                ("PGPORT", &port),
                ("PGUSER", "metrics"),
                ("PGPASSWORD", password),
                ("PGDATABASE", "me\"trics"),
                ("SQL", sql),
            ];
            machine.run(query, &env)
        };
        for (round, password) in ["it's", "changed"].into_iter().enumerate() {
            succeed(machine.run(BOOTSTRAP, &environment(password)));
            let server = machine.command(&run, &[], &["-c", "max_connections=20"]).spawn().unwrap();
            machine.wait_until_ready(&port);
            assert_eq!(succeed(sql(password, "CREATE TABLE IF NOT EXISTS mine (n int)")), "CREATE TABLE");
            succeed(sql(password, "INSERT INTO mine VALUES (1)"));
            assert_eq!(succeed(sql(password, "SELECT count(*) FROM mine")), (round + 1).to_string());
            assert!(!sql("wrong", "SELECT 1").status.success(), "a wrong password is refused");
            if round == 1 {
                let dump = DUMP.replace("/backups", &machine.path("backups"));
                let env = [
                    ("PGHOST", "127.0.0.1"),
                    ("PGPORT", port.as_str()),
                    ("PGUSER", "streaming_replica"),
                    ("PGPASSWORD", "r"),
                    ("PGDATABASE", "me\"trics"),
                    ("BACKUP_ID", "b1"),
                ];
                // The superuser's table too, which the owner may not read.
                succeed(machine.run(&dump, &env));
                assert!(Path::new(&machine.path("backups/b1.dump")).exists());
                let wrong = [&env[..3], &[("PGPASSWORD", "wrong"), ("BACKUP_ID", "b2")]].concat();
                assert!(!machine.run(&dump, &wrong).status.success());
                assert!(
                    !Path::new(&machine.path("backups/b2.dump")).exists(),
                    "half a dump never looks whole"
                );
            }
            stop(server);
        }
    }
}
