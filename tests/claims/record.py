#!/usr/bin/env python3
"""Records what the claims showed, in notes/claims.json, for whoever reads the notes.

record.py WINE STRICT    runs them in these two builds: build/linux-wine, under Wine, and build/strict

For each claim it says how many checks held, and fails if one did not. Two numbers differ where a claim says one thing of
Windows and another of Wine, and so checks only its own.
"""
import datetime
import json
import pathlib
import subprocess
import sys
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
UNDER_WINE = ROOT / "cmake/run-under-wine.sh"


def checks(*command):
    output = subprocess.run([*command, "--reporters=xml"], stdout=subprocess.PIPE, timeout=600).stdout
    cases = {}
    for case in xml.etree.ElementTree.fromstring(output).iter("TestCase"):
        result = case.find("OverallResultsAsserts")
        if result.get("test_case_success") != "true":
            sys.exit(f"record.py: {command[-1]}: not true: {case.get('name')}")
        cases[case.get("name").split()[0]] = int(result.get("successes"))
    return cases


if len(sys.argv) != 3:
    sys.exit(__doc__)
wine, strict = map(pathlib.Path, sys.argv[1:])
version = subprocess.run([UNDER_WINE, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()[0]
shown = [checks(UNDER_WINE, wine / "tests/claims.exe"), checks(strict / "tests/claims")]
claims = {claim: [each[claim] for each in shown] for claim in sorted(shown[0])}
head = {"recorded": str(datetime.date.today()), "wine": version.removeprefix("wine-")}
lines = ",\n".join(f'"{claim}": {json.dumps(counts)}' for claim, counts in claims.items())
(ROOT / "notes/claims.json").write_text(f'{json.dumps(head)[:-1]}, "checks": {{\n{lines}\n}}}}\n')
print(f"{len(claims)} claims")
