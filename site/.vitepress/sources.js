// What the site knows about the repository: which files it shows, and on which lines of them an excerpt, a claim's
// test, a stage's test, a type or a function stands. Lines are numbered from 1, as editors do.
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../..", import.meta.url));
export const base = process.env.SITE_BASE || "/";
const { GITHUB_SERVER_URL = "https://github.com", GITHUB_REPOSITORY, GITHUB_SHA } = process.env;
export const repository = GITHUB_REPOSITORY && `${GITHUB_SERVER_URL}/${GITHUB_REPOSITORY}`;
export const blob = repository && GITHUB_SHA && `${repository}/blob/${GITHUB_SHA}`;

const languages = { cpp: "cpp", hpp: "cpp", csv: "csv", go: "go", js: "js", json: "json", mjs: "js", patch: "diff",
                    py: "python", sh: "sh", txt: "cmake", yml: "yaml", LICENSE: "txt" };
export const language = (file) => languages[path.extname(file).slice(1) || path.basename(file)];

export const read = (file) => fs.readFileSync(path.join(root, file), "utf8");
const lines = (file) => read(file).split("\n");
const list = (folder) => fs.readdirSync(path.join(root, folder)).map((name) => path.posix.join(folder, name)).sort();
const is_folder = (file) => fs.statSync(path.join(root, file), { throwIfNoEntry: false })?.isDirectory();

