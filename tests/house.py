#!/usr/bin/env python3
"""Rules of the house that no compiler keeps.

house.py ascii      fails where a stage's source has a letter that is not ASCII: a compiler without /utf-8, on a Windows
                    of China, Japan or Korea, takes the end of such a comment for half of a letter, and swallows the
                    next line
house.py presets    fails on a preset that cannot be built or tested by its own name, and on the name of a preset that
                    does not exist, in the notes, the scripts and the workflows
house.py workflow   fails where a workflow cannot be read, or names a preset, a target or a script that does not exist,
                    in the repository or in site/package.json
"""
import itertools
import json
import os
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
# Which kind of preset a command takes: the first of these that fits.
KINDS = [("workflowPresets", r"cmake --workflow"), ("buildPresets", r"cmake --build"), ("testPresets", r"ctest"),
         ("configurePresets", r"cmake")]


def read(file):
    return file.read_text(encoding="utf-8")


def ascii_only():
    for file in sorted(ROOT.glob("0[1-6]-*/*")):
        for number, line in enumerate(file.read_bytes().splitlines(), 1):
            if not line.isascii():
                fault(f"{file.relative_to(ROOT)}:{number}: not ASCII: {line.decode(errors='backslashreplace').strip()}")


def known_presets():
    """{kind: names}, without the hidden ones."""
    everything = json.loads(read(ROOT / "CMakePresets.json"))
    return {kind: {preset["name"] for preset in everything[kind] if not preset.get("hidden")} for kind, _ in KINDS}


def check_presets_in(place, text):
    known = known_presets()
    for command, name in re.findall(r"((?:cmake|ctest)[^\n`]*?) --preset[ =]([\w-]+)", text):
        kind = next(kind for kind, pattern in KINDS if re.search(pattern, command))
        if name not in known[kind]:
            fault(f"{place}: there is no {name} among the {kind}")


def presets():
    known = known_presets()
    for name in sorted(known["configurePresets"] | known["buildPresets"] | known["testPresets"]):
        for kind in ("configurePresets", "buildPresets", "testPresets"):
            if name not in known[kind]:
                fault(f"CMakePresets.json: there is no {name} among the {kind}")
    for file in [ROOT / "README.md", *sorted((ROOT / "notes").glob("*.md")), *sorted((ROOT / "scripts").glob("*.sh"))]:
        check_presets_in(file.relative_to(ROOT), read(file))


def runs(job):
    """The commands of a job, once for each combination of its matrix."""
    matrix = job.get("strategy", {}).get("matrix", {})
    lists = {name: values for name, values in matrix.items() if name not in ("include", "exclude")}
    combined = [dict(zip(lists, values)) for values in itertools.product(*lists.values())] if lists else []
    for values in combined + matrix.get("include", []) or [{}]:
        for step in job["steps"]:
            if "run" in step:
                yield re.sub(r"\$\{\{ *matrix\.([\w-]+) *\}\}", lambda m: str(values.get(m[1], "")), step["run"])


def workflow():
    try:
        import yaml
    except ImportError:
        print("skipped: there is no PyYAML (python3-yaml)")
        return
    built = "\n".join(read(file) for file in ROOT.glob("**/CMakeLists.txt") if "build" not in file.parts)
    npm_scripts = json.loads(read(ROOT / "site/package.json"))["scripts"]
    jobs = {}
    for file in WORKFLOWS:
        try:
            jobs |= {f"{file.name}, job {name}": job for name, job in yaml.safe_load(read(file))["jobs"].items()}
        except yaml.YAMLError as error:
            fault(f"{file.name}: {error}")
    count = 0
    for name, job in jobs.items():
        for text in runs(job):
            count += 1
            place = f"{name}: {text.strip()}"
            check_presets_in(place, text)
            if "--preset" in text and not re.search(r"--preset[ =][\w-]", text):
                fault(f"{place}: no preset")
            for target in re.findall(r"--target ([\w-]+)", text):
                if not re.search(rf"(?<![\w-]){target}(?![\w-])", built):
                    fault(f"{place}: there is no target {target}")
            for script in re.findall(r"(?:^|[\s;&])((?:\.ci|scripts|site|tests|cmake)/[\w./-]+)", text):
                if not os.access(ROOT / script, os.X_OK):
                    fault(f"{place}: there is no script {script}")
            for script in re.findall(r"npm (?:run )?(test|(?<=run )[\w-]+)", text):
                if script not in npm_scripts:
                    fault(f"{place}: site/package.json has no {script}")
    print(f"{count} commands in {len(jobs)} jobs")


faults = []
fault = faults.append

if __name__ == "__main__":
    commands = {"ascii": ascii_only, "presets": presets, "workflow": workflow}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    commands[sys.argv[1]]()
    for found in faults:
        print(found)
    sys.exit(1 if faults else 0)
