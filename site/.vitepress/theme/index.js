import DefaultTheme from "vitepress/theme-without-fonts";
import Layout from "./Layout.vue";
import Mermaid from "./Mermaid.vue";
import RunPlayer from "./RunPlayer.vue";
import "./style.css";

export default {
    extends: DefaultTheme,
    Layout,
    enhanceApp({ app }) {
        app.component("Mermaid", Mermaid);
        app.component("RunPlayer", RunPlayer);
    },
};
