#!/usr/bin/env python3
"""Rules of the house that no compiler keeps.

house.py ascii   fails where a stage's source has a letter that is not ASCII: a compiler without /utf-8, on a Windows of
                 China, Japan or Korea, takes the end of such a comment for half of a letter, and swallows the next line
"""
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def ascii_only():
    for file in sorted(ROOT.glob("0[1-6]-*/*")):
        for number, line in enumerate(file.read_bytes().splitlines(), 1):
            if not line.isascii():
                fault(f"{file.relative_to(ROOT)}:{number}: not ASCII: {line.decode(errors='backslashreplace').strip()}")


faults = []
fault = faults.append

if __name__ == "__main__":
    commands = {"ascii": ascii_only}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    commands[sys.argv[1]]()
    for found in faults:
        print(found)
    sys.exit(1 if faults else 0)
