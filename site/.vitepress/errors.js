// The rows that someone with an error number looks for: in the tables of which-false-is-it.md and
// how-a-connection-ends.md, and under "What goes wrong" in a stage's note. Each gets an anchor, the search finds it by
// its numbers, and each number in it leads to the row that explains it.
import { heading, notes, read } from "./sources.js";

const explains = "notes/which-false-is-it.md";
const ends = "notes/how-a-connection-ends.md";

// A number counts where it stands with its name somewhere, as in "64 `ERROR_NETNAME_DELETED`".
const names = new Map();
for (const [, number, name] of read(explains).matchAll(/\b(\d+) \(?`([A-Z][A-Z_\d]+)`/g))
    names.set(number, [...new Set([...(names.get(number) ?? []), name])]);

const number = /(?<![\w.#/-])\d+(?![\w./-]| (?:bytes?|s|KiB|ms)\b)/g;

// The pieces of a text, in order: { text } and { text, number }.
export function pieces(text) {
    const found = [];
    let last = 0;
    for (const match of text.matchAll(number)) {
        if (!names.has(match[0])) continue;
        found.push({ text: text.slice(last, match.index) }, { text: match[0], number: match[0] });
        last = match.index + match[0].length;
    }
    return [...found, { text: text.slice(last) }];
}

// By note and line (from 0, as markdown-it counts): { id, note, numbers, title, section }.
const rows = new Map();
for (const note of [explains, ends, ...notes.filter((file) => /\/0\d-/.test(file))]) {
    const ids = new Set();
    let section = "";
    read(note).split("\n").forEach((line, index) => {
        section = /^## (.*)/.exec(line)?.[1] ?? section;
        if (!line.startsWith("| ") || (note !== explains && note !== ends && section !== "What goes wrong")) return;
        const text = line.replace(/\]\([^)]*\)/g, "]");
        const numbers = [...new Set(pieces(text).flatMap((piece) => piece.number ?? []))];
        if (!numbers.length) return;
        let id = `error-${numbers.join("-")}`;
        for (let i = 2; ids.has(id); ++i) id = `error-${numbers.join("-")}-${i}`;
        ids.add(id);
        const named = (one) => names.get(one).filter((name, _, { length }) => length === 1 || line.includes(name));
        const title = numbers.map((one) => [one, ...named(one)].join(" "));
        rows.set(`${note}:${index}`, { id, note, numbers, section, title: title.join(", ") });
    });
}
export const row = (note, line) => rows.get(`${note}:${line}`);
export const row_title = (note, id) => [...rows.values()].find((one) => one.note === note && one.id === id).title;

// The row that explains a number: in the table of numbers, or else the first that has it.
const all = [...rows.values()].filter((one) => one.note === explains);
const home = (one) => (one.section === "The numbers" ? 0 : 1);
all.sort((a, b) => home(a) - home(b));
export const explanation = (wanted) => all.find((one) => one.numbers.includes(wanted));
for (const one of all) if (one.numbers.some((n) => explanation(n) === one)) one.id = one.id.replace("error", "number");

// Where else its numbers occur: [{ note, id, text }], for a row that explains.
export function mentions(explained) {
    const found = new Map();
    for (const one of rows.values()) {
        const text = `${heading(one.note)}: ${one.section}`;
        if (one.note !== explains && one.numbers.some((n) => explanation(n) === explained) && !found.has(text))
            found.set(text, { ...one, text });
    }
    return [...found.values()];
}
