// Parses every Mermaid diagram in the files that it is given, as GitHub does when it draws them.
import fs from "node:fs";
import { JSDOM } from "jsdom";

globalThis.window = new JSDOM("").window; // Mermaid wants a browser, even for parsing
globalThis.document = window.document;
const { default: mermaid } = await import("mermaid");

let count = 0;
for (const file of process.argv.slice(2)) {
    const text = fs.readFileSync(file, "utf8");
    for (const match of text.matchAll(/^```mermaid\n(.*?)^```$/gms)) {
        const line = text.slice(0, match.index).split("\n").length;
        try {
            await mermaid.parse(match[1]);
            ++count;
        } catch (error) {
            console.log(`${file}:${line}: ${error.message}`);
            process.exitCode = 1;
        }
    }
}
console.log(`${count} diagrams parsed`);
