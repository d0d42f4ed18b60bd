// node --test: what the steps of the recorded runs promise.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

import { toSteps } from "./steps.js";

const folder = new URL("../../notes/runs/", import.meta.url);
const read = (name) => JSON.parse(readFileSync(new URL(`${name}.json`, folder), "utf8"));
const names = readdirSync(folder).map((file) => file.replace(/\.json$/, ""));

function stepOf(name, holds) {
    const step = toSteps(read(name)).find(holds);
    assert.ok(step, "there is such a step");
    return step;
}

for (const name of names) {
    const events = read(name);
    const steps = toSteps(events);

    test(`${name}: each step is one sentence`, () => {
        assert.ok(steps.length >= 15);
        for (const { title } of steps) assert.doesNotMatch(title, /undefined|null|NaN|\[object/);
    });

    test(`${name}: each operation has exactly one owner, and no memory is in two operations`, () => {
        for (const { title, threads, operations, queue } of steps) {
            const owners = new Set(["kernel", "port", "program", ...threads.map((thread) => thread.name)]);
            for (const { owner } of operations) assert.ok(owners.has(owner), `${owner}: ${title}`);
            const memory = operations.map((operation) => operation.memory).filter(Boolean);
            assert.equal(new Set(memory).size, memory.length, title);
            assert.equal(operations.filter(({ owner }) => owner === "port").length, queue.length, title);
        }
    });

    test(`${name}: an operation goes from the kernel to the port, to a worker, to the program`, () => {
        const rank = { kernel: 0, port: 1, program: 3 };
        const seen = new Map();
        for (const { title, operations } of steps)
            for (const { id, owner } of operations) {
                const now = rank[owner] ?? 2;
                const before = seen.get(id) ?? 0;
                assert.ok(now === before || now === before + 1 || (before === 0 && now === 3), `${id}: ${title}`);
                seen.set(id, now);
            }
    });

    test(`${name}: at the end nothing is pending, and the port is empty`, () => {
        const { operations, queue } = steps.at(-1);
        assert.deepEqual(operations.filter(({ owner }) => owner !== "program"), []);
        assert.deepEqual(queue, []);
    });

    test(`${name}: a step is the same however one comes to it`, () => {
        assert.deepEqual(events, read(name)); // toSteps changes nothing in them
        for (let i = 0; i < steps.length; i += 7) {
            const until = events.filter(({ ts }) => ts < (steps[i + 1]?.time ?? Infinity));
            assert.deepEqual(toSteps(until).at(-1), steps[i]); // nothing that comes later shows in it
        }
    });
}

test("a worker handles an operation whose call has not returned", () => {
    const step = stepOf("handled-before-the-call-returns", ({ threads }) =>
        threads.some(({ starts }) => starts !== null && threads.some(({ handles }) => handles.includes(starts))));
    assert.match(step.title, /takes the packet of the second receive from client 1/);
    const warns = ({ title }) => /has been taken: the caller must touch nothing/.test(title);
    stepOf("handled-before-the-call-returns", warns);
});

test("a call on a socket says which", () => {
    for (const name of names.filter((one) => one !== "01-create-port"))
        for (const { title } of toSteps(read(name)))
            if (/calls (closesocket|shutdown|CancelIoEx)/.test(title))
                assert.match(title, /on (the listening socket|client \d's socket|the socket of accept \d)/, name);
});

test("an operation that is started again keeps its memory, and says so", () => {
    const saying = (words) => stepOf("03-recv", ({ title }) => title.includes(words));
    const again = saying("the second receive from client 1 (the same operation again)");
    const first = saying("the first receive from client 1 and");
    const memory = ({ operations }) => operations.find(({ kind }) => kind === "receive").memory;
    assert.equal(memory(again), memory(first));
});

test("what a page of runs tells to look at is a step of the run", () => {
    const page = readFileSync(new URL("../runs.md", import.meta.url), "utf8");
    const players = [...page.matchAll(/<RunPlayer run="(.*)" look="(.*)" \/>/g)];
    assert.deepEqual(players.map(([, name]) => name).sort(), names.toSorted());
    for (const [, name, look] of players) stepOf(name, ({ title }) => title.includes(look));
});

test("an operation that skips its packet never reaches the port", () => {
    const step = stepOf("06-full-server", ({ title }) => /no packet comes/.test(title));
    assert.equal(step.operations.find(({ name }) => step.title.includes(name)).owner, "program");
});

test("a call that fails at once leaves the operation to the program", () => {
    const at = "03-recv/receive.hpp:39";
    const operation = { id: 1, name: "receive", tid: 1 };
    const steps = toSteps([
        { ph: "M", tid: 0, ts: 0, name: "thread_name", args: { name: "the kernel" } },
        { ph: "M", tid: 1, ts: 0, name: "thread_name", args: { name: "worker 1" } },
        { ph: "B", tid: 1, ts: 1, name: "WSARecv", args: { at, handles: [4] } },
        { ...operation, ph: "b", ts: 2, args: { at, buffer: 4096, memory: 1, client: "client 1" } },
        { ...operation, ph: "e", ts: 3, tid: 0, args: {} },
        { ph: "E", tid: 1, ts: 4, args: {} },
    ]);
    assert.match(steps.at(-1).title, /it fails, and no packet comes\. The call returns: failed$/);
    assert.equal(steps.at(-1).operations[0].owner, "program");
});
