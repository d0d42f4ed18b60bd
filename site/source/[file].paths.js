import { has_marks, href, siblings, sources } from "../.vitepress/sources.js";

const tab = (file, of) => ({
    name: file.split("/").at(-1),
    href: href(file),
    target: "_self",
    "aria-current": file === of ? "page" : undefined,
});

export default {
    paths: () => sources.map((file) => {
        const tabs = siblings(file).map((one) => tab(one, file));
        return { params: { file, tabs, has_marks: has_marks(file) } };
    }),
};
