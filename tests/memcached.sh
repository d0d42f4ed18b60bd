#!/usr/bin/env bash
# Proves exercise 5 of note 06 by clients that know nothing of this repository: memcached.sh PROGRAM.exe, a full server
# with the application kv. Debian's libmemcached-tools store, read and delete, and memccapable runs its own tests of the
# protocol, those of the commands that kv has.
set -euo pipefail
program=$(realpath -- "${1:?what is wanted is memcached.sh PROGRAM.exe}")
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

# In setup-linux.sh's form: the package, what shows that it is there, what it is for.
scripts/setup-linux.sh '
libmemcached-tools          memccapable                            clients of memcached
'
cmake/run-under-wine.sh

work=$(mktemp -d)
server=
stop() {
    [[ -z $server ]] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap stop EXIT
fail() {
    echo "memcached.sh: $*" >&2
    [[ ! -s $work/said ]] || cat "$work/said" >&2
    exit 1
}

# The server stops when the pipe that is its stdin is closed.
mkfifo "$work/stdin"
cmake/run-under-wine.sh "$program" 0 --app kv --stop-on-eof <"$work/stdin" >"$work/server" 2>&1 3>&- &
server=$!
exec 3>"$work/stdin"
port=
for ((tenths = 0; tenths < 300; ++tenths)); do
    port=$(sed -nE 's/^listening on 127\.0\.0\.1:([0-9]+)\s*$/\1/p' "$work/server")
    [[ -z $port ]] && kill -0 "$server" 2>/dev/null || break
    sleep 0.1
done
[[ -n $port ]] || fail "the server did not start: $(cat "$work/server")"

# Runs a client; what it says is in $work/said.
client() {
    timeout 30 "$@" >"$work/said" 2>&1
}
servers=--servers=127.0.0.1:$port

client memcping "$servers" || fail "memcping gets no answer"
# Shorter than the largest value by a bit: libmemcached takes its own share of a MiB.
head -c 1048000 /dev/urandom >"$work/large"
printf 'a line\r\nEND\r\n\0' >"$work/small"
client memccp "$servers" "$work/large" "$work/small" || fail "memccp cannot store"
for key in large small; do
    client memccat "$servers" --file="$work/back" $key || fail "memccat does not find $key"
    cmp "$work/$key" "$work/back" || fail "memccat gets other bytes for $key than memccp has sent"
    client memcrm "$servers" $key || fail "memcrm cannot delete $key"
    ! client memccat "$servers" $key || fail "memccat still finds $key"
done

tests=('ascii version' 'ascii quit' 'ascii set' 'ascii set noreply' 'ascii get' 'ascii mget' 'ascii delete'
    'ascii delete noreply')
for test in "${tests[@]}"; do
    client memccapable -h 127.0.0.1 -p "$port" -a -v -T "$test" || fail "memccapable fails: $test"
    grep -q 'All tests passed' "$work/said" || fail "memccapable has no test $test"
done

exec 3>&-
wait "$server" || fail "the server ended with exit code $?"
server=
grep -qE '^stopped: .* 0 pending' "$work/server" || fail "the server did not stop as it should: $(cat "$work/server")"
echo "libmemcached's memcping, memccp, memccat and memcrm work with kv, and so do ${#tests[@]} tests of memccapable"
