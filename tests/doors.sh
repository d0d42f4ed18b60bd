#!/usr/bin/env bash
# Proves what notes/write-it-yourself.md promises. From inside: each stage's skeleton compiles and fails, and the original
# of 01 and 03 passes. From outside: another program passes stage 04. After scripts/test.sh; takes some minutes.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for stage in 0[1-6]-*/; do
    stage=${stage%/}
    number=${stage%%-*}

    MINE=$work/skeleton scripts/start.sh "$number" >/dev/null 2>&1
    MINE=$work/skeleton IOCP_TEST_SECONDS=2 scripts/check.sh "$number" >"$work/log" 2>&1 && {
        echo "stage $number: the skeleton passes every test" >&2
        exit 1
    }
    grep -q 'tests passed' "$work/log" || {
        cat "$work/log" >&2
        echo "stage $number: the skeleton does not build" >&2
        exit 1
    }
    grep -q 'Likely cause: a body is still to be written, and was called: TODO: ' "$work/log" || {
        cat "$work/log" >&2
        echo "stage $number: the failure does not say that a body is a TODO" >&2
        exit 1
    }
    echo "stage $number: the skeleton fails at $(grep -o 'Stage0[^ ]* (Failed)' "$work/log" | head -1)"

    # Each body has a row in the contract, and each hint its original.
    bodies=$(scripts/check.sh "$number" --hint 2>&1 | sed -nE 's/^  ([a-z_]+) \(.*/\1/p' | sort -u)
    [[ $(wc -w <<<"$bodies") -ge 4 ]] || {
        echo "stage $number: --hint lists too little" >&2
        exit 1
    }
    for body in $bodies; do
        contract=$(scripts/check.sh "$number" --hint "$body" 2>&1)
        original=$(scripts/check.sh "$number" --hint "$body" 3 2>&1)
        [[ $contract == *"  must "* && $original == *";"* ]] || {
            echo "stage $number: no hint for $body" >&2
            exit 1
        }
    done

    # The same tests have passed on the same files: two stages show that here, too, it is they that are built.
    [[ $number == 01 || $number == 03 ]] || continue
    mkdir -p "$work/original"
    cp -r "$stage" "$work/original/"
    MINE=$work/original scripts/check.sh "$number" --all >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        exit 1
    }
    echo "stage $number: the original passes"
done

# The original notes, made right.
scripts/check.sh 04 build/linux-wine/notes/the-original-notes.exe >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    exit 1
}
echo "stage 04: notes/the-original-notes.cpp passes from outside"
