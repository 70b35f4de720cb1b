// The PostgreSQL side. Address and credentials come from the environment (PGHOST, PGPORT, PGUSER, PGPASSWORD,
// PGDATABASE), which the composition fills from the Secret that the database operator makes.
import pg from "pg";

const CONNECTIONS_MAX = 5;
// How long the database may take to come up before the process gives up and is restarted.
const START_TIMEOUT_MS = 120_000;
const PAUSE_MS = 500;
// Any number that no other user of the database takes: two pods that start together migrate one after the other.
const MIGRATION_LOCK = 7007;

const MIGRATIONS = [
  `CREATE TABLE IF NOT EXISTS metrics (
     name text PRIMARY KEY,
     value double precision NOT NULL,
     unit text NOT NULL DEFAULT ''
   )`,
  `INSERT INTO metrics (name, value, unit) VALUES
     ('Requests', 1280, 'per minute'),
     ('Response time, 95th percentile', 182, 'ms'),
     ('Errors', 0.4, '%')
   ON CONFLICT (name) DO NOTHING`,
];

export function connect(environment) {
  const pool = new pg.Pool({
    host: environment.PGHOST,
    port: Number(environment.PGPORT ?? 5432),
    user: environment.PGUSER,
    password: environment.PGPASSWORD,
    database: environment.PGDATABASE,
    max: CONNECTIONS_MAX,
    connectionTimeoutMillis: 3000,
    statement_timeout: 5000,
  });
  // A connection that breaks while idle is replaced by the next query.
  pool.on("error", (error) => console.error(`database connection lost: ${error.message}`));
  let migrated = false;

  return {
    async migrate() {
      const deadline = Date.now() + START_TIMEOUT_MS;
      for (;;) {
        try {
          await runMigrations(pool);
          migrated = true;
          return;
        } catch (error) {
          if (Date.now() > deadline) {
            throw error;
          }
          await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
        }
      }
    },
    async isReady() {
      if (!migrated) {
        return false;
      }
      return pool.query("SELECT 1").then(
        () => true,
        () => false,
      );
    },
    async name() {
      return (await pool.query("SELECT current_database() AS name")).rows[0].name;
    },
    async metrics() {
      return (await pool.query("SELECT name, value, unit FROM metrics ORDER BY name")).rows;
    },
    async save({ name, value, unit }) {
      await pool.query(
        "INSERT INTO metrics (name, value, unit) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE SET value = $2, unit = $3",
        [name, value, unit],
      );
    },
    close: () => pool.end(),
  };
}

async function runMigrations(pool) {
  const client = await pool.connect();
  try {
    await client.query("SELECT pg_advisory_lock($1)", [MIGRATION_LOCK]);
    for (const migration of MIGRATIONS) {
      await client.query(migration);
    }
  } finally {
    await client.query("SELECT pg_advisory_unlock($1)", [MIGRATION_LOCK]).catch(() => {});
    client.release();
  }
}
