#!/usr/bin/env python3
"""Short runs of the stages on the strict Windows: three good clients, a newcomer, and the stop.

sweep.py BUILD faults [--most N]    each call fails in turn, with each error that it may have: alone, five times in a row,
                                    and for good; at most N runs of a kind, and with `new` the N behind the start
sweep.py BUILD seeds FIRST LAST     with each of these seeds
sweep.py BUILD trace                with a trace, which must be whole

In every run the program must not crash, hang or leak (the sanitizers look on); it serves the newcomer; who was hit by no
fault gets every byte; at the end all operations have completed. A program that serves nobody yet may also end, with a
line that says why.
"""
import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
LIMIT = 30  # seconds, for anything
GONE = 10**9

RESET = [10054, 10053, 10060]
SHORT = [10055]
# What Microsoft's pages name, and what a machine short of memory or handles answers.
ERRORS = {
    "WSAStartup": [10091, 10067],
    "WSASocketW": [10024, 10055, 10050],
    "bind": [10013, 10048, 10055],
    "listen": [10048, 10055, 10024],
    "WSAIoctl": [10045, 10050],
    "getsockopt": [10055, 10050],
    "getsockname": [10055],
    "getpeername": [10055, 10057],
    "setsockopt": [10055, 10057, 10050],
    "ioctlsocket": [10055, 10050],
    "recv": RESET,
    "CreateIoCompletionPort": [8, 1450, 87],
    "SetFileCompletionNotificationModes": [8, 87],
    "PostQueuedCompletionStatus": [8, 1450],
    "CreateEvent": [8],
    "SetConsoleCtrlHandler": [8],
    "AcceptEx": SHORT + [10054, 10024],
    "WSARecv": SHORT + RESET,
    "WSASend": SHORT + RESET,
    "shutdown": RESET,
    "DisconnectEx": SHORT + [10057],
    "CancelIoEx": [1168],
    "accept": [64, 121],
    "receive": [64, 121, 1236],
    "send": [64, 121, 1236],
    "disconnect": [64],
    "new": [0],
}
BYTES = bytes(range(256)) * 160


class Failed(Exception):
    pass


def receive(client, size):
    got = bytearray()
    while len(got) < size:
        part = client.recv(size - len(got))
        if not part:
            raise Failed(f"the end came after {len(got)} of {size} bytes")
        got += part
    return bytes(got)


def expect_end(client):
    if client.recv(1):
        raise Failed("bytes instead of the end")


def only_send(client, size=len(BYTES)):
    client.sendall(BYTES[:size])
    client.shutdown(socket.SHUT_WR)
    expect_end(client)


def say_little(client):
    only_send(client, 5)


def echo(client):
    for size in (1, 1000, len(BYTES)):
        client.sendall(BYTES[:size])
        if receive(client, size) != BYTES[:size]:
            raise Failed("other bytes came back")
    client.shutdown(socket.SHUT_WR)
    expect_end(client)


def bye(client):
    client.sendall(b"bye\n")
    if receive(client, 4) != b"bye\n":
        raise Failed("other bytes came back")
    expect_end(client)


# name, the program's arguments, what its clients do
FULL = ["--stop-on-eof", "--accepts", "4", "--workers", "2"]
STAGES = [
    ("01-create-port", ["0"], []),
    ("02-acceptex", ["0"], [say_little] * 3),
    ("02-acceptex", ["0", "--first-data"], [say_little] * 3),
    ("03-recv", ["0"], [only_send] * 3),
    ("04-send", ["0"], [echo] * 3),
    ("05-disconnect", ["0"], [echo, bye, echo]),
    ("06-full-server", ["0", *FULL], [echo] * 3),
    ("06-full-server", ["0", *FULL, "--no-skip-on-success"], [echo] * 3),
]


