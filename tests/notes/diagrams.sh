#!/usr/bin/env bash
# Fails where a diagram in a note cannot be drawn: diagrams.sh BUILD-FOLDER. Needs npm, which is not needed otherwise.
set -euo pipefail
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
build=$1/diagrams
packages="mermaid@11.17.2 jsdom@24.1.3"

if ! command -v npm >/dev/null; then
    echo "skipped: npm is not installed"
    exit 0
fi
mkdir -p "$build"
if [[ ! -d $build/node_modules ]]; then
    # shellcheck disable=SC2086 # two words, two packages
    if ! npm install --prefix "$build" --no-audit --no-fund --no-package-lock $packages >"$build/npm.log" 2>&1; then
        rm -rf "$build/node_modules"
        echo "skipped: npm could not install $packages; see $build/npm.log"
        exit 0
    fi
fi
cp "$root/tests/notes/diagrams.mjs" "$build/" # where it finds node_modules
exec node "$build/diagrams.mjs" "$root"/README.md "$root"/notes/*.md
