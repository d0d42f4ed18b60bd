// The built site in a real browser. Screenshots of what a reader sees first are left in build/site/screenshots.
import assert from "node:assert/strict";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { chromium } from "playwright-core";
import { base, named, notes, region, root, sources } from "../.vitepress/sources.js";
import { serve } from "../serve.js";

const browsers = ["/usr/bin/chromium", "/usr/bin/google-chrome"];
const executablePath = browsers.find((file) => fs.existsSync(file));
const skip = executablePath ? false : `there is neither ${browsers.join(" nor ")}`;
const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"];
const built = path.join(root, "build/site/dist");
const screenshots = path.join(root, "build/site/screenshots");
const axe = fs.readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const wide = { width: 1500, height: 950 };
const narrow = { width: 390, height: 844 };
const note = "notes/03-recv.html"; // for what every note of a stage has

const { checks } = JSON.parse(fs.readFileSync(path.join(root, "notes/claims.json"), "utf8"));
const html_of = (note) => `${note.replace(/(^|\/)README\.md$/, "$1index.md").replace(/\.md$/, ".html")}`;
const pages = ["README.md", ...notes].map(html_of).concat("runs.html");
let server, browser, home;

before(async () => {
    if (skip) return;
    server = await serve(0);
    home = server.resolvedUrls.local[0];
    browser = await chromium.launch({ executablePath, args });
});
after(async () => {
    await browser?.close();
    server?.httpServer.closeAllConnections();
    server?.httpServer.close();
});

// One context for each kind of reader, so that scripts are loaded once.
const contexts = new Map();
function context_for(options) {
    const key = JSON.stringify(options);
    const settings = { viewport: wide, reducedMotion: "reduce", ...options };
    if (!contexts.has(key)) contexts.set(key, browser.newContext(settings));
    return contexts.get(key);
}

// Opens a page, and fails at the end if anything was wrong with it: an error, a warning, or a request to elsewhere.
async function visit(address, options, use) {
    const faults = [];
    const page = await (await context_for(options)).newPage();
    page.setDefaultTimeout(120000); // for what hangs: other tests may leave this one little of the processors
    page.on("console", (message) => ["error", "warning"].includes(message.type()) && faults.push(message.text()));
    page.on("pageerror", (error) => faults.push(error.message));
    page.on("request", (request) => /^(data|blob):/.test(request.url()) || request.url().startsWith(home) ||
        faults.push(`a request to ${request.url()}`));
    page.on("response", (response) => response.ok() || response.status() === 304 ||
        faults.push(`${response.status()} ${response.url()}`));
    try {
        await page.goto(home + address);
        await page.waitForFunction(() => document.querySelector("#app").__vue_app__); // from now on it listens
        await use(page);
        assert.deepEqual(faults, [], address);
    } finally {
        await page.close();
    }
}

const label = ({ file, from, to }) => `${file}, lines ${from} to ${to}`;
const showing = (page, text) => page.locator(`.code-pane .place:text-is("${text}")`).waitFor();
const marked = (page) => page.locator(".code-pane .line.on").evaluateAll((lines) =>
    lines.map((line) => Number(line.id.slice(1))));
const scroll_to = (page, selector) => page.locator(selector).first().evaluate((element) =>
    window.scrollTo(0, scrollY + element.getBoundingClientRect().top - innerHeight / 3));

// A browser mostly waits, so several pages are open at once.
describe("Every page opens without an error, draws its diagrams, and asks nobody else", { concurrency: 3 }, () => {
    for (const address of pages)
        test(address, { skip }, () => visit(address, {}, async (page) => {
            assert.equal(await page.locator("h1").count(), 1, address);
            await page.waitForFunction(() => !document.querySelector("pre.mermaid"));
            await page.waitForLoadState("networkidle");
        }));
});

test("Every source's page opens", { skip }, async () => {
    for (const file of ["03-recv/receive.hpp", "tests/claims/03-recv.cpp", "notes/performance/samples.csv"])
        await visit(`source/${file}.html`, {}, (page) => page.locator("#L3").waitFor());
});

