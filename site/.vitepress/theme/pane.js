// The code pane: which lines of which file it shows, and what it showed before.
//
// For other components: showInPane("03-recv/receive.hpp", 29, 45) opens the pane at these lines; without lines, at the
// file's beginning. It leaves no step to go back to, so a player may call it as often as it likes.
import { reactive } from "vue";
import { withBase } from "vitepress";

export const pane = reactive({ place: undefined, back: [], open: false });

export function setOpen(open) {
    pane.open = open;
    document.documentElement.classList.toggle("pane-open", open);
}

export function showInPane(file, from, to = from) {
    const old = pane.place;
    if (!pane.open) setOpen(true);
    if (old?.file !== file || old.from !== from || old.to !== to) pane.place = { file, from, to };
}

// A reader asked for it: until they go back, the pane no longer follows the text.
export function openInPane({ file, from, to }) {
    pane.back.push(pane.place);
    showInPane(file, from, to);
}

export function goBack() {
    if (pane.back.length) pane.place = pane.back.pop();
}

// { file, from, to } of a link to a source.
export function placeOf(link) {
    const start = withBase("/source/");
    if (!link.pathname.startsWith(start)) return undefined;
    const [, from, to] = /^#L(\d+)-L(\d+)$/.exec(link.hash)?.map(Number) ?? [];
    return { file: decodeURI(link.pathname.slice(start.length)).replace(/\.html$/, ""), from, to };
}

export const addressOf = ({ file, from, to }) => withBase(`/source/${file}.html${from ? `#L${from}-L${to}` : ""}`);

// A source stands once, on its page; the pane and the claims take it from there.
const files = new Map();
export function load(file) {
    if (!files.has(file)) {
        const page = fetch(addressOf({ file })).then((answer) => {
            if (!answer.ok) throw new Error(`${file}: ${answer.status}`);
            return answer.text();
        });
        files.set(file, page.then((text) =>
            new DOMParser().parseFromString(text, "text/html").querySelector(".source-file")));
    }
    return files.get(file);
}

// Marks the lines inside an element, and returns the first.
export function markLines(element, { from, to }) {
    for (const line of element.querySelectorAll(".line.on")) line.classList.remove("on");
    let first;
    for (let number = from; number <= to; ++number) {
        const line = element.querySelector(`#L${number}`);
        line?.classList.add("on");
        first ??= line;
    }
    return first;
}