class Run:
    """One program, from its start to its end. `complaints` is empty if it did well."""

    def __init__(self, build, stage, settings, newcomer=True):
        name, arguments, self.talks = stage
        self.command = " ".join([*(f"{key}='{value}'" for key, value in settings.items()),
                                 f"{build}/{name}/{name}", *arguments])
        self.complaints = []
        self.missed = {}  # a client's port: how it failed
        self.is_listening = False
        with tempfile.TemporaryFile() as errors:
            program = subprocess.Popen([build / name / name, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=errors, env={**os.environ, **settings})
            watch = threading.Timer(LIMIT, program.kill)
            watch.start()
            try:
                first = program.stdout.readline().decode(errors="replace")
                if found := re.match(r"listening on 127\.0\.0\.1:(\d+)", first):
                    self.is_listening = True
                    try:
                        self.talk(int(found[1]), newcomer)
                    except ConnectionError as why:  # nobody listens
                        self.complaints.append(str(why))
                output = first + program.communicate(b"one line\n" if not self.talks else None)[0].decode(errors="replace")
            except BrokenPipeError:
                output = first + program.stdout.read().decode(errors="replace")
                program.wait()
            finally:
                is_late = not watch.is_alive()
                watch.cancel()
            errors.seek(0)
            self.errors = errors.read().decode(errors="replace")
        self.faults = len(re.findall(r"^strict: fault: ", self.errors, re.M))
        self.judge("" if is_late else program.returncode, output)

    def talk(self, port, newcomer):
        clients = [self.connect(port) for _ in self.talks]
        if not newcomer:  # the fault is there for good
            time.sleep(1.5)  # time enough to spin
            for client in clients:
                client.close()
            return
        for client, talk in zip(clients, self.talks):
            self.serve(client, talk)
        for _ in range(40 if self.talks else 0):
            before = len(self.missed)
            self.serve(self.connect(port), self.talks[0])
            if len(self.missed) == before:
                return
        if self.talks:
            self.complaints.append("serves no newcomer")

    def connect(self, port):
        client = socket.socket()
        client.settimeout(LIMIT)
        try:
            client.connect(("127.0.0.1", port))
        except ConnectionResetError:
            pass  # accepted, and given up at once; whoever talks learns it
        return client

    def serve(self, client, talk):
        with client:
            client.settimeout(LIMIT / 3)
            try:
                talk(client)
            except (OSError, Failed) as why:
                self.missed[client.getsockname()[1]] = str(why)

    def is_serving(self, output):
        """Whether its start is over. 02 to 05 say whom they accept; they wait for the end of stdin only behind `listening`."""
        return "accepted " in output or (self.is_listening and "full-server" in self.command)

    def judge(self, code, output):
        last = output.rstrip("\n").rpartition("\n")[2]
        own_words = [line for line in self.errors.splitlines() if not line.startswith("strict: fault: ")]
        if code == "":
            self.complaints.append(f"has not ended in {LIMIT} s")
        elif code == 1 and not self.is_serving(output):
            self.missed.clear()
            self.complaints = [] if own_words else ["has ended without a word"]
        elif code != 0:
            self.complaints.append(f"exit code {code}: " + " | ".join(own_words[-12:]))
        elif not re.match(r"stopped: (\d+) operations posted, \1 completed, 0 pending", last):
            self.complaints.append(f"its last line is {last!r}")
        hit = {int(port) for port in re.findall(r"client 127\.0\.0\.1:(\d+)", self.errors)}
        others = {port: why for port, why in self.missed.items() if port not in hit}
        if len(others) > len(re.findall(r"^strict: fault: new ", self.errors, re.M)):
            self.complaints.append(f"clients that no fault has hit: {others}")


class Sweep:
    def __init__(self, build):
        self.build = build
        self.runs = self.faults = 0
        self.failed = []
        self.lock = threading.Lock()

    def run(self, stage, settings, newcomer=True):
        run = Run(self.build, stage, settings, newcomer)
        with self.lock:
            self.runs += 1
            self.faults += run.faults
            if run.complaints:
                self.failed.append(run)
                print(f"{run.command}\n    " + "\n    ".join(run.complaints), flush=True)
        return run

    def behind_start(self, stage, plan):
        """The first call with whose failure the program still listens, about: a start allocates hundreds of times."""
        low, high = 1, 10_000
        while low < high:
            middle = (low + high) // 2
            if self.run(stage, plan(middle, middle)).is_listening:
                high = middle
            else:
                low = middle + 1
        return low

    def faults_of(self, stage, call, error, most):
        """Each of its calls in turn, until a run has no more of them."""
        def plan(first, last):
            return {"IOCP_STRICT_FAULTS": f"{call} {first}-{last} {error}"}

        started = None  # the first call behind the start
        begin = self.behind_start(stage, plan) if call == "new" and most < GONE else 1
        for first in range(begin, begin + most):
            run = self.run(stage, plan(first, first))
            if run.faults == 0:
                break
            started = started or (run.is_listening and first)
            if error == ERRORS[call][0] and run.is_listening:
                self.run(stage, plan(first, first + 4))
        # For good: it must not spin, and still stop.
        if started and error == ERRORS[call][0] and call not in ("new", "PostQueuedCompletionStatus", "CancelIoEx"):
            run = self.run(stage, plan(started, GONE), newcomer=False)
            if run.faults > 300:
                self.failed.append(run)
                print(f"{run.command}\n    spins: {run.faults} faults", flush=True)

    def all(self, jobs):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            pending = {pool.submit(*job) for job in jobs}
            while pending:
                done, pending = concurrent.futures.wait(pending, 20)
                for each in done:
                    each.result()
                print(f"{self.runs} runs, {self.faults} faults, {len(self.failed)} failed", flush=True)
                if len(self.failed) > 20:
                    pool.shutdown(cancel_futures=True)
                    break
        sys.exit(1 if self.failed else 0)


def check_trace(file, stage):
    """Whole: valid JSON, all that begins ends, and every call says where it was made."""
    events = json.loads(file.read_text(encoding="utf-8"))
    open_operations, depth, kinds = {}, collections.Counter(), collections.Counter()
    for event in events:
        phase, lane = event["ph"], event["tid"]
        kinds[phase] += 1
        if phase == "b":
            open_operations[event["id"]] = event["name"]
        elif phase in "ne" and event["id"] not in open_operations:
            raise Failed(f"{event} is of no operation that has begun")
        elif phase == "e":
            del open_operations[event["id"]]
        elif phase in "BE":
            depth[lane] += 1 if phase == "B" else -1
            if depth[lane] < 0:
                raise Failed(f"{event} ends nothing")
        place = event.get("args", {}).get("at")
        if place and not (ROOT / place.rpartition(":")[0]).is_file():
            raise Failed(f"{event} names no file")
    if open_operations or any(depth.values()):
        raise Failed(f"never ended: {open_operations}, {dict(depth)}")
    wanted = set("MBEC" if not stage[2] else "MbneBECi")
    if wanted - set(kinds):
        raise Failed(f"no event of the kinds {wanted - set(kinds)}")


def trace(build):
    for stage in STAGES:
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "trace.json"
            run = Run(build, stage, {"IOCP_STRICT_TRACE": str(file)})
            if run.complaints:
                sys.exit(f"{run.command}: {run.complaints}")
            try:
                check_trace(file, stage)
            except (Failed, ValueError) as why:
                sys.exit(f"{run.command}: {why}")


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("what", choices=["faults", "seeds", "trace"])
    parser.add_argument("range", type=int, nargs="*")
    parser.add_argument("--most", type=int, default=GONE)
    parser.add_argument("--stage", default="", help="only those whose name begins so")
    asked = parser.parse_args()
    build = asked.build.resolve()
    stages = [stage for stage in STAGES if stage[0].startswith(asked.stage)]
    if asked.what == "trace":
        return trace(build)
    sweep = Sweep(build)
    if asked.what == "seeds":
        first, last = asked.range
        return sweep.all((sweep.run, stage, {"IOCP_STRICT_SEED": str(seed)}) for seed in range(first, last + 1)
                         for stage in stages)
    sweep.all((sweep.faults_of, stage, call, error, asked.most)
              for stage in stages for call, errors in ERRORS.items() for error in errors)


if __name__ == "__main__":
    main()
