#!/usr/bin/env python3
"""Records the runs that the site steps through: notes/runs/NAME.json, Chrome trace events.

record.py BUILD [NAME ...]    each of them, or these, on the strict Windows in BUILD
record.py check               fails where a recorded run is not whole, lacks what its name promises, or no longer fits
                              the sources

A run has few clients, two processors and no seed, where it needs none: so that one can follow it. What the clients do
is in it too. Threads, clients and OVERLAPPEDs have numbers in the order of their appearance; times are as they were.
"""
import collections
import json
import os
import pathlib
import queue
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
import sweep
from sweep import BYTES, LIMIT, ROOT, Failed

RUNS = ROOT / "notes/runs"
CLIENTS = 100  # their lanes; those of threads are below
CALLS = {"accept": "AcceptEx", "receive": "WSARecv", "send": "WSASend", "disconnect": "DisconnectEx",
         "packet": "PostQueuedCompletionStatus"}


class Client:
    def __init__(self, run, number, port, is_slow):
        self.run, self.name = run, f"client {number}"
        self.lane = CLIENTS + number
        self.socket = socket.socket()
        self.socket.settimeout(LIMIT)
        if is_slow:  # and with small segments Linux keeps little for it on the other side
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        self.note("connects")
        self.socket.connect(("127.0.0.1", port))
        run.names["127.0.0.1:%d" % self.socket.getsockname()[1]] = self.name

    def note(self, what):
        time.sleep(self.run.pace)
        self.run.acts.append({"ph": "i", "pid": 1, "tid": self.lane, "ts": time.monotonic_ns() / 1000, "s": "t",
                              "name": what})

    def send(self, data):
        self.note(f"sends {len(data)} bytes")
        self.socket.sendall(data)

    def receive(self, size):
        data = sweep.receive(self.socket, size)
        self.note(f"has received {size} bytes")
        return data

    def finish(self):
        self.note("finishes: its FIN")
        self.socket.shutdown(socket.SHUT_WR)

    def expect_end(self):
        sweep.expect_end(self.socket)
        self.note("sees the server's FIN")

    def reset(self):
        self.note("resets the connection")
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Run:
    """A program on the strict Windows, and the clients that talk to it."""

    def __init__(self, build, stage, arguments, seed, trace):
        self.acts, self.names, self.clients = [], {}, []
        self.pace = 0.02  # seconds, in which the server comes to rest before a client goes on
        seeds = {"IOCP_STRICT_SEED": str(seed)} if seed else {}
        self.program = subprocess.Popen([build / stage / stage, "0", *arguments], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, env={**os.environ, **seeds, "IOCP_STRICT_TRACE": trace})
        self.watch = threading.Timer(LIMIT, self.program.kill)
        self.watch.start()
        self.lines = queue.SimpleQueue()
        threading.Thread(target=lambda: collections.deque(map(self.lines.put, self.program.stdout), 0)).start()
        self.port = int(self.expect("listening on").rpartition(":")[2])

    def expect(self, words):
        """The next line that the program prints with these words."""
        while True:
            try:
                line = self.lines.get(timeout=LIMIT).decode()
            except queue.Empty:
                raise Failed(f"the program has not printed {words!r}") from None
            if words in line:
                return line

    def client(self, is_slow=False):
        self.clients.append(Client(self, len(self.clients) + 1, self.port, is_slow))
        return self.clients[-1]

    def type(self, line):
        self.program.stdin.write(line.encode() + b"\n")
        self.program.stdin.flush()

    def end(self):
        time.sleep(self.pace)
        self.program.stdin.close()
        self.expect("stopped: ")
        if self.program.wait() != 0:
            raise Failed(f"exit code {self.program.returncode}")
        self.watch.cancel()
        for client in self.clients:
            client.socket.close()

    def events(self, trace):
        """Those of the trace and those of the clients, in order, under names that do not change from run to run."""
        events = json.loads(trace.read_text(encoding="utf-8"))
        first = min(event["ts"] for event in events)
        lanes, memory, workers = {0: 0}, {0: 0}, 0
        names = [{"ph": "M", "pid": 1, "tid": client.lane, "ts": first, "name": "thread_name",
                  "args": {"name": client.name}} for client in self.clients]
        events = names + sorted(events + self.acts, key=lambda event: event["ts"])
        for event in events:
            if event["tid"] < CLIENTS or event["ph"] != "i" and event not in names:
                event["tid"] = lanes.setdefault(event["tid"], len(lanes))
            event["ts"] = round(event["ts"] - first, 3)
            values = event.get("args", {})
            if event["ph"] == "M" and values["name"] == "worker":
                workers += 1
                values["name"] = f"worker {workers}"
            if event["ph"] == "C":
                event["name"] = "packets in the port"
            if "memory" in values:
                values["memory"] = memory.setdefault(values["memory"], len(memory))
            if "client" in values:
                values["client"] = self.names[values["client"]]
        return events


