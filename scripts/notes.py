#!/usr/bin/env python3
"""Keeps the notes true to the code and the tests.

notes.py refresh    cuts the excerpts in notes/*.md from the sources again, and makes the tables from the samples and
                    the diagrams from the recorded runs
notes.py excerpts   fails where an excerpt is not what the source says now, a table not what the samples say, or a
                    diagram not what the run shows
notes.py claims     fails on a tag without a test case, a case without a tag, a tag in two places, a case that does not
                    say where Windows documents it, and one without a recorded result
notes.py links      fails on a link to what does not exist, and on the name of a stage test that does not exist
notes.py exercises  fails on an exercise without a proof, and the other way round; and on a test that is not proven
"""
import collections
import functools
import json
import pathlib
import re
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests/bench"), str(ROOT / "tests/strict")]
sys.dont_write_bytecode = True
import record
import report

NOTES = sorted((ROOT / "notes").glob("*.md"))
# <!-- excerpt: FILE REGION -->, and the block of code behind it
EXCERPT = re.compile(r"(<!-- excerpt: (\S+) (\S+) -->\n```\w*\n)(.*?)(^```$)", re.M | re.S)
# <!-- table: KIND FILE -->, the table, and <!-- end -->
TABLE = re.compile(r"(<!-- table: (\w+) (\S+) -->\n)(.*?)(^<!-- end -->$)", re.M | re.S)
TAG = re.compile(r"\[([a-z0-9]+\.\d+)\]\(\.\./tests/claims/([\w-]+)\.cpp\)")
CASE = re.compile(r'TEST_CASE\(\s*"([a-z0-9]+\.\d+) ')
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
EXERCISE = re.compile(r"^(\d)\. .*?(?=^\d\. |\Z)", re.M | re.S)
FENCE = re.compile(r"^```.*?^```$", re.M | re.S)


def read(file):
    return file.read_text(encoding="utf-8")


def region(file, name):
    """The lines between `//[ name` and its `//]`, without the marks inside, and without the indentation."""
    depth, lines = 0, []
    for line in read(ROOT / file).splitlines():
        mark = line.strip()
        if mark == f"//[ {name}" or (depth and mark.startswith("//[ ")):
            depth += 1
        elif depth and mark == "//]":
            depth -= 1
            if not depth:
                return textwrap.dedent("\n".join(lines)) + "\n"
        elif depth and not mark.startswith("//? "):  # those are start.sh's
            lines.append(line)
    return None


# A diagram of a recorded run: the operation and its event with which it begins, and those with which it ends.
DIAGRAMS = {
    "overtaken_by_bytes": (record.is_overtaken_by_bytes, "called", record.is_overtaken_by_bytes, "returned"),
    "overtaken_by_the_end": (record.is_overtaken_by_the_end, "called", record.is_overtaken_by_the_end, "returned"),
    "swept": (record.is_accept, "called", record.is_swept, "handled"),
    "deadline": (record.is_send, "taken", record.is_cancelled_and_closes, "handled"),
}


