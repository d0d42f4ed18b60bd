// What the text at the reading position is about: the nearest link to a source at or above it in its section, which is
// the caption of an excerpt, a file's name, or, where there is none of these, the name of a type or function.
// Null: the reader is above a note's border, and may still want to write the stage.
import { placeOf } from "./pane.js";

export const top = (element) => element.getBoundingClientRect().top;

export function placeBeingRead() {
    const y = window.innerHeight * 0.35;
    const border = document.querySelector("#VPContent .border");
    if (border && y < top(border)) return null;
    const headings = [...document.querySelectorAll("#VPContent :is(h1, h2, h3)")];
    const start = headings.findLastIndex((heading) => top(heading) <= y);
    const begin = headings[start] ? top(headings[start]) : -Infinity;
    const end = headings[start + 1] ? top(headings[start + 1]) : Infinity;
    for (const kind of ["a.source", "a.name"]) {
        const links = [...document.querySelectorAll(`#VPContent ${kind}`)];
        const here = links.filter((link) => begin <= top(link) && top(link) < end);
        const link = here.findLast((one) => top(one) <= y) ?? here[0];
        if (link) return placeOf(link);
    }
    return undefined;
}