# ---- what the clients do ----


def packets_by_hand(run):
    run.client()  # the backlog takes it; nothing is posted on the socket, so no packet comes
    for number, line in enumerate(("hello", "port"), 1):
        run.type(line)
        run.expect(f"packet: key {number}")


def come_and_go(run):
    for client in [run.client(), run.client()]:
        run.expect("accepted")
        client.finish()
        client.expect_end()


def two_sends(run):
    client = run.client()
    client.send(b"hello\n")
    run.expect("received")
    client.send(BYTES[:1000])
    run.expect("received")
    client.finish()
    client.expect_end()


def echo_twice(run):
    client = run.client()
    for size in (6, 1000):
        client.send(BYTES[:size])
        client.receive(size)
    client.finish()
    client.expect_end()


def both_ways_to_end(run):
    first, second = run.client(), run.client()
    first.send(b"bye\n")
    first.receive(4)
    first.expect_end()
    first.finish()
    run.expect("closed")
    second.send(b"hello\n")
    second.receive(6)
    second.finish()
    second.expect_end()
    run.expect("reusing")


def two_clients(run):
    clients = [run.client(), run.client()]
    for client in clients:
        client.send(BYTES[:1000])
    for client in clients:
        client.receive(1000)
        client.finish()
        client.expect_end()


def say_nothing(run):
    client = run.client()
    client.send(b"hello\n")
    run.expect("accepted")
    run.client()
    run.expect("swept")
    client.finish()
    client.expect_end()


def stay_after_bye(run):
    client = run.client()
    client.send(b"bye\n")
    client.receive(4)
    client.expect_end()
    run.expect("no end from the client")


def reset_while_another_talks(run):
    first, second = run.client(), run.client()
    first.send(b"hello\n")
    first.receive(6)
    first.reset()
    run.expect("lost")
    second.send(b"still here\n")
    second.receive(11)
    second.finish()
    second.expect_end()


def burst(run):
    time.sleep(run.pace)
    run.pace = 0
    clients = [run.client() for _ in range(8)]
    for _ in clients:
        run.expect("accepted")
    for client in clients:
        client.finish()
        client.expect_end()


def one_does_not_read(run):
    _, talker, listener = run.client(is_slow=True), run.client(), run.client()
    for _ in run.clients:
        run.expect("accepted")
    line = BYTES[:30000].replace(b"\n", b" ") + b"\n"
    while run.lines.empty():  # until the slow one is dropped
        talker.send(line)
        listener.receive(len(line))
    run.expect("too slow")
    talker.send(b"and we two go on\n")
    listener.receive(17)
    for client in (talker, listener):
        client.finish()
        client.expect_end()


def stay(run):
    for client in [run.client(), run.client()]:
        client.send(b"hello\n")
        client.receive(6)


# ---- what a run promises ----