export const notes = list("notes").filter((file) => file.endsWith(".md"));
export const heading = (note) => read(note).match(/^# (.*)$/m)[1];

// Who follows a link to a recorded run steps through it.
export const run_of = (link) => /^runs\/([\w-]+)\.json$/.exec(link)?.[1];

// The files that the notes link to, and the whole of a stage, or of a folder that is linked: they are the tabs.
function find_sources() {
    const found = new Set(["tests/support/contract.hpp"]); // the tests that every stage must pass
    for (const note of ["README.md", ...notes])
        for (const [, link] of read(note).matchAll(/\]\(([^)#\s:]+)\)/g)) {
            if (run_of(link)) continue;
            const target = path.posix.join(path.posix.dirname(note), link).replace(/\/$/, "");
            const folder = is_folder(target) ? target : path.posix.dirname(target);
            const files = is_folder(target) || /^0\d-/.test(folder) ? list(folder) : [target];
            for (const file of files) if (language(file) && !is_folder(file)) found.add(file);
        }
    return [...found].sort();
}
export const sources = find_sources();

export const siblings = (file) => sources.filter((other) => path.dirname(other) === path.dirname(file));

export function href(file, from, to = from) {
    return `${base}source/${file}.html${from ? `#L${from}-L${to}` : ""}`;
}

// A link to a folder opens its main.cpp, or else its first file.
export function source_of(target) {
    const file = target.replace(/\/$/, "");
    if (sources.includes(file)) return file;
    const inside = sources.filter((source) => source.startsWith(`${file}/`));
    return inside.find((source) => source === `${file}/main.cpp`) ?? inside[0];
}

export const is_mark = (line) => /^\s*\/\/([[?] |\]$)/.test(line);
export const has_marks = (file) => lines(file).some(is_mark);

// The lines that scripts/notes.py cuts for an excerpt, the marks around them left out.
export function region(file, name) {
    let depth = 0;
    let from = 0;
    for (const [index, line] of lines(file).entries()) {
        const mark = line.trim();
        if (mark === `//[ ${name}` || (depth && mark.startsWith("//[ "))) {
            ++depth;
        } else if (depth && mark === "//]") {
            if (--depth === 0) return { file, from, to: index };
        } else if (depth && !is_mark(line)) {
            from ||= index + 1;
        }
    }
    throw new Error(`${file} has no region ${name}`);
}

// The repository's code is formatted by clang-format, so what begins on a line ends at the first brace that is indented
// as deep as that line.
function block_end(text, start) {
    const indent = text[start].match(/^\s*/)[0];
    for (let i = start; i < text.length; ++i) {
        const code = text[i].replace(/\s*\/\/.*/, "");
        if (/;$/.test(code) && i === start && !/\{/.test(code)) return undefined;
        if (/\{.*\}[;)]*$/.test(code)) return i;
        if (/\{$/.test(code)) {
            for (let end = i + 1; end < text.length; ++end)
                if (text[end].startsWith(`${indent}}`)) return end;
            return undefined;
        }
        if (/;$/.test(code)) return undefined;
    }
    return undefined;
}

// With the comment and the template line above it.
function with_contract(text, start) {
    while (start > 0 && /^\s*(\/\/(?![[\]])|template <)/.test(text[start - 1])) --start;
    while (is_mark(text[start])) ++start;
    return start;
}

const type = /^\s*(?:class|struct|enum class) (\w+)(?: final)?(?: :[^;]*)?(?: \{.*)?$/;
const func = /^\s*(?:[\w:<>,*&[\]]+ )*?[\w:<>,*&[\]]+ [*&]?(?:(\w+)::)?([a-z]\w*[a-z\d])\(/;
const statement = /^\s*(?:return|else|throw|new|delete|if|for|while|switch|case|using|friend|do)\b/;

function definitions(file) {
    const text = lines(file);
    const found = [];
    const add = (name, scope, start, end) =>
        found.push({ name, scope, file, start, end, from: with_contract(text, start) + 1, to: end + 1 });
    text.forEach((line, start) => {
        const name = line.match(type)?.[1];
        const end = name && block_end(text, start);
        if (end) add(name, "", start, end);
    });
    const types = [...found];
    text.forEach((line, start) => {
        const [, scope, name] = (!statement.test(line) && line.match(func)) || [];
        const end = name && block_end(text, start);
        if (end === undefined) return;
        const owner = types.findLast((one) => one.start < start && end < one.end)?.name;
        add(name, scope ?? owner ?? "", start, end);
    });
    return found;
}

const stage = (file) => Number(/(?:^|\/)(0\d)-/.exec(file)?.[1] ?? NaN);
const known = sources.filter((file) => /^0\d-.*\.[ch]pp$/.test(file)).flatMap(definitions);

// A case of tests/claims by its number, a test of tests/stages by its full name.
const cases = new Map();
for (const file of sources.filter((one) => /^tests\/(claims|stages|support)\/.*pp$/.test(one))) {
    const text = lines(file);
    text.forEach((line, start) => {
        const claim = (line + text[start + 1]).match(/TEST_CASE\(\s*"([a-z0-9]+\.\d+) /)?.[1];
        const [, suite, name] = line.match(/^TEST(?:_F)?\((\w+), (\w+)\)/) ?? [];
        if ((claim && line.startsWith("TEST_CASE(")) || suite) {
            const key = claim ?? (suite === "Suite" ? name : `${suite}.${name}`);
            cases.set(key, { file, from: with_contract(text, start) + 1, to: block_end(text, start) + 1 });
        }
    });
}
export const claim = (number) => cases.get(number);

// What an inline code such as `Connection::receive()` or `Stage03Recv.SingleBytesAddUp` in a note names. A note speaks
// of its own stage first, then of those before it; of a later one only where it cannot mean a plain word.
export function named(code, note) {
    const test = /^(Stage0\d\w+)\.(\w+)$/.exec(code);
    if (test) return cases.get(code) ?? cases.get(test[2]);
    const [, scope, name, call] = /^(?:(\w+)::)?(\w+)(\(\))?$/.exec(code) ?? [];
    const found = known.filter((one) => one.name === name && (scope === undefined || one.scope === scope));
    if (scope && !found.length) return named(scope, note);
    const certain = scope || call || /^[A-Z]/.test(name ?? "");
    const here = stage(note);
    if (Number.isNaN(here)) return certain || new Set(found.map((one) => one.file)).size === 1 ? found[0] : undefined;
    const distance = (one) => (stage(one.file) <= here ? here - stage(one.file) : 10 + stage(one.file));
    return found.filter((one) => certain || distance(one) < 10).sort((a, b) => distance(a) - distance(b))[0];
}
