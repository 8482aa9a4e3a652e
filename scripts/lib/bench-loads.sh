# shellcheck shell=sh
# bench-loads.sh: the loads of bench.sh. Sourced by it, after bench-stand.sh, which sets the addresses.
#
# Figures go to $work/figures, a line each: CASE NAME VALUE. The names end in their unit: rps
# (answers a second), p50_us, p99_us, …

figure() { # CASE NAME VALUE
    [ -n "$warming" ] || printf '%s %s %s\n' "$1" "$2" "$3" >>"$work/figures"
}

# A closed loop: each of the connections sends its next request when the last is answered.
closed() { # CASE CONNECTIONS URL [HEADER]
    wrk -t1 "-c$2" "-d${time}s" --latency ${4:+-H "$4"} "$3" >"$work/wrk" 2>&1 || fail "wrk has failed: $(cat "$work/wrk")"
    case=$1
    # shellcheck disable=SC2046
    set -- $(awk '
        function us(text) { return text * (text ~ /us$/ ? 1 : text ~ /ms$/ ? 1e3 : text ~ /m$/ ? 6e7 : 1e6) }
        $1 == "50%" { p50 = us($2) }
        $1 == "99%" { p99 = us($2) }
        /Socket errors|Non-2xx/ { bad = bad " " $0 }
        /^Requests\/sec:/ { rps = $2 }
        END { print rps, p50, p99, bad }' "$work/wrk")
    figure "$case" rps "$1"
    figure "$case" p50_us "$2"
    figure "$case" p99_us "$3"
    shift 3
    [ "$#" = 0 ] || say "$case: $*"
    case $* in *Non-2xx*) fail "$case was not answered with 200" ;; esac
}

# An open loop: a constant rate of requests, however slow the answers are.
open_loop() { # CASE RATE ADDRESS PATH
    said=$("$load" open "$3" "$4" --rate "$2" --seconds "$time") || fail "the open loop has failed"
    case $said in *' failed=0') ;; *) say "$1 at $2/s: $said" ;; esac
    for word in $said; do
        figure "$1" "${word%%=*}" "${word#*=}"
    done
}

# Each load once. What is compared stands side by side.
one_round() {
    if wants oneshot; then
        closed hello-1 1 "$ours=hello"
        said=$("$load" spawn "$work/commands/hello" "$time") || fail "the spawn loop has failed"
        figure spawn p50_us "${said#*=}"
        for connections in 16 64; do
            closed "hello-$connections" "$connections" "$ours=hello"
            closed "cgi-$connections" "$connections" "$direct/hello.cgi"
            closed "cgi-tunnel-$connections" "$connections" "$tunnel/hello.cgi"
        done
    fi
    if wants worker; then
        closed worker-1 1 "$ours=echo&arg=hello"
        closed relay-1 1 "$relay"
        closed relay-64 64 "$relay"
        closed static-64 64 "$tunnel/hello.txt"
    fi
    ! wants worker keys || closed worker-64 64 "$ours=echo&arg=hello"
    ! wants keys || closed worker-keys-64 64 "$secure=echo&arg=hello" "$authorization"
    ! wants worker || [ -z "$python" ] || closed python-64 64 "$ours=python&arg=hello"
    if wants keys; then
        wants oneshot || closed hello-64 64 "$ours=hello"
        closed hello-keys-64 64 "$secure=hello" "$authorization"
    fi
    ! wants open || open_loop open 5000 "$ours_address" '/cgi?command=echo&arg=hello'
}

# For the picture: rates from hardly any load to more than the machine can do.
latency_by_rate() {
    for round in 1 2 3; do
        step "Latency by rate, round $round of 3"
        for rate in 100 200 400 600 800 1000 1200 1400 1700 2000; do
            open_loop "rate-one-shot-$rate" "$rate" "$ours_address" '/cgi?command=hello'
        done
        for rate in 500 1000 2000 5000 10000 15000 20000 25000 30000 40000 50000; do
            open_loop "rate-worker-$rate" "$rate" "$ours_address" '/cgi?command=echo&arg=hello'
        done
    done
}
