#!/usr/bin/env bash
# Builds the full server and runs it under Wine: serve.sh [port] [options of 06-full-server]. Ctrl+C stops it. The
# script's exit code is the server's.
set -euo pipefail

# Where a script starts this one in the background (&), SIGINT is ignored, and bash cannot trap what was ignored.
[[ -z $(trap -p INT) ]] || exec env --default-signal=INT "$0" "$@"

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
"$root/scripts/setup-linux.sh"
"$root/scripts/build-linux.sh" 06-full-server

# Passes the server's output on, and says after its first line how to talk to it.
show() {
    trap '' INT TERM HUP # it is the server that stops; this ends with the server's output
    local line
    if IFS= read -r line; then
        printf '%s\n' "$line"
        if [[ ${line%$'\r'} =~ ^listening\ on\ \[?([^]]*)\]?:([0-9]+)$ ]]; then
            local host=${BASH_REMATCH[1]/#0.0.0.0/127.0.0.1}
            [[ $host != :: ]] || host=::1
            echo "Talk to it from another terminal: nc $host ${BASH_REMATCH[2]}. Ctrl+C stops it."
        fi
    fi
    exec cat
}

# Wine takes over a terminal that it is given and draws on it, so it gets pipes, with cat between it and the terminal.
exec > >(show)
helpers=($!)
if [[ -t 2 ]]; then
    exec 2> >(trap '' INT TERM HUP && exec cat >&2)
    helpers+=($!)
fi
typist=
if [[ -t 0 ]]; then
    exec < <(exec cat)
    typist=$!
fi

# In a session of its own (setsid) the server does not get the terminal's Ctrl+C: it gets one from here, once, however
# the script is told to stop. SIGTERM would end Wine with no chance to stop in order.
setsid env --default-signal=INT "$root/cmake/run-under-wine.sh" \
    "$root/build/linux-wine/06-full-server/06-full-server.exe" "$@" <&0 &
server=$!
trap 'signalled=yes; kill -INT "$server" 2>/dev/null || true' INT TERM HUP

while true; do
    signalled=
    code=0
    wait "$server" || code=$?
    [[ -n $signalled ]] || break # else it was a signal that ended the wait
done

[[ -z $typist ]] || kill "$typist" 2>/dev/null || true
exec >&- 2>&-
wait "${helpers[@]}" || true
exit "$code"
