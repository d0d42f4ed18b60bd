// A recorded run, as steps that a reader can follow: what happens, what each thread does, who owns each operation, and
// what the port holds. No browser in here.
//
// `events` are those of notes/runs/NAME.json, which tests/strict/trace.cpp writes. Events that belong together, such as
// a call, the operation that it starts and its return, are one step if nothing else happened in between.

const CLIENTS = 100; // from here on a lane is a client's; 0 is the kernel's; the others are threads'
const REASONS = { 64: "the connection was reset", 995: "cancelled", 1236: "the connection was aborted" };
const TOWARDS = { receive: "from", send: "to", disconnect: "of" };
const FOLLOWS = "; its packet follows";
// Calls that begin no operation, or only wait; the others say it with the operation.
const CALLS = {
    CreateIoCompletionPort: (socket) => (socket ? `: ${socket} is associated with the port` : ": the port is made"),
    CancelIoEx: (socket) => ` on ${socket}: what is pending there shall end now`,
    closesocket: (socket) => ` on ${socket}`,
    shutdown: (socket) => ` on ${socket}: our FIN`,
};

export function toSteps(events) {
    const lanes = new Map();
    const operations = new Map(); // by number
    const sockets = new Map(); // by handle: whose they are
    const starts = new Map(); // by kind and client: the OVERLAPPED of each
    let queue = []; // those whose packets are in the port

    // What happens, said `alone`; or `joined` to the step before, if that opens what this comes `after`.
    const rules = {
        M({ tid, args }) {
            lanes.set(tid, { name: args.name, calls: [], packets: [], at: null });
        },

        i({ tid, name }, lane) {
            if (tid >= CLIENTS) return { alone: `${lane.name} ${name}`, lane: "clients" };
        },

        B({ tid, name, args }, thread) {
            if (args.packets) {
                thread.packets = args.packets.map((number) => operations.get(number));
                for (const operation of thread.packets) Object.assign(operation, { owner: thread.name, taken: true });
                queue = queue.filter((operation) => !thread.packets.includes(operation));
                const owns = thread.packets.some(({ memory }) => memory) ? ", and owns the operation now" : "";
                const alone = `${thread.name} takes ${thread.packets.map(packet).join(" and ")}${owns}`;
                return { alone, joined: () => alone, after: `call ${tid}` };
            }
            const { at, handles } = args;
            thread.calls.push({ name, handles });
            thread.at = at;
            if (waits(thread)) {
                const joined = (before) => `${before}, and waits for the next`;
                return { alone: `${thread.name} waits for a packet`, joined, after: `handled ${tid}` };
            }
            if (name === "AcceptEx") sockets.set(handles[0], "the listening socket");
            const socket = handles.length ? sockets.get(handles[0]) ?? "a socket" : "";
            if (name === "closesocket") sockets.delete(handles[0]); // the next socket may get the same handle
            return { alone: `${thread.name} calls ${name}${CALLS[name]?.(socket) ?? ""}`, opens: [`call ${tid}`] };
        },

        b({ tid, id, name: kind, args }, thread) {
            for (const [older, { memory }] of operations)
                if (memory && memory === args.memory) operations.delete(older); // the same one, started again
            const call = thread.calls.at(-1);
            const { name, again } = named(kind, args);
            const operation = { ...args, id, kind, name, owner: "kernel", handles: call.handles };
            operations.set(id, operation);
            call.operation = operation;
            if (kind === "accept") sockets.set(call.handles[1], `the socket of ${name}`);
            const same = again ? " (the same operation again)" : "";
            const holds = `${name}${same}${args.buffer ? ` and its ${count(args.buffer)} belong` : " belongs"}`;
            const words =
                kind === "packet" ? packet(operation) : `${holds} to the kernel until a worker takes the packet`;
            const joined = (before) => `${before}: ${words}`;
            const opens = [`operation ${id}`, `call ${tid}`];
            return { alone: `${thread.name} is in ${call.name}: ${words}`, joined, after: `call ${tid}`, opens };
        },

        n({ id, name, args }) {
            const operation = operations.get(id);
            const opens = [`operation ${id}`];
            if (name === "is queued") {
                operation.owner = "port";
                queue.push(operation);
                const joined = (before) => `${before.replace(FOLLOWS, "")}; the packet is in the port`;
                return { alone: `the port gets ${packet(operation)}`, joined, after: opens[0], opens, lane: "port" };
            }
            Object.assign(operation, args, { completed: true });
            if (args.client) sockets.set(operation.handles[1], `${args.client}'s socket`);
            const follows = args.inside ? "" : FOLLOWS; // inside the call, it may be skipped
            const alone = `the kernel completes ${operation.name}: ${result(operation)}${follows}`;
            return { alone, opens, lane: "kernel" };
        },

        E({ tid, name }, thread) {
            if (name === "handles packets") {
                const packets = thread.packets.splice(0);
                const opens = [`handled ${tid}`, ...packets.map(({ id }) => `operation ${id}`)];
                return { alone: `${thread.name} has handled ${packets.map(packet).join(" and ")}`, opens };
            }
            const returned = waits(thread);
            const { name: call, operation } = thread.calls.pop();
            const how = operation && operation.kind !== "packet" ? `: ${outcome(operation)}` : "";
            const joined = (before) => (how ? `${before}. The call returns${how}` : before);
            const opens = returned ? [`call ${tid}`] : [];
            return { alone: `${call} returns to ${thread.name}${how}`, joined, after: `call ${tid}`, opens };
        },

        e(event) {
            const operation = operations.get(event.id);
            if (!operation) return;
            const inCall = operation.owner === "kernel";
            Object.assign(operation, { owner: "program", ended: event });
            const words = operation.completed ? "no packet comes" : "it fails, and no packet comes";
            const joined = (before) => (inCall ? `${before}; ${words}` : before);
            return { alone: `${operation.name}: ${words}`, joined, after: `operation ${event.id}`, opens: [] };
        },
    };

    function named(kind, { client, memory }) {
        const what = `${kind} ${client}`;
        const before = starts.get(what) ?? [];
        const all = [...before, memory];
        starts.set(what, all);
        const again = before.includes(memory);
        if (kind === "packet") return { name: `packet ${all.length}` };
        if (kind === "accept") return { name: `accept ${[...new Set(all)].indexOf(memory) + 1}`, again };
        const which = kind === "disconnect" ? "" : `${ordinal(all.length)} `;
        return { name: `the ${which}${kind} ${TOWARDS[kind]} ${client}`, again };
    }

    const steps = [];
    let opened = [];
    for (const event of events) {
        const lane = lanes.get(event.tid);
        const said = rules[event.ph]?.(event, lane);
        if (!said) continue;
        if (opened.includes(said.after)) {
            const last = steps.at(-1);
            last.title = said.joined(last.title);
        } else {
            for (const [id, { ended }] of operations) if (ended && ended !== event) operations.delete(id);
            steps.push({ time: event.ts, title: said.alone, lane: said.lane ?? lane.name });
            opened = [];
        }
        opened.push(...(said.opens ?? []));
        Object.assign(steps.at(-1), snapshot(lanes, operations, queue));
    }
    return steps;
}