def operations(events):
    """What became of each: its kind, and the position of its events."""
    found, in_call, called, handling = {}, {}, {}, {}
    for position, event in enumerate(events):
        phase, lane, values = event["ph"], event["tid"], event.get("args", {})
        if phase == "b":
            found[event["id"]] = in_call[lane] = {"id": event["id"], "kind": event["name"], "lane": lane,
                                                  "called": called[lane], "begun": position,
                                                  "bytes": 0, "error": 0, "inside": 0, **values}
        elif phase == "n":
            found[event["id"]].update({event["name"]: position, **values})
        elif phase == "e":
            found[event["id"]]["ended"] = position
        elif phase == "B" and event["name"] == "handles packets":
            handling[lane] = [found[number] for number in values["packets"]]
            for each in handling[lane]:
                each.update(taken=position, by=lane)
        elif phase == "B":
            called[lane] = position
            for each in handling.get(lane, []) if event["name"] == "closesocket" else []:
                each["closed"] = position
        elif event.get("name") == "handles packets":
            for each in handling.pop(lane):
                each["handled"] = position
        elif phase == "E" and lane in in_call:
            in_call.pop(lane)["returned"] = position
    return list(found.values())


def any_of(kind, holds):
    return lambda found: any(each["kind"] == kind and holds(each) for each in found)


def is_overtaken(each):
    """Another worker has handled the packet of this receive before its call has returned."""
    return each["kind"] == "receive" and each["by"] != each["lane"] and each["handled"] < each["returned"]


def is_overtaken_by_bytes(each):
    return is_overtaken(each) and each["bytes"] == 1000


def is_overtaken_by_the_end(each):
    return is_overtaken(each) and each["bytes"] == 0


def is_accept(each):
    return each["kind"] == "accept"


def is_swept(each):
    return is_accept(each) and each["error"] != 0


def is_send(each):
    return each["kind"] == "send"


def is_cancelled_and_closes(each):
    """The worker that handles this cancelled receive closes the socket; main, which cancelled it, had let go before."""
    return each["kind"] == "receive" and each["error"] == 995 and "closed" in each


def all_accepts_are_taken(found):
    """Some time behind the start no accept is pending: the clients that still come wait in the backlog."""
    accepts = [each for each in found if each["kind"] == "accept"]
    return any(not any(each["begun"] < one["completes"] < each["completes"] for each in accepts) for one in accepts
               if any(each["begun"] > one["completes"] and "client" in each for each in accepts))


