import { has_marks, href, siblings, sources } from "../.vitepress/sources.js";

const tab = (file, of) => ({
    name: file.split("/").at(-1),
    href: href(file),
    current: file === of ? "page" : undefined,
});

export default {
    paths: () => sources.map((file) => ({ params: { file, has_marks: has_marks(file), tabs: siblings(file).map((one) => tab(one, file)) } })),
};
