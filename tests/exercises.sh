#!/usr/bin/env bash
# Proves the exercises of the notes: exercises.sh [NN-K...], or all. After scripts/test.sh; takes some minutes.
#
# tests/exercises/03-2.patch is what exercise 2 of note 03 asks for: the change to be tried, or a solution. Above the
# diff stands what comes of it:
#   red: TEST      this test fails; all others that are named here pass
#   green: TEST    this one passes; Stage03Recv.* is every other test of that suite
#   says: TEXT     a test that fails says so
# tests/exercises/03-4.cpp is the test of an exercise that has one to itself: without the patch all of it must fail.
# An exercise without a patch leads to scripts/check.sh, which tests/doors.sh proves; scripts/notes.py sees to that.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
scripts/notes.py exercises
cmake/run-under-wine.sh
root=$PWD
export IOCP_WINE_PREFIX=$root/build/wine-prefix
# Short deadlines: a test that is to fail mostly waits for what never comes.
export IOCP_TEST_SECONDS=10

fail() {
    cat "$copy/log" >&2
    echo "exercises.sh: $*" >&2
    exit 1
}

# So that nothing of yours is touched. Copied where it differs: ninja goes by the time of a file.
make_copy() {
    mkdir -p "$copy"
    find . \( -path ./build -o -path ./mine -o -path ./.git -o -name node_modules \) -prune -o -type f -print |
        while IFS= read -r file; do
            cmp -s "$file" "$copy/$file" || cp --parents "$file" "$copy/"
        done
    # What a run that failed, or an older version, has left there.
    (cd "$copy" && find 0* tests -type f) | while IFS= read -r file; do
        [[ -e $file ]] || rm "$copy/$file"
    done
}

# Builds what these tests need, runs them, and lists in `passed` and `failed` what became of each.
run() {
    local targets all
    mapfile -t targets < <(printf '%s\n' "$@" | sed -E 's/^Stage(..)Exercise(.).*/exercise-\1-\2-tests/
        s/^Stage(..).*/stage-\1-tests/; s/^claims\..*/claims/' | sort -u)
    cmake --build --preset linux-wine --target "${targets[@]}" >log 2>&1 || return 1
    all=$(printf '|%s' "$@")
    ctest --preset linux-wine -R "^(${all:1})\$" >log 2>&1 || true
    passed=$(sed -nE 's/.* Test +#[0-9]+: (\S+) \.+ +Passed .*/\1/p' log | sort)
    failed=$(sed -nE 's/.* Test +#[0-9]+: (\S+) \.+\*\*\*(Failed|Exception|Timeout).*/\1/p' log | sort)
}

prove_without() {
    local own=()
    for exercise in "$@"; do
        [[ ! -f tests/exercises/$exercise.cpp ]] || own+=("Stage${exercise/-/Exercise}.*")
    done
    [[ ${#own[@]} -gt 0 ]] || return 0
    run "${own[@]}" || fail "the tests of the exercises do not build"
    [[ -n $failed && -z $passed ]] || fail "our own stages pass these, so they prove nothing: $passed"
    echo "our own stages fail all $(wc -l <<<"$failed") tests of ${own[*]}"
}

prove_with() {
    local exercise=$1 patch=tests/exercises/$1.patch header expected
    header=$(sed '/^--- /,$d' "$patch")
    mapfile -t red < <(sed -n 's/^red: //p' <<<"$header" | sort)
    mapfile -t green < <(sed -n 's/^green: //p' <<<"$header")
    mapfile -t says < <(sed -n 's/^says: //p' <<<"$header")

    patch --strip=1 <"$patch" >log || fail "$patch no longer applies"
    run "${red[@]}" "${green[@]}" || fail "$patch does not build"
    expected=$(printf '%s\n' "${red[@]}")
    [[ $failed == "$expected" ]] || fail "$patch: these should fail:"$'\n'"$expected"$'\n'"and these do:"$'\n'"$failed"
    for test in "${green[@]}"; do
        grep -qxE -- "$test" <<<"$passed" || fail "$patch: $test should pass"
    done
    for text in "${says[@]}"; do
        grep -qF -- "$text" log || fail "$patch: no test says: $text"
    done
    # And clients that nobody here wrote, where there are some.
    [[ $exercise != 06-5 ]] || tests/memcached.sh build/linux-wine/06-full-server/06-full-server.exe
    patch --strip=1 --reverse <"$patch" >/dev/null
    echo "$exercise: ${#red[@]} red, $(grep -c . <<<"$passed" || true) green ($SECONDS s)"
}

# prove COPY NN-K...
prove() (
    copy=$root/build/$1
    shift
    make_copy
    cd "$copy"
    cmake --preset linux-wine -D IOCP_EXERCISES=ON >/dev/null
    prove_without "$@"
    for exercise in "$@"; do
        prove_with "$exercise"
    done
)

if [[ $# -gt 0 ]]; then
    prove exercises "$@"
    exit
fi

# In two halves side by side, for their tests mostly wait.
mapfile -t early < <(cd tests/exercises && basename --suffix .patch -- 0[0-3]-*.patch)
mapfile -t late < <(cd tests/exercises && basename --suffix .patch -- 0[4-6]-*.patch)
prove exercises "${early[@]}" &
first_half=$!
prove exercises-late "${late[@]}" &
second_half=$!
wait "$first_half" || { wait; exit 1; }
wait "$second_half"

# What a reader types: once is enough, for it runs the same tests.
copy=$root/build/exercises
export MINE=$copy/mine
rm -rf "$MINE"
mkdir "$MINE"
cp -r 03-recv "$MINE/"
! scripts/check.sh 03 --exercise 4 >"$copy/log" 2>&1 || fail "check.sh 03 --exercise 4 passes without a solution"
grep -q 'tests passed' "$copy/log" || fail "check.sh 03 --exercise 4 does not run"
patch --directory="$MINE" --strip=1 <tests/exercises/03-4.patch >/dev/null
scripts/check.sh 03 --exercise 4 >"$copy/log" 2>&1 || fail "check.sh 03 --exercise 4 fails with our solution"
echo "scripts/check.sh 03 --exercise 4 fails before, and passes with our solution ($SECONDS s)"
