#!/usr/bin/env bash
# Runs the tests of a stage on your code.
#   check.sh 03               builds mine/03-recv in place of the original
#   check.sh 03 --upward      and every later stage on it too, the full server as well
#   check.sh 03 --exercise 4  runs the test of exercise 4 of note 03 on it instead
#   check.sh 03 --strict      runs the stage's tests without Wine, on a Windows that forgives nothing: tests/strict
#   check.sh 03 PROGRAM.exe   takes any program that keeps the promises of the stage
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

number=${1:-none}
stage=$(ls -d "$number"-*/ 2>/dev/null) || {
    echo "There is no stage '$number': two digits, please, 01 to 06." >&2
    sed -n '2,7s/^# //p' "${BASH_SOURCE[0]}" >&2
    exit 2
}
stage=${stage%/}
what=${2:-}

scripts/setup-linux.sh
if [[ -n $what && ! $what =~ ^--(upward|exercise|strict)$ ]]; then
    [[ -f $what ]] || {
        echo "There is no program $what." >&2
        exit 1
    }
    scripts/build-linux.sh "stage-$number-tests"
    cmake/run-under-wine.sh
    # Z: is Linux' / under Wine.
    IOCP_STAGE_PROGRAM=Z:$(realpath -- "$what") exec ctest --preset linux-wine -L "stage-$number" -LE native
fi

mine=$(realpath -m -- "${MINE:-mine}/$stage")
[[ -d $mine ]] || {
    echo "There is no $mine yet: scripts/start.sh $number makes it." >&2
    exit 1
}
# Built apart, with only this stage yours, whatever else lies beside it. Copied where it differs, and not linked: ninja
# goes by the time of a file, so it would not see that an older one has come in its place.
preset=linux-wine build=build/mine/$stage
[[ $what != --strict ]] || preset=strict build=build/strict-mine/$stage
view=$PWD/$build-view
mkdir -p "$view/$stage"
for file in "$mine"/*; do
    cmp -s "$file" "$view/$stage/${file##*/}" || cp "$file" "$view/$stage/"
done
[[ -e $build/build.ninja ]] || echo "The first run builds the tests too: that takes a minute or two."
targets=("stage-$number-tests")
labels=stage-$number
if [[ $what == --upward ]]; then
    for later in 0[1-6]-*/; do
        later=${later%%-*}
        [[ $later > $number ]] || continue
        targets+=("stage-$later-tests")
        labels+="|stage-$later"
    done
elif [[ $what == --exercise ]]; then
    exercise=exercise-$number-${3:-none}
    [[ -f tests/exercises/${exercise#*-}.cpp ]] || {
        echo "There is no ${exercise#*-}.cpp in tests/exercises/: that exercise has no test of its own." >&2
        exit 2
    }
    targets=("$exercise-tests")
    labels=$exercise
fi
cmake --preset $preset -B "$build" -D IOCP_MINE="$view" -D IOCP_EXERCISES=ON >/dev/null
cmake --build "$build" --target "${targets[@]}"
[[ $preset == strict ]] || cmake/run-under-wine.sh
ctest --test-dir "$build" --output-on-failure -j 2 -L "$labels" -LE native || {
    echo "Begin with the test that is nearest to what you wrote; the line Rerun in its text runs it alone."
    exit 1
}
