# shellcheck shell=sh
# bench-loads.sh: the loads of bench.sh. Sourced by it, after bench-stand.sh, which sets the addresses.
#
# Figures go to $work/figures, a line each: CASE NAME VALUE. The names end in their unit: rps
# (answers a second), p50_us, p99_us, …; outer_cpu and inner_cpu are the CPU time of the two hops for each
# request, in microseconds.

figure() { # CASE NAME VALUE
    [ -n "$3" ] || fail "$1: there is no figure $2"
    [ -n "$warming" ] || printf '%s %s %s\n' "$1" "$2" "$3" >>"$work/figures"
}

# In milliseconds, by the clock of each thread: ticks are too coarse.
cpu_time() { # PID
    cat "/proc/$1/task"/*/schedstat | awk '{ sum += $1 } END { printf "%.3f\n", sum / 1e6 }'
}

cpu_times() { # [PID...]
    for process; do
        cpu_time "$process"
    done | paste -sd ' ' -
}

# A closed loop: each of the connections sends its next request when the last is answered.
closed() { # CASE CONNECTIONS 'OUTER_PID INNER_PID'|'' URL [HEADER]
    case=$1 hops=$3
    # shellcheck disable=SC2086
    before=$(cpu_times $hops)
    # shellcheck disable=SC2086
    $load_pin wrk -t1 "-c$2" "-d${time}s" --latency ${5:+-H "$5"} "$4" >"$work/wrk" 2>&1 || fail "wrk has failed: $(cat "$work/wrk")"
    # shellcheck disable=SC2086
    after=$(cpu_times $hops)
    # shellcheck disable=SC2046
    set -- $(awk '
        function us(text) { return text * (text ~ /us$/ ? 1 : text ~ /ms$/ ? 1e3 : text ~ /m$/ ? 6e7 : 1e6) }
        $1 == "50%" { p50 = us($2) }
        $1 == "99%" { p99 = us($2) }
        / requests in / { count = $1 }
        /Socket errors|Non-2xx/ { bad = bad " " $0 }
        /^Requests\/sec:/ { rps = $2 }
        END { print rps, p50, p99, count, bad }' "$work/wrk")
    figure "$case" rps "$1"
    figure "$case" p50_us "$2"
    figure "$case" p99_us "$3"
    count=$4
    shift 4
    [ "$#" = 0 ] || say "$case: $*"
    case $* in *Non-2xx*) fail "$case was not answered with 200" ;; esac
    # shellcheck disable=SC2086
    set -- $before $after
    [ "$#" = 4 ] && [ "$count" -gt 0 ] || return 0
    figure "$case" outer_cpu "$(awk "BEGIN { print ($3 - $1) * 1000 / $count }")"
    figure "$case" inner_cpu "$(awk "BEGIN { print ($4 - $2) * 1000 / $count }")"
}

# An open loop: a constant rate of requests, however slow the answers are.
open_loop() { # CASE RATE ADDRESS PATH [HEADER]
    said=$("$load" open "$3" "$4" --rate "$2" --seconds "$time" ${5:+--header "$5"}) || fail "the open loop has failed"
    case $said in *' failed=0') ;; *) say "$1 at $2/s: $said" ;; esac
    for word in $said; do
        figure "$1" "${word%%=*}" "${word#*=}"
    done
}

# Each load once. What is compared stands side by side.
one_round() {
    if wants oneshot; then
        closed hello-1 1 "$our_hops" "$ours=hello"
        [ -z "$programs" ] || closed base-hello-1 1 "$base_hops" "$base=hello"
        said=$("$load" spawn "$work/commands/hello" "$time") || fail "the spawn loop has failed"
        figure spawn p50_us "${said#*=}"
        for connections in 16 64; do
            closed "hello-$connections" "$connections" "$our_hops" "$ours=hello"
            [ -z "$programs" ] || closed "base-hello-$connections" "$connections" "$base_hops" "$base=hello"
            closed "cgi-$connections" "$connections" '' "$direct/hello.cgi"
            closed "cgi-tunnel-$connections" "$connections" "$bore_hops" "$tunnel/hello.cgi"
        done
    fi
    if wants worker; then
        closed worker-1 1 "$our_hops" "$ours=echo&arg=hello"
        [ -z "$programs" ] || closed base-worker-1 1 "$base_hops" "$base=echo&arg=hello"
        closed relay-1 1 "$relay_hops" "$relay"
        closed worker-16 16 "$our_hops" "$ours=echo&arg=hello"
        [ -z "$programs" ] || closed base-worker-16 16 "$base_hops" "$base=echo&arg=hello"
        for connections in 16 64; do
            closed "floor-$connections" "$connections" "$floor_hops" "$floor=echo&arg=hello"
            closed "floor-one-$connections" "$connections" "$floor_one_hops" "$floor_one=echo&arg=hello"
            closed "static-$connections" "$connections" "$bore_hops" "$tunnel/hello.txt"
            closed "relay-$connections" "$connections" "$relay_hops" "$relay"
        done
        [ -z "$programs" ] || closed base-worker-64 64 "$base_hops" "$base=echo&arg=hello"
    fi
    ! wants worker keys || closed worker-64 64 "$our_hops" "$ours=echo&arg=hello"
    ! wants keys || closed worker-keys-64 64 "$secure_hops" "$secure=echo&arg=hello" "$authorization"
    ! wants worker || [ -z "$python" ] || closed python-64 64 "$our_hops" "$ours=python&arg=hello"
    if wants keys; then
        wants oneshot || closed hello-64 64 "$our_hops" "$ours=hello"
        closed hello-keys-64 64 "$secure_hops" "$secure=hello" "$authorization"
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
