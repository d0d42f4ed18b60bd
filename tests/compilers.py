#!/usr/bin/env python3
"""Reads every source for Windows with further compilers, with the project's warnings as errors; builds nothing.

compilers.py [FOLDER]   FOLDER: where the commands of the build are asked for, build/compilers if none is named.

The commands are those of CMake for MinGW-w64; only the compiler is another one. A compiler that is not installed is
skipped, by name; that is no failure. What many sources include is compiled once beforehand, so it takes a minute for each.
"""
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Read once for all sources: the compiler spends most of its time on these.
COMMON = """#include <winsock2.h>
#include <ws2tcpip.h>
#include <mswsock.h>
#include <windows.h>
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <mutex>
#include <regex>
#include <shared_mutex>
#include <string>
#include <thread>
#include <vector>
"""
LIBRARIES = {"googletest": "#include <gtest/gtest.h>\n", "doctest": "#include <doctest/doctest.h>\n"}


# With GCC's library, clang has std::source_location from version 16 on.
CLANG = next((name for name in (f"clang++-{version}" for version in range(25, 15, -1)) if shutil.which(name)), "clang++-16")


def text_of(*command):
    return subprocess.run(command, check=True, capture_output=True, encoding="utf-8", errors="replace").stdout


def folders_of(gcc):
    """Where this GCC finds the headers of C++ and of Windows, without its own for the processor."""
    said = subprocess.run([gcc, "-E", "-x", "c++", "-v", os.devnull], check=True, capture_output=True, encoding="utf-8",
                          errors="replace").stderr
    found = [os.path.normpath(line.strip()) for line in said.splitlines() if line.startswith(" /")]
    return [folder for folder in found if not re.search(r"/gcc/.*/include(-fixed)?$", folder)]


def clang(gcc, target):
    # clang looks for GCC in folders named 12, and Debian's is named 12-posix; and then takes Linux' own headers.
    headers = [word for folder in folders_of(gcc) for word in ("-isystem", folder)]
    return [CLANG, f"--target={target}", "-nostdlibinc", *headers, "-Wno-unknown-warning-option"]


# As in stages.cmake: part of clang's -Wconversion, not of GCC's.
LESS = ["-Wno-sign-conversion"]
# What it is called, what must be installed, the words before those of the build, and behind them.
COMPILERS = [
    ("clang, 64 bit", (CLANG, "x86_64-w64-mingw32-g++-posix"),
     lambda: clang("x86_64-w64-mingw32-g++-posix", "x86_64-w64-windows-gnu"), LESS),
    # Debian has no MinGW-w64 for Arm. Its headers for Windows serve Arm too, and those of C++ for x64 are near enough to
    # be read; there is nothing to link with.
    ("clang, Arm, 64 bit", (CLANG, "x86_64-w64-mingw32-g++-posix"),
     lambda: clang("x86_64-w64-mingw32-g++-posix", "aarch64-w64-windows-gnu"), LESS),
    ("GCC, 32 bit", ("i686-w64-mingw32-g++-posix",), lambda: ["i686-w64-mingw32-g++-posix"], []),
]


def commands(build):
    """{source: the words of its command, without compiler and output}, of the project and of the benchmark."""
    text_of("cmake", "--preset", "linux-wine", "-S", str(ROOT), "-B", str(build), "-D", "IOCP_EXERCISES=ON")
    text_of("cmake", "-G", "Ninja", "-S", str(ROOT / "tests/bench"), "-B", str(build / "bench"), "--toolchain",
            str(ROOT / "cmake/mingw-w64.cmake"), "-D", "CMAKE_EXPORT_COMPILE_COMMANDS=ON")
    found = {}
    for folder in (build, build / "bench"):
        for entry in json.loads((folder / "compile_commands.json").read_text(encoding="utf-8")):
            file = pathlib.Path(entry["file"])
            if ROOT not in file.parents or build in file.parents or file.suffix != ".cpp":
                continue
            words = shlex.split(entry["command"])[1:]
            del words[words.index("-o"):words.index("-o") + 2]
            words.remove("-c")
            words.remove(entry["file"])
            found.setdefault(file, words)
    return found


def read_once(folder, compiler, kind, sources):
    """Compiles what the sources of this kind have in common. Returns the words that make use of it."""
    header = folder / f"{kind}.hpp"
    header.parent.mkdir(parents=True, exist_ok=True)
    header.write_text(COMMON + LIBRARIES.get(kind, ""), encoding="utf-8")
    words = next(words for words in sources.values() if kind_of(words) == kind)
    words = [word for word in words if not re.match('-D.*"', word)]  # the names of programs, another in each
    suffix = "pch" if compiler[0] == CLANG else "gch"
    out = header.with_name(f"{header.name}.{suffix}")
    subprocess.run([*compiler, *words, "-x", "c++-header", str(header), "-o", str(out)], check=True)
    return ["-include-pch", str(out)] if suffix == "pch" else ["-include", str(header)]


def kind_of(words):
    for library in LIBRARIES:
        if any(library in word for word in words):
            return library
    return "plain"


def read_all(name, compiler, less, build, sources):
    """Prints what the compiler says and returns whether it is content."""
    folder = build / re.sub(r"\W+", "-", name)
    common = {kind: read_once(folder, compiler, kind, sources) for kind in {kind_of(w) for w in sources.values()}}

    def read(item):
        file, words = item
        command = [*compiler, *words, "-Werror", *less, *common[kind_of(words)], "-fsyntax-only", str(file)]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
                              errors="replace")

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for result in pool.map(read, sources.items()):
            if result.returncode != 0:
                failed += 1
                print(result.stdout, flush=True)
    print(f"{name}: {len(sources)} files, {failed} with errors or warnings", flush=True)
    return failed == 0


def main():
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    build = pathlib.Path(sys.argv[1] if len(sys.argv) == 2 else ROOT / "build/compilers").resolve()
    content = True
    sources = None
    for name, needed, words, less in COMPILERS:
        missing = [command for command in needed if not shutil.which(command)]
        if missing:
            print(f"{name}: skipped, there is no {' and no '.join(missing)}")
            continue
        sources = sources or commands(build)
        content = read_all(name, words(), less, build, sources) and content
    sys.exit(0 if content else 1)


if __name__ == "__main__":
    main()
