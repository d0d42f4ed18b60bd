#!/usr/bin/env bash
# Runs a Windows program under Wine: run-under-wine.sh PROGRAM.exe [ARGUMENTS...]. With no program it only gets Wine
# ready. CTest runs every test through it. `kill -INT` on this process is Ctrl+C to the program: it becomes the program.
set -euo pipefail

trap 'exit 130' INT # without it, bash drops a Ctrl+C that comes while it waits for a command below

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
export WINEPREFIX=${IOCP_WINE_PREFIX:-$root/build/wine-prefix} WINEDEBUG=-all
# No window, no offer to install Mono or Gecko when the prefix is made, and no debugger that prints pages into the output
# of a program that crashes: its exit code tells.
export WINEDLLOVERRIDES="mscoree,mshtml=d;winemenubuilder.exe=d;winedbg.exe=d"
unset DISPLAY WAYLAND_DISPLAY
# Where the locale knows ASCII only, Wine finds no file whose path has other letters.
[[ $(locale charmap 2>/dev/null) == UTF-8 ]] || export LC_ALL=C.UTF-8

find_command() { # the first that exists
    local candidate
    for candidate in "$@"; do
        command -v "$candidate" && return
    done
    echo "run-under-wine.sh: Wine is not installed; on Debian and Ubuntu, scripts/setup-linux.sh installs it." >&2
    exit 1
}
# Debian's /usr/bin/wine is a script that asks for 32-bit Wine, so the 64-bit program itself comes first.
wine=("$(find_command /usr/lib/wine/wine64 wine64 wine)")
wineserver=$(find_command wineserver /usr/lib/wine/wineserver)
# Linux puts a program's heap at random, and once in thousands of starts onto the one page that Wine must have for itself
# (0x7ffe0000): then it gives up without a word before the program has begun. So nothing is at random, if that is
# allowed here; some containers forbid it.
! setarch -R true 2>/dev/null || wine=(setarch -R "${wine[@]}")

mkdir -p "$WINEPREFIX"
if [[ ! -O $WINEPREFIX ]]; then
    echo "run-under-wine.sh: $WINEPREFIX belongs to another user: remove it, or name another in IOCP_WINE_PREFIX." >&2
    exit 1
fi
(
    # One at a time: tests that start together must not make the prefix twice. What starts here must not inherit the
    # lock (9>&-), for it would hold it as long as it lives.
    flock 9
    if [[ ! -e $WINEPREFIX/.update-timestamp ]]; then
        echo "Preparing Wine in $WINEPREFIX, once; this takes 5 to 20 s." >&2
    fi
    # -p10: Wine's server outlives its last program by 10 s and then ends by itself, so the next program starts at once
    # and no script has to know whether it is the last. Where a server runs already, this fails. Wine's services are
    # children of the first program and keep its output open, so the first one is started here, with none.
    if "$wineserver" -p10 9>&- 2>/dev/null; then
        "${wine[@]}" wineboot 9>&- 2>/dev/null || true # if Wine cannot start at all, the program itself says why, below
    fi
) 9>"$WINEPREFIX.lock" >/dev/null </dev/null

[[ $# -gt 0 ]] || exit 0
exec "${wine[@]}" "$@"