const waits = (thread) => thread.calls.at(-1)?.name.startsWith("GetQueuedCompletionStatus");
const ordinal = (number) => ["first", "second", "third"][number - 1] ?? `${number}th`; // up to 20
const count = (bytes) => (bytes === 1 ? "1 byte" : `${bytes} bytes`);

function packet({ kind, name, memory, key, bytes }) {
    if (kind !== "packet") return `the packet of ${name}`;
    return `${name} (${memory ? `key ${key}, ${count(bytes)}` : "without an operation"})`;
}

function result({ kind, bytes, error, client }) {
    if (error) return `error ${error}, ${REASONS[error] ?? "it failed"}`;
    if (kind === "accept") return `${client} is connected`;
    if (kind === "receive" && bytes === 0) return "0 bytes, the client has finished";
    return kind === "disconnect" ? "done" : count(bytes);
}

function outcome({ owner, completed, inside, taken }) {
    if (taken) return `${inside ? "0" : "pending"}. But the packet has been taken: the caller must touch nothing`;
    if (owner === "program") return completed ? "done" : "failed";
    return inside ? "0, and the packet comes all the same" : "pending";
}

function snapshot(lanes, operations, queue) {
    const doing = (thread) => {
        const call = thread.calls.at(-1)?.name;
        if (waits(thread)) return `waits in ${call}`;
        const handles = thread.packets.length ? `handles ${thread.packets.map(packet).join(" and ")}` : "";
        return call ? `is in ${call}${handles && `; ${handles}`}` : handles || "is between two calls";
    };
    const state = (thread) => {
        if (waits(thread)) return "waits";
        return thread.calls.length ? "calls" : thread.packets.length ? "handles" : "between";
    };
    const threads = [...lanes].filter(([lane]) => lane > 0 && lane < CLIENTS).map(([, thread]) => thread);
    return {
        threads: threads.map((thread) => ({
            name: thread.name,
            at: thread.at, // of the call that it is in, or else of its last
            doing: doing(thread),
            state: state(thread),
            starts: thread.calls.at(-1)?.operation?.id ?? null,
            handles: thread.packets.map(({ id }) => id),
        })),
        operations: [...operations.values()].map(({ ended, ...operation }) => operation),
        queue: queue.map(packet),
    };
}