def sequence(kind, file):
    """Who calls the kernel and gets its packets; waiting is left out, and a return unless its packet was faster."""
    events = json.loads(read(file))
    operations = record.operations(events)
    begins, first, ends, last = DIAGRAMS[kind]
    first = next(filter(begins, operations))[first]
    last = next(filter(ends, operations))[last]
    names = {event["tid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
    by_id = {each["id"]: each for each in operations}
    by_return = {each["returned"]: each for each in operations}
    lines = ["sequenceDiagram"]
    for position, event in enumerate(events[first : last + 1], first):
        phase, name, who = event["ph"], event.get("name", ""), names.get(event["tid"])
        if name == "handles packets" and phase == "B":
            for one in map(by_id.get, event["args"]["packets"]):
                result = f"error {one['error']}" if one["error"] else f"{one['bytes']} bytes"
                lines.append(f"kernel-->>{who}: packet: {record.CALLS[one['kind']]}, {result}")
        elif name == "handles packets":
            lines.append(f"Note over {who}: done")
        elif phase == "B" and not name.startswith("GetQueued"):
            lines.append(f"{who}->>kernel: {name}")
        elif phase == "E" and by_return.get(position, {}).get("taken", position) < position:
            lines.append(f"kernel-->>{who}: {record.CALLS[by_return[position]['kind']]} returns")
        elif phase == "i" and event["tid"] >= record.CLIENTS and not name.startswith("has"):
            does = "Note over " + who if name.startswith("sees") else f"{who}->>kernel"
            lines.append(f"{does}: {name.partition(':')[0]}")
    return "```mermaid\n" + "\n    ".join(lines) + "\n```\n"


TABLES = {**report.TABLES, **{kind: functools.partial(sequence, kind) for kind in DIAGRAMS}}


def place(note, text, match):
    return f"{note.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}"


def excerpts(refresh):
    for note in NOTES:
        text = read(note)

        def cut(match):
            head, file, name, old, tail = match.groups()
            new = region(file, name) if (ROOT / file).is_file() else None
            if new is None:
                fault(f"{place(note, text, match)}: there is no region {name} in {file}")
                return match[0]
            if new.count("\n") > 25:
                fault(f"{place(note, text, match)}: {file} {name} is longer than 25 lines")
            if new != old and not refresh:
                fault(f"{place(note, text, match)}: {file} {name} has changed; run scripts/notes.py refresh")
            return head + new + tail

        def tabulate(match):
            head, kind, file, old, tail = match.groups()
            new = TABLES[kind](note.parent / file)
            if new != old and not refresh:
                fault(f"{place(note, text, match)}: {file} says something else; run scripts/notes.py refresh")
            return head + new + tail

        new_text = TABLE.sub(tabulate, EXCERPT.sub(cut, text))
        if text.count("<!-- table:") != len(TABLE.findall(text)):
            fault(f"{note.relative_to(ROOT)}: a table comment without an end")
        if text.count("<!-- excerpt:") != len(EXCERPT.findall(text)):
            fault(f"{note.relative_to(ROOT)}: an excerpt comment without a block of code right behind it")
        if refresh and new_text != text:
            report.write(note, new_text)


def claims():
    tags, cases = collections.defaultdict(list), collections.defaultdict(list)
    for note in NOTES:
        text = read(note)
        for match in TAG.finditer(text):
            tags[match[1]].append(place(note, text, match))
            if match[2] != note.stem:
                fault(f"{place(note, text, match)}: {match[1]} must link to tests/claims/{note.stem}.cpp")
    for file in sorted((ROOT / "tests/claims").glob("*.cpp")):
        text = read(file)
        for match in CASE.finditer(text):
            cases[match[1]].append(place(file, text, match))
            above = re.search(r"(?:^//.*\n)*\Z", text[: match.start()], re.M)[0]
            if not re.search(r"^// Windows: \S", above, re.M):
                fault(f"{place(file, text, match)}: {match[1]} does not say where Windows documents it; write above it "
                      "'// Windows: ' and a page and its section, a test of Wine's, or 'no source; ' and why")
        if text.count("TEST_CASE(") != len(CASE.findall(text)):
            fault(f"{file.relative_to(ROOT)}: a case without a tag")
    for tag in sorted(tags.keys() | cases.keys()):
        for what, places in (("in a note", tags[tag]), ("as a test case", cases[tag])):
            if len(places) != 1:
                fault(f"{tag} stands {len(places)} times {what}: {', '.join(places)}")
    if json.loads(read(ROOT / "notes/claims.json"))["checks"].keys() != cases.keys():
        fault("notes/claims.json: of other claims than these; run tests/claims/record.py build/linux-wine build/strict")
    print(f"{len(tags)} claims")


def slug(heading):
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def links():
    def anchors(file):
        return {slug(h.replace("`", "")) for h in re.findall(r"^#+ (.*)$", FENCE.sub("", read(file)), re.M)}

    tests = set()
    for file in sorted((ROOT / "tests").rglob("*.cpp")):
        tests |= {f"{a}.{b}" for a, b in re.findall(r"TEST(?:_F)?\((\w+),\s*(\w+)\)", read(file))}
    contract = read(ROOT / "tests/support/contract.hpp")
    suites = {test.split(".")[0] for test in tests}
    tests |= {f"{suite}.{name}" for name in re.findall(r"TEST_F\(Suite, (\w+)\)", contract) for suite in suites}
    for note in [ROOT / "README.md", *NOTES]:
        text = read(note)
        for match in LINK.finditer(text):
            target, _, anchor = match[1].partition("#")
            if re.match(r"https?:", target):
                continue
            file = note.parent / target if target else note
            if not file.exists():
                fault(f"{place(note, text, match)}: {match[1]} leads nowhere")
            elif anchor and anchor not in anchors(file):
                fault(f"{place(note, text, match)}: {target or 'this page'} has no heading #{anchor}")
        for match in re.finditer(r"\b((?:Stage0\d\w+|NativeClients)\.[A-Z]\w+)", text):
            if match[1] not in tests:
                fault(f"{place(note, text, match)}: there is no test {match[1]}")


def exercises():
    proofs, known = ROOT / "tests/exercises", set()
    for note in sorted((ROOT / "notes").glob("[0-9][0-9]-*.md")):
        text = read(note)
        section = re.search(r"^## Exercises$.*?(?=^## )", text, re.M | re.S)
        for match in EXERCISE.finditer(text[: section.end()], section.start()):
            number = f"{note.name[:2]}-{match[1]}"
            known.add(number)
            patch = proofs / f"{number}.patch"
            if not patch.exists():
                if "`scripts/check.sh" not in match[0] or "--exercise" in match[0]:  # tests/doors.sh proves that one
                    fault(f"{place(note, text, match)}: there is no tests/exercises/{patch.name}")
                continue
            proven = read(patch).partition("\n--- ")[0]
            for test in re.findall(r"Stage0\d\w+\.[A-Z]\w+|claims\.\d\d-[\w-]+", match[0]):
                if test not in proven.split():
                    fault(f"{place(note, text, match)}: {patch.name} says nothing of {test}")
            if patch.with_suffix(".cpp").exists() and f"`exercise-{number}`" not in match[0]:
                fault(f"{place(note, text, match)}: exercise {number} has a test, and its label is not told")
    for file in sorted(proofs.iterdir()):
        if file.stem not in known or not file.with_suffix(".patch").exists():
            fault(f"{file.relative_to(ROOT)}: no note has this exercise, or it has no patch")


faults = []
fault = faults.append

if __name__ == "__main__":
    commands = {"refresh": lambda: excerpts(True), "excerpts": lambda: excerpts(False), "claims": claims,
                "links": links, "exercises": exercises}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    commands[sys.argv[1]]()
    for found in faults:
        print(found)
    sys.exit(1 if faults else 0)
