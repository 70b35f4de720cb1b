import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

export default defineConfig({
  plugins: [react()],
  // `npm run dev` talks to a backend on this machine, as the server does to the one beside it.
  server: { proxy: { "/api": process.env.BACKEND_URL ?? "http://localhost:${{ values.apiPort }}" } },
  test: { include: ["test/**/*.test.{ts,tsx}"] },
});