test("No link leads nowhere, nor to an anchor or a line that is not there", () => {
    const ids = new Map();
    const ids_of = (file) => {
        if (!ids.has(file)) {
            const text = fs.readFileSync(file, "utf8");
            ids.set(file, new Set([...text.matchAll(/ id="([^"]+)"/g)].map((match) => match[1])));
        }
        return ids.get(file);
    };
    const dead = [];
    let count = 0;
    for (const from of [...pages, ...sources.map((file) => `source/${file}.html`)]) {
        const text = fs.readFileSync(path.join(built, from), "utf8");
        for (const [, href] of text.matchAll(/<a [^>]*?href="([^"]+)"/g)) {
            if (/^(https?|data):/.test(href)) continue;
            ++count;
            const { pathname, hash } = new URL(href.replaceAll("&amp;", "&"), `http://site${base}${from}`);
            const inside = pathname.startsWith(base) ? pathname.slice(base.length) : "outside the site";
            const file = path.join(built, decodeURI(inside).replace(/(^|\/)$/, "$1index.html"));
            const wanted = hash ? decodeURIComponent(hash.slice(1)).split(/-(?=L\d+$)/) : [];
            if (!fs.existsSync(file)) dead.push(`${from}: ${href}`);
            else if (!wanted.every((id) => ids_of(file).has(id))) dead.push(`${from}: ${href} (no such anchor)`);
        }
    }
    assert.deepEqual(dead, []);
    assert.ok(count > 3000, `only ${count} links`);
});

test("The pane follows the text", { skip }, () => visit(note, {}, async (page) => {
    for (const [file, name] of [["03-recv/receive.hpp", "start"], ["03-recv/receive.hpp", "complete"],
        ["03-recv/main.cpp", "received"]]) {
        const { from, to } = region(file, name);
        await scroll_to(page, `a.caption[href*="${file}.html#L${from}-"]`);
        await showing(page, label({ file, from, to }));
        await page.locator(`.code-pane #L${to}.on`).waitFor();
        const lines = await marked(page);
        assert.deepEqual([lines[0], lines.at(-1)], [from, to]);
        assert.ok(await page.locator(`.code-pane #L${from}`).evaluate((line) => {
            const { top } = line.getBoundingClientRect();
            return top > 60 && top < innerHeight;
        }), `${file}:${from} is in sight`);
    }
    const code = await page.locator(".code-pane code").innerText();
    assert.doesNotMatch(code, /\/\/[[\]?]/, "marks are not shown");
}));

test("A name opens its definition, a file its tab, and one can go back", { skip }, () =>
    visit(note, {}, async (page) => {
        await scroll_to(page, "#the-contract");
        await page.locator(".code-pane .held").waitFor(); // who wants to write first sees no code
        await page.locator('a.name:has-text("Connection::receive")').first().click();
        const received = label(named("Connection::received", "notes/03-recv.md"));
        await showing(page, received);
        await page.locator('.code-pane .tabs a:text-is("receive.hpp")').click();
        await showing(page, "03-recv/receive.hpp");
        await page.mouse.wheel(0, 2000);
        await page.waitForTimeout(200);
        await showing(page, "03-recv/receive.hpp"); // what was asked for stays
        await page.locator(".code-pane .back").click();
        await showing(page, received);
        await page.locator(".code-pane .back").click();
        assert.equal(await page.locator(".code-pane .back").count(), 0);
        await page.locator(".code-pane .held").waitFor();
    }));

test("By keyboard: a name, the pane, and back to the name", { skip }, () => visit(note, {}, async (page) => {
    const name = page.locator('a.name:has-text("skips_packets")').first();
    await name.focus();
    await page.keyboard.press("Enter");
    await page.locator(".code-pane .body:focus").waitFor();
    await page.keyboard.press("Escape");
    assert.ok(await name.evaluate((link) => link === document.activeElement));
}));

test("The pane can be closed, stays closed, and opens again", { skip }, () => visit(note, {}, async (page) => {
    await page.locator(".code-pane .close").click();
    await page.reload();
    assert.equal(await page.locator(".code-pane").count(), 0);
    await page.locator(".code-pane-opener").click();
    await page.locator(".code-pane").waitFor();
}));

test("On a narrow screen there is no pane, and a link leads to the lines on their page", { skip }, () =>
    visit(note, { viewport: narrow }, async (page) => {
        assert.equal(await page.locator(".code-pane").count(), 0);
        await page.locator("a.caption").first().click();
        await page.waitForURL(/source\/03-recv\/receive\.hpp\.html#L\d+-L\d+$/);
        await page.locator(".line.on").first().waitFor();
        const top = await page.locator(".line.on").first().evaluate((line) => line.getBoundingClientRect().top);
        assert.ok(top < narrow.height);
    }));

test("A claim shows its test, by mouse and by keyboard", { skip }, () => visit(note, {}, async (page) => {
    const claim = page.locator('a.claim:text-is("03.4")');
    await claim.click();
    await page.locator('.claim-test:popover-open :text("03.4 The WSABUF")').waitFor();
    const text = await page.locator(".claim-test code").innerText();
    assert.match(text, /^\s*\d+\/\/ Windows: https:[^]*\d+TEST_CASE\("03\.4 [^]*\d+\}\s*$/);
    assert.ok(await page.locator(".claim-test pre").evaluate((pre) => pre.scrollWidth <= pre.clientWidth), "lines wrap");
    const [wine, strict] = checks["03.4"];
    await page.locator(`.claim-test :text("${wine} checks under Wine")`).waitFor();
    await page.locator(`.claim-test :text("${strict} on the strict")`).waitFor();
    await page.keyboard.press("Escape");
    assert.equal(await page.locator(".claim-test:popover-open").count(), 0);
    assert.ok(await claim.evaluate((link) => link === document.activeElement), "back to the text");
    await page.keyboard.press("Enter");
    await page.locator(".claim-test:popover-open").waitFor();
}));

for (const [number, name] of [["10054", "WSAECONNRESET"], ["64", "ERROR_NETNAME_DELETED"], ["997", "WSA_IO_PENDING"]])
    test(`The search for ${number} leads to its row`, { skip }, () => visit("index.html", {}, async (page) => {
        await page.keyboard.press("Control+k");
        await page.locator(".VPLocalSearchBox input").fill(number);
        await page.locator(`.VPLocalSearchBox .result.selected:has-text("${number} ${name}")`).waitFor();
        await page.keyboard.press("Enter");
        await page.waitForURL(/which-false-is-it\.html#number-/);
        const row = page.locator("tr.addressed");
        await row.waitFor();
        assert.match(await row.innerText(), new RegExp(`\\b${number}\\b`));
        assert.ok(await row.evaluate((element) => {
            const { top } = element.getBoundingClientRect();
            return top >= 0 && top < innerHeight;
        }), "the row is in sight");
    }));

test("The search for a claim leads to the note that makes it", { skip }, () => visit("index.html", {}, async (page) => {
    await page.keyboard.press("Control+k");
    await page.locator(".VPLocalSearchBox input").fill("05.11");
    await page.locator(".VPLocalSearchBox .result.selected").waitFor();
    await page.keyboard.press("Enter");
    await page.waitForURL(/notes\/05-disconnect\.html#/);
}));

const runs = fs.readdirSync(path.join(root, "notes/runs")).map((file) => path.basename(file, ".json"));

const looks = new Map([...fs.readFileSync(path.join(root, "site/runs.md"), "utf8").matchAll(/run="(.*)" look="(.*)"/g)]
    .map(([, run, look]) => [run, look]));

describe("Each run steps to its end and back, and shows code and owners", { concurrency: 3 }, () => {
    for (const [index, run] of runs.entries())
        test(run, { skip }, () => {
            const viewport = index % 2 ? narrow : wide;
            return visit("runs.html", { viewport, colorScheme: index % 3 ? "light" : "dark" }, async (page) => {
                const player = page.locator(`section.run[aria-label="The run ${run}"]`);
                await player.scrollIntoViewIfNeeded(); // then it begins to load
                const picture = (name) => player.screenshot({ path: path.join(screenshots, `run-${run}-${name}.png`) });
                const count = Number(/of (\d+)/.exec(await player.locator(".controls span").innerText())[1]);
                const title = player.locator(".title");
                const first = await title.innerText();
                await title.evaluate((element) => {
                    window.titles = new Set([element.innerText]);
                    const add = () => window.titles.add(element.innerText);
                    new MutationObserver(add).observe(element, { characterData: true, childList: true, subtree: true });
                });
                await picture("begin");
                await player.locator(".scroller").focus();
                for (let at = 2; at <= count; ++at) {
                    await page.keyboard.press("ArrowRight");
                    if (at === Math.ceil(count / 2)) await picture("middle");
                }
                await player.locator(`.controls span:has-text("Step ${count} of ${count}")`).waitFor();
                await picture("end");
                const titles = await page.evaluate(() => window.titles.size);
                assert.ok(titles > count / 2, `${titles} titles for ${count} steps`);
                assert.ok(await player.locator(".thread .here").count(), "a thread shows its line");
                const owners = await player.locator(".operations").innerText();
                assert.doesNotMatch(owners, /kernel$/m, "nothing is pending at the end");
                await player.locator('button:text-is("What to look at")').click();
                await player.locator(`.title:has-text(${JSON.stringify(looks.get(run))})`).waitFor();
                await player.locator(".scroller").press("Home");
                await player.locator(`.title:text-is(${JSON.stringify(first)})`).waitFor();
                const width = await page.evaluate(() => document.documentElement.scrollWidth);
                assert.ok(width <= viewport.width, "no sideways scrolling");
            });
        });
});

test("A run plays to its end, and the space bar pauses it", { skip }, () => visit("runs.html", {}, async (page) => {
    const player = page.locator('section.run[aria-label="The run 01-create-port"]');
    await player.scrollIntoViewIfNeeded();
    await player.locator(".controls").waitFor();
    await page.clock.install();
    const button = player.locator(".controls button").nth(2);
    await player.locator(".scroller").press(" ");
    assert.equal(await button.innerText(), "Pause");
    await player.locator(".scroller").press(" ");
    assert.equal(await button.innerText(), "Play");
    await button.click();
    await page.clock.runFor(120000);
    await player.locator(".controls button:disabled").nth(1).waitFor(); // Next, and Last
    assert.match(await player.locator(".controls span").innerText(), /Step (\d+) of \1,/);
    assert.equal(await button.innerText(), "Play");
}));

describe("axe finds no serious fault", { concurrency: 3 }, () => {
    for (const colorScheme of ["light", "dark"])
        for (const [address, viewport] of [["index.html", wide], ["notes/03-recv.html", wide],
            ["notes/03-recv.html", narrow], ["notes/how-a-connection-ends.html", wide], ["runs.html", wide],
            ["source/03-recv/receive.hpp.html", narrow]])
            test(`${address}, ${colorScheme}, ${viewport.width}`, { skip }, () =>
                visit(address, { colorScheme, viewport }, async (page) => {
                    await page.waitForFunction(() => !document.querySelector("pre.mermaid"));
                    const claim = page.locator('a.claim:text-is("03.4")');
                    if (viewport === wide && await claim.count()) await claim.click();
                    const picture = `${path.basename(address, ".html")}-${viewport.width}-${colorScheme}.png`;
                    await page.screenshot({ path: path.join(screenshots, picture) });
                    await page.evaluate(axe);
                    // VitePress's search button has the shortcut's key in it, which axe takes for a part of its label.
                    const rules = { "label-content-name-mismatch": { enabled: false } };
                    const { violations } = await page.evaluate((options) => window.axe.run(options),
                        { rules, resultTypes: ["violations"] });
                    const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
                    const where = (nodes) => nodes.slice(0, 5).map(({ target }) => target).join(" ");
                    assert.deepEqual(serious.map(({ id, nodes }) => `${id}: ${where(nodes)}`), []);
                }));
});

test("On paper there is the text alone", { skip }, () => visit(note, {}, async (page) => {
    await page.emulateMedia({ media: "print" });
    assert.ok(await page.locator(".code-pane").isHidden());
    assert.ok(await page.locator(".VPSidebar").isHidden());
    assert.ok(await page.locator("#walk-through").isVisible());
}));
