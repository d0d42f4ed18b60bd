#!/usr/bin/env bash
# Gives you a stage to write again: start.sh 03 makes mine/03-recv/ with the stage's own files, where the bodies that
# teach are replaced by a TODO. In the real sources a line `//? what to do => what stands in for it` is above each.
# The environment variable MINE names another folder than mine/; check.sh knows it too.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

stage=$(ls -d "${1:-none}"-*/ 2>/dev/null) || {
    echo "usage: scripts/start.sh NN, where NN is 01 to 06" >&2
    exit 2
}
stage=${stage%/}
target=${MINE:-mine}/$stage
if [[ -e $target ]]; then
    echo "$target is there already, and may hold your work. Move it away to begin again." >&2
    exit 1
fi
mkdir -p "$target"
for file in "$stage"/*.[ch]pp; do
    awk '
        /^ *\/\/[][]/ { next }
        /^ *\/\/\? / { at = index($0, "//?") - 1; split(substr($0, at + 5), exercise, " => "); next }
        cutting && $0 == end { cutting = 0 }
        !cutting { print }
        at != "" && /[;}]$/ { print FILENAME ":" FNR ": a //? must stand above a body" >"/dev/stderr"; exit 1 }
        at != "" && /{$/ {
            margin = sprintf("%*s", at, "")
            print margin "    // TODO: " exercise[1]
            if (exercise[2] != "") print margin "    " exercise[2]
            end = margin "}"; cutting = 1; at = ""
        }
    ' "$file" >"$target/${file##*/}"
done
echo "$target is yours now:"
grep -n 'TODO: ' "$target"/* | sed 's/: *\/\/ TODO:/:/'
echo "Read notes/$stage.md, write, and run: scripts/check.sh ${stage%%-*}"