FULL = ["--stop-on-eof", "--workers", "2", "--accepts", "2", "--verbose"]
CHAT = ["--app", "chat", "--send-queue", "65536", "--first-receive", "65536"]
# name: stage, arguments, seeds to try, what its clients do, what is promised, and whether an operation shows it
SCENARIOS = {
    "01-create-port": ("01-create-port", [], [0], packets_by_hand, "a packet that was posted by hand is handled",
                       any_of("packet", lambda each: each["key"] == 2 and "taken" in each)),
    "02-acceptex": ("02-acceptex", ["--accepts", "2"], [0], come_and_go, "two clients are accepted",
                    lambda found: sum("client" in each for each in found) == 2),
    "03-recv": ("03-recv", [], [0], two_sends, "a receive brings 1000 bytes",
                any_of("receive", lambda each: each["bytes"] == 1000)),
    "04-send": ("04-send", [], [0], echo_twice, "a send of 1000 bytes completes",
                any_of("send", lambda each: each["bytes"] == 1000)),
    "05-disconnect": ("05-disconnect", [], [0], both_ways_to_end, "DisconnectEx completes",
                      any_of("disconnect", lambda each: each["error"] == 0)),
    "06-full-server": ("06-full-server", FULL, [0], two_clients, "an operation ends inside its call, without a packet",
                       lambda found: any("is queued" not in each and each["inside"] for each in found)),
    "handled-before-the-call-returns": (
        "03-recv", [], range(1, 200), two_sends, "another worker handles 1000 bytes before the call that waits for them "
        "returns", lambda found: any(map(is_overtaken_by_bytes, found))),
    "destroyed-before-the-call-returns": (
        "03-recv", [], range(1, 200), two_sends, "another worker handles the client's end before the call that waits for "
        "it returns", lambda found: any(map(is_overtaken_by_the_end, found))),
    "swept": ("02-acceptex", ["--accepts", "1", "--first-data", "--silent", "1"], [0], say_nothing,
              "an accept ends with an error", lambda found: any(map(is_swept, found))),
    "deadline": ("05-disconnect", ["--deadline", "0.3"], [0] * 20, stay_after_bye, "a receive is cancelled, and the "
                 "worker that handles it closes", lambda found: any(map(is_cancelled_and_closes, found))),
    "reset-in-the-middle": ("04-send", [], [0], reset_while_another_talks, "a receive ends with error 64",
                            any_of("receive", lambda each: each["error"] == 64)),
    "accept-burst": ("02-acceptex", ["--accepts", "4"], [0], burst, "clients wait while no accept is pending",
                     all_accepts_are_taken),
    "chat-with-a-slow-client": ("06-full-server", [*FULL, *CHAT], [0], one_does_not_read,
                                "a send to a client is cancelled", any_of("send", lambda each: each["error"] == 995)),
    "the-stop": ("05-disconnect", [], [0], stay, "two pending receives are cancelled",
                 lambda found: sum(each["kind"] == "receive" and each["error"] == 995 for each in found) == 2),
}


# ---- the two commands ----


def check(file):
    stage, arguments, _, act, promise, shows = SCENARIOS[file.stem]
    sweep.check_trace(file, (stage, arguments, [] if act == packets_by_hand else [act]))
    events = json.loads(file.read_text(encoding="utf-8"))
    for event in events:
        if place := event.get("args", {}).get("at"):
            name, _, number = place.rpartition(":")
            call = CALLS.get(event["name"], event["name"])
            lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
            line = lines[int(number) - 1] if int(number) <= len(lines) else ""
            if event["ph"] in "Bb" and call.lower() not in line.replace("_", "").lower():
                raise Failed(f"{place} is no longer a call of {call}")
    if not shows(operations(events)):
        raise Failed(f"it does not show that {promise}")


def record(build, name):
    stage, arguments, seeds, act, *_ = SCENARIOS[name]
    file = RUNS / f"{name}.json"
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            trace = pathlib.Path(folder) / "trace.json"
            run = Run(build, stage, arguments, seed, trace)
            act(run)
            run.end()
            events = run.events(trace)
        lines = ",\n".join(json.dumps(event, separators=(",", ":")) for event in events)
        file.write_text(f"[\n{lines}\n]\n", encoding="utf-8", newline="\n")
        try:
            check(file)
            return print(f"{name}: {len(events)} events, {file.stat().st_size} bytes")
        except Failed as why:
            last = why
    sys.exit(f"{name}: {last}")


def main():
    if sys.argv[1:] == ["check"]:
        faults = []
        for name in sorted(SCENARIOS.keys() | {file.stem for file in RUNS.glob("*.json")}):
            try:
                if name not in SCENARIOS:
                    raise Failed("nobody records it any more")
                check(RUNS / f"{name}.json")
            except (Failed, OSError, ValueError, KeyError) as why:
                faults.append(f"notes/runs/{name}.json: {why}")
        if faults:
            sys.exit("\n".join(faults) + "\nRecord again, on Linux: cmake --preset strict && "
                     "cmake --build --preset strict && tests/strict/record.py build/strict")
    elif len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])  # as many workers on every machine
        RUNS.mkdir(exist_ok=True)
        for name in sys.argv[2:] or SCENARIOS:
            record(pathlib.Path(sys.argv[1]).resolve(), name)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
