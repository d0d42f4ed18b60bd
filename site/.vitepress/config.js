// The site is made from README.md and notes/*.md as they are. SITE_BASE is the path that it is served under; with
// GITHUB_REPOSITORY and GITHUB_SHA, which a workflow on GitHub has, lines of code link to their place there.
import path from "node:path";
import { fileURLToPath } from "node:url";
import { createMarkdownRenderer, defineConfig } from "vitepress";
import { markdown, numbered, with_rows_as_sections } from "./markdown.js";
import { base, blob, heading, notes, read, repository, root } from "./sources.js";

// In the order of notes/README.md.
const index = [...read("notes/README.md").matchAll(/\]\(([\w-]+\.md)/g)].map(([, name]) => `notes/${name}`);
const ordered = [...new Set([...index, ...notes])].filter((note) => note !== "notes/README.md");
const entry = (note) => ({ text: heading(note), link: `/${note}` });
const is_stage = (note) => /\/0\d-/.test(note);

// Before anything is drawn, so that nothing moves: the notes of the stages begin with the pane open.
const start_with_pane = ["script", {}, `
    if (/\\/notes\\/0\\d-/.test(location.pathname) && localStorage.getItem("pane") !== "closed")
        document.documentElement.classList.add("pane-open")`];

export default defineConfig({
    title: "I/O completion ports",
    description: "Windows I/O completion ports in C++, stage by stage: the notes beside the code",
    lang: "en",
    base,
    srcDir: "..",
    srcExclude: ["build/**", "mine/**", "site/README.md"],
    outDir: path.join(root, "build/site/dist"),
    cacheDir: path.join(root, "build/site/cache"),
    rewrites: (page) => page.replace(/^site\//, "").replace(/(^|\/)README\.md$/, "$1index.md"),
    transformPageData: (page) => (page.params?.file ? { title: page.params.file } : undefined),
    // The code is not part of any script: it stands in the page, once, when Vue has done with it.
    async transformHtml(html, _, { pageData }) {
        const file = pageData.params?.file;
        if (!file) return undefined;
        const md = await createMarkdownRenderer(root, markdown, base);
        return html.replace('<div class="code"></div>', () => `<div class="code">${numbered(md, file)}</div>`);
    },
    head: [["link", { rel: "icon", href: "data:," }], start_with_pane],
    markdown,
    themeConfig: {
        blob,
        nav: [{ text: "Notes", link: "/notes/" }, { text: "Runs", link: "/runs" }],
        sidebar: [
            { text: "To read in order", items: ordered.filter(is_stage).map(entry) },
            { text: "To look things up", items: ordered.filter((note) => !is_stage(note)).map(entry) },
            { text: "To step through", items: [{ text: "Recorded runs", link: "/runs" }] },
        ],
        socialLinks: repository ? [{ icon: "github", link: repository }] : [],
        outline: [2, 3],
        search: {
            provider: "local",
            options: {
                miniSearch: {
                    options: {
                        // Words, and a claim's number, such as 03.4 or wf.16, whole.
                        tokenize: (text) => text.match(/\b(?:\d\d|[a-z]{2})\.\d+\b|[\p{L}\p{N}]+/giu) ?? [],
                    },
                    searchOptions: {
                        // Another number is not nearly the same; the row that explains it comes first, then the notes
                        // to read in order.
                        fuzzy: (term) => (/\d/.test(term) ? false : 0.2),
                        boostDocument: (id) => (id.includes("#number-") ? 4 : /\/0\d-/.test(id) ? 1.5 : 1),
                    },
                },
                _render(text, env, md) {
                    const html = md.render(text, env);
                    return env.frontmatter?.search === false ? "" : with_rows_as_sections(html, env);
                },
            },
        },
    },
    vite: {
        plugins: [{
            name: "modules-of-the-site", // the pages stand outside site/, where no node_modules is found
            enforce: "pre",
            resolveId(id, importer, options) {
                if (!/^vue(\/|$)/.test(id) || !importer?.endsWith(".md")) return undefined;
                return this.resolve(id, fileURLToPath(import.meta.url), { ...options, skipSelf: true });
            },
        }],
    },
});
