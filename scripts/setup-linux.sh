#!/usr/bin/env bash
# Installs, with apt, what this repository needs on Debian or Ubuntu, and does nothing at all when nothing is missing.
# serve.sh and test.sh run it first; it can also be run alone. An argument holds further lines for the table below; after
# --only, as in read.sh, it holds all of them.
set -euo pipefail

# Each line: the package, what shows that it is there (a command or a path), what it is for.
needed='
cmake                       cmake                                  configures the build
ninja-build                 ninja                                  runs the build
make                        make                                   builds a stage configured alone
g++                         g++                                    compiles the native Linux test clients
g++-mingw-w64-x86-64-posix  x86_64-w64-mingw32-g++-posix           compiles the Windows programs
wine64                      /usr/lib/wine/wine64|wine64|wine       runs the Windows programs
wine                        wineserver|/usr/lib/wine/wineserver    keeps Wine running between two programs
googletest                  /usr/src/googletest/CMakeLists.txt     tests of the stages
doctest-dev                 /usr/include/doctest/doctest.h         tests of the statements in the notes
libcli11-dev                /usr/include/CLI/CLI.hpp               command line of the full server
libspdlog-dev               /usr/include/spdlog/spdlog.h           log of the full server
libfmt-dev                  /usr/include/fmt/format.h              text for spdlog
netcat-openbsd              /usr/bin/nc.openbsd|/bin/nc.openbsd    talks to the servers by hand
python3                     python3                                checks the notes against the code
'${1:-}
[[ ${1:-} != --only ]] || needed=$2

is_present() {
    local place
    for place in ${1//|/ }; do
        case $place in
            /*) [[ ! -e $place ]] || return 0 ;;
            *) ! command -v "$place" >/dev/null || return 0 ;;
        esac
    done
    return 1
}

fail() {
    echo "setup-linux.sh: $*" >&2
    exit 1
}

[[ $needed != *wine64* || $(uname -m) == x86_64 ]] ||
    fail "these are programs for x64, and Wine does not run them on $(uname -m)."

# What apt has may be too old: Ubuntu 22.04 has CMake 3.22.
check_versions() {
    [[ $needed == *cmake* ]] || return 0
    local version
    version=$(cmake --version 2>/dev/null | sed -nE '1s/[^0-9]*([0-9]+\.[0-9]+).*/\1/p')
    [[ $(printf '%s\n' 3.25 "$version" | sort -V | head -n 1) == 3.25 ]] ||
        fail "CMake 3.25 or newer is needed, and $(command -v cmake) is ${version:-broken}: Debian 12 and Ubuntu 24.04" \
            "have it, 'pip install cmake' brings it elsewhere."
}

packages=()
reasons=()
while read -r package evidence reason; do
    [[ -n $package ]] || continue
    is_present "$evidence" && continue
    packages+=("$package")
    reasons+=("$package ($reason)")
done <<<"$needed"

if [[ ${#packages[@]} -eq 0 ]]; then
    check_versions
    exit 0
fi

printf -v list '%s, ' "${reasons[@]}"
echo "Installing what is missing, with apt: ${list%, }."
if ! command -v apt-get >/dev/null; then
    fail "no apt-get here; install the packages above in this system's own way."
fi

as_root=(env DEBIAN_FRONTEND=noninteractive)
if [[ $(id -u) -ne 0 ]]; then
    if ! command -v sudo >/dev/null; then
        fail "neither root nor sudo; as root, run: apt-get install ${packages[*]}"
    fi
    as_root=(sudo "${as_root[@]}")
fi

# apt prints hundreds of lines; they matter only when it fails.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${as_root[@]}" apt-get update &&
    "${as_root[@]}" apt-get install --yes --no-install-recommends "${packages[@]}"; } </dev/null >"$log" 2>&1; then
    cat "$log" >&2
    fail "apt could not install what is missing; its words are above."
fi
echo "Installed in $SECONDS s."
check_versions
