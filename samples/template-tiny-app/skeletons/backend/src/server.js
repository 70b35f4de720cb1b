// Starts the server, and stops it without cutting a request short.
import { createApp } from "./app.js";
import { open } from "./database.js";

const port = Number(process.env.PORT ?? ${{ values.apiPort }});
const database = open(process.env);
const server = createApp({
  database,
  environment: process.env.ENVIRONMENT || "local",
  token: process.env.API_TOKEN,
  monitoring: process.env.MONITORING === "true",
});
server.keepAliveTimeout = 65_000;
server.listen(port, () => console.log(`listening on ${port}`));

database.migrate().then(
  () => console.log("the database is ready"),
  (error) => {
    console.error(`the database cannot be prepared: ${error.message}`);
    process.exit(1);
  },
);

function stop() {
  server.close(() => {
    database.close();
    process.exit(0);
  });
  server.closeIdleConnections();
  setTimeout(() => process.exit(0), 15_000).unref();
}

process.on("SIGTERM", stop);
process.on("SIGINT", stop);
