import { href, siblings, sources } from "../.vitepress/sources.js";

const tab = (file, of) => ({
    name: file.split("/").at(-1),
    href: href(file),
    current: file === of ? "page" : undefined,
});

export default {
    paths: () => sources.map((file) => ({ params: { file, tabs: siblings(file).map((one) => tab(one, file)) } })),
};
