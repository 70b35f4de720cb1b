// Starts the server, and stops it without cutting a request short.
import { createApp } from "./app.js";
import { connect } from "./database.js";

const port = Number(process.env.PORT ?? ${{ values.apiPort }});
const database = connect(process.env);
const app = createApp({
  database,
  environment: process.env.ENVIRONMENT || "local",
  token: process.env.API_TOKEN,
  monitoring: process.env.MONITORING === "true",
});
const server = app.listen(port, () => console.log(`listening on ${port}`));
server.keepAliveTimeout = 65_000;

database.migrate().then(
  () => console.log("the database is ready"),
  (error) => {
    console.error(`the database cannot be prepared: ${error.message}`);
    process.exit(1);
  },
);

function stop() {
  app.locals.stopping = true;
  server.close(async () => {
    await database.close();
    process.exit(0);
  });
  server.closeIdleConnections();
  setTimeout(() => process.exit(0), 15_000).unref();
}

process.on("SIGTERM", stop);
process.on("SIGINT", stop);
