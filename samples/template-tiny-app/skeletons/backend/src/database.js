// The application's tables. Address and credentials come from the environment, which the composition fills from the
// Secret that the database operator makes.
import { literal, Postgres } from "./postgres.js";

// How long the database may take to come up before the process gives up and is restarted.
const START_TIMEOUT_MS = 120_000;
const PAUSE_MS = 300;

const MIGRATIONS = [
  "CREATE TABLE IF NOT EXISTS metrics (name text PRIMARY KEY, value double precision NOT NULL, unit text NOT NULL DEFAULT '')",
  `INSERT INTO metrics (name, value, unit) VALUES
     ('Requests', 1280, 'per minute'), ('Response time, 95th percentile', 182, 'ms'), ('Errors', 0.4, '%')
   ON CONFLICT (name) DO NOTHING`,
];

export function open(environment) {
  const postgres = new Postgres({
    host: environment.PGHOST,
    port: environment.PGPORT,
    user: environment.PGUSER,
    password: environment.PGPASSWORD ?? "",
    database: environment.PGDATABASE,
  });
  let migrated = false;
  return {
    async migrate() {
      const deadline = Date.now() + START_TIMEOUT_MS;
      for (;;) {
        try {
          // Two pods that start together must not create the table at the same time.
          await postgres.query("SELECT pg_advisory_lock(7007)");
          for (const migration of MIGRATIONS) {
            await postgres.query(migration);
          }
          await postgres.query("SELECT pg_advisory_unlock(7007)");
          migrated = true;
          return;
        } catch (error) {
          postgres.close();
          if (Date.now() > deadline) {
            throw error;
          }
          await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
        }
      }
    },
    isReady: () => migrated && postgres.query("SELECT 1").then(() => true, () => false),
    name: async () => (await postgres.query("SELECT current_database() AS name"))[0].name,
    async metrics() {
      const rows = await postgres.query("SELECT name, value, unit FROM metrics ORDER BY name");
      return rows.map((row) => ({ ...row, value: Number(row.value) }));
    },
    async save({ name, value, unit }) {
      await postgres.query(
        `INSERT INTO metrics (name, value, unit) VALUES (${literal(name)}, ${Number(value)}, ${literal(unit)})
         ON CONFLICT (name) DO UPDATE SET value = excluded.value, unit = excluded.unit`,
      );
    },
    close: () => postgres.close(),
  };
}
