// What the site makes of the notes' Markdown while it is built: links into the code, captions above the excerpts, rows
// that have an address, and sources with their lines numbered. The Markdown itself stays as GitHub shows it.
import path from "node:path";
import { createCssVariablesTheme } from "shiki";
import { explanation, mentions, pieces, row, row_title } from "./errors.js";
import { base, blob, claim, href, is_mark, language, named, read, region, run_of, source_of } from "./sources.js";

// As GitHub does, so that an anchor in a note works in both.
const slug = (text) =>
    text.trim().toLowerCase().replace(/[^\p{L}\p{N}_\- ]/gu, "").replaceAll(" ", "-");

const note_of = (env) => (env.relativePath ?? "").replace(/(^|\/)index\.md$/, "$1README.md");
const is_note = (note) => note === "README.md" || note.startsWith("notes/");

// `target` keeps VitePress's router away: a source is opened by the code pane, or is an ordinary page.
const source_link = (kind, { file, from, to }) =>
    [["href", href(file, from, to)], ["class", kind], ["target", "_self"]];

function link_sources(tokens, note) {
    for (const [index, token] of tokens.entries()) {
        if (token.type !== "link_open") continue;
        const [target, hash] = token.attrGet("href").split("#");
        if (!target || /^[a-z]+:/.test(target)) continue;
        if (/\.md$/.test(target)) {
            token.attrSet("href", target.replace(/README\.md$/, "index.md") + (hash ? `#${hash}` : ""));
            continue;
        }
        const run = run_of(target);
        if (run) {
            token.attrSet("href", `/runs#${run}`);
            continue;
        }
        const file = source_of(path.posix.join(path.posix.dirname(note), target));
        if (!file) throw new Error(`${note}: the site does not show ${target}`);
        const test = claim(tokens[index + 1].content);
        token.attrs = test ? source_link("claim", test) : source_link("source", { file });
    }
}

function wrapped(Token, attrs, inside) {
    const open = new Token("link_open", "a", 1);
    open.attrs = attrs;
    return [open, inside, new Token("link_close", "a", -1)];
}

// Calls `change` for each token that is not inside a link; what it returns stands in the token's place.
function replace_outside_links(tokens, change) {
    let depth = 0;
    return tokens.flatMap((token) => {
        depth += token.type === "link_open" ? 1 : token.type === "link_close" ? -1 : 0;
        return depth ? token : change(token);
    });
}

function link_names(tokens, note, Token) {
    return replace_outside_links(tokens, (token) => {
        const place = token.type === "code_inline" && named(token.content, note);
        return place ? wrapped(Token, source_link("name", place), token) : token;
    });
}

const row_link = (one) => `/${one.note.replace(/md$/, "html")}#${one.id}`; // VitePress puts the base in front

function link_errors(tokens, here, Token) {
    const linked = (piece) => {
        const text = Object.assign(new Token("text", "", 0), { content: piece.text });
        const there = piece.number && explanation(piece.number);
        return there && there !== here ? wrapped(Token, [["href", row_link(there)], ["class", "error"]], text) : text;
    };
    return replace_outside_links(tokens, (token) =>
        token.type === "text" ? pieces(token.content).flatMap(linked) : token);
}

function see_also(here, Token) {
    const links = mentions(here).map((one) => `<a href="${base.slice(0, -1)}${row_link(one)}">${one.text}</a>`);
    const list = `<details class="see-also"><summary>Seen in</summary>${links.join("<br>")}</details>`;
    const content = links.length ? list : "";
    return Object.assign(new Token("html_inline", "", 0), { content });
}

function rewrite(state) {
    const note = note_of(state.env);
    if (!is_note(note)) return;
    let here;
    for (const [index, token] of state.tokens.entries()) {
        const before = state.tokens[index - 1];
        if (token.type === "tr_open") {
            here = row(note, token.map?.[0]);
            if (here) token.attrSet("id", here.id);
        } else if (token.type === "tr_close") {
            here = undefined;
        } else if (token.type === "fence" && before?.type === "html_block") {
            const [, file, name] = /<!-- excerpt: (\S+) (\S+) -->/.exec(before.content) ?? [];
            if (file) token.meta = region(file, name);
        } else if (token.type === "inline") {
            if (/^\*From here on the code is shown/.test(token.content)) before.attrSet("class", "border");
            link_sources(token.children, note);
            if (before.type !== "heading_open") token.children = link_names(token.children, note, state.Token);
            if (here) token.children = link_errors(token.children, here, state.Token);
            const last = state.tokens[index + 2]?.type === "tr_close";
            if (here && last && explanation(here.numbers[0]) === here) token.children.push(see_also(here, state.Token));
        }
    }
}

function use_rules(md) {
    md.core.ruler.push("code_and_errors", rewrite);
    const fence = md.renderer.rules.fence;
    md.renderer.rules.fence = (tokens, index, ...rest) => {
        const { meta: place, info, content } = tokens[index];
        if (info === "mermaid") return `<Mermaid code="${encodeURIComponent(content)}" />`;
        const code = fence(tokens, index, ...rest);
        if (!place) return code;
        const { file, from, to } = place;
        const caption = `${file}, lines ${from} to ${to}`;
        return `<a class="source caption" target="_self" href="${href(file, from, to)}">${caption}</a>${code}`;
    };
    // A table that is wider than the page scrolls, so the keyboard must reach it.
    md.renderer.rules.table_open = () => '<div class="table" tabindex="0"><table>\n';
    md.renderer.rules.table_close = () => "</table></div>\n";
}

// For the search: each row with an error number becomes a section of its own, behind the section it stands in.
export function with_rows_as_sections(html, env) {
    return html.split(/(?=<h[1-6][ >])/).map((section) => {
        const found = [...section.matchAll(/<tr id="((?:error|number)-[\d-]+)">(.*?)<\/tr>/gs)];
        return section + found.map(([, id, cells]) =>
            `<h6>${row_title(note_of(env), id)}<a href="#${id}">#</a></h6>${cells}`).join("\n");
    }).join("");
}

// A source as HTML. The marks of excerpts and exercises are left out, the numbers stay those of the file, and addresses
// are links.
export function numbered(md, file) {
    const fence = "`".repeat(6);
    const text = read(file).trimEnd();
    const html = md.render(`${fence}${language(file)}\n${text}\n${fence}`).split("\n");
    return text.split("\n").flatMap((line, index) => {
        if (is_mark(line)) return [];
        const number = index + 1;
        const label = blob ? `<a class="number" tabindex="-1" href="${blob}/${file}#L${number}">${number}</a>`
            : `<span class="number">${number}</span>`;
        return html[index].replace(/https:\/\/[^\s<>"]*[\w/]/g, (address) => `<a href="${address}">${address}</a>`)
            .replace('<span class="line">', `<span class="line" id="L${number}">${label}`);
    }).concat(html.slice(text.split("\n").length)).join("\n");
}

export const markdown = {
    anchor: { slugify: slug },
    config: use_rules,
    theme: createCssVariablesTheme(), // style.css has the colours
};
