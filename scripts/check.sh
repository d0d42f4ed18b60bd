#!/usr/bin/env bash
# Runs the tests of a stage on your code.
#   check.sh 03               builds mine/03-recv in place of the original; stops at the first test that fails
#   check.sh 03 --all         runs those after it too
#   check.sh 03 --upward      and those of every later stage, on your stage
#   check.sh 03 --exercise 4  runs the test of exercise 4 of note 03 instead
#   check.sh 03 --hint        lists the bodies; with a name, says what that one must do; add `2` or `3` for more
#   check.sh 03 --strict      runs the stage's tests without Wine, on a Windows that forgives nothing: tests/strict
#   check.sh 03 PROGRAM.exe   takes any program that keeps the promises of the stage
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

preset=linux-wine
script=check
case ${2:-} in
    '') options=() ;;
    --all) options=(-D ALL=ON) ;;
    --upward) options=(-D UPWARD=ON) ;;
    --exercise) options=(-D "EXERCISE=${3:?which?}") ;;
    --hint) options=(-D "BODY=${3:-}" -D "STEP=${4:-1}") script=hint preset= ;;
    --strict) options=() preset=strict ;;
    *) options=(-D "PROGRAM=$2") ;;
esac
scripts/setup-linux.sh
[[ $preset != linux-wine ]] || cmake/run-under-wine.sh
exec cmake -D "STAGE=${1:-}" -D PRESET=$preset -D "MINE=${MINE:-mine}" "${options[@]}" -P cmake/$script.cmake
