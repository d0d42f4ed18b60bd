#!/usr/bin/env bash
# Runs the tests of the stages on programs that ThreadSanitizer watches, on the strict Windows; 01 to 05 with a seed, too.
# After the build of the preset strict: its tests are those that run here. Takes some minutes.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

stages=(0[1-6]-*)
cmake --preset strict-threads -D IOCP_WARNINGS_AS_ERRORS="${CI:+ON}" >/dev/null
cmake --build --preset strict-threads --target "${stages[@]}" -- --quiet
for stage in "${stages[@]}"; do
    export IOCP_STAGE_PROGRAM=$PWD/build/strict-threads/$stage/$stage
    # So many sends and resets as the full server's tests make take too long when the calls are unkind as well.
    seed=1
    [[ $stage != 06-* ]] || seed=0
    echo "$stage, watched by ThreadSanitizer:"
    IOCP_STRICT_SEED=$seed ctest --preset strict --progress -L "stage-${stage%%-*}"
done
tests/strict/sweep.py build/strict-threads seeds 1 5
