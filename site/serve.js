// Serves the built site, on 127.0.0.1 and nowhere else: node serve.js [port]
import { fileURLToPath } from "node:url";
import { preview } from "vite";

export const serve = (port) =>
    preview({
        root: fileURLToPath(new URL("../build/site", import.meta.url)),
        base: process.env.SITE_BASE || "/",
        configFile: false,
        appType: "mpa", // a page that is not there is an error
        build: { outDir: "dist" },
        preview: { host: "127.0.0.1", port, strictPort: true },
    });

if (process.argv[1] === fileURLToPath(import.meta.url)) {
    const server = await serve(Number(process.argv[2] ?? 7080));
    console.log(`The notes beside the code: ${server.resolvedUrls.local[0]} (Ctrl+C ends it)`);
}
