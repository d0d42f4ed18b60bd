#!/usr/bin/env bash
# Builds a target, or everything, with the preset linux-wine: build-linux.sh [TARGET].
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

build=build/linux-wine
options=()
[[ ${CI:-} != true ]] || options+=(-DIOCP_WARNINGS_AS_ERRORS=ON)

# Two scripts at once must not build in the same folder at once.
mkdir -p build
exec 9>build/build.lock
flock 9

# ninja sees for itself that a CMakeLists.txt has changed, but not the presets.
if [[ ! -e $build/build.ninja || CMakePresets.json -nt $build/build.ninja || ${#options[@]} -gt 0 ]]; then
    if ! log=$(cmake --preset linux-wine "${options[@]}" 2>&1 9>&-); then
        printf '%s\n' "$log" >&2
        exit 1
    fi
fi

echo "Building ${1:-everything}."
cd "$build"
# On a terminal ninja shows its progress on one line; elsewhere that would be a line for every file.
quiet=()
[[ -t 1 ]] || quiet=(--quiet)
ninja "${quiet[@]}" "${1:-all}" 9>&-
