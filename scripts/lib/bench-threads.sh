# shellcheck shell=sh
# bench-threads.sh: what a router does with one thread and with two, on one core of its own and on two.
# Sourced by bench.sh, after bench-stand.sh, bench-loads.sh and bench-table.sh.
#
# All stands are up all the time, and one has load: idle ones cost next to nothing.

# The cores that this script may use, a line each.
our_cores() {
    awk '$1 == "Cpus_allowed_list:" { print $2 }' /proc/self/status | tr , '\n' |
        awk -F - '{ for (core = $1; core <= ($2 == "" ? $1 : $2); core++) print core }'
}

# Sets router_cores, and other_cores for all that is not the router.
share_cores() { # COUNT
    router_cores=$(our_cores | head -n "$1" | paste -sd , -)
    other_cores=$(our_cores | tail -n "+$(($1 + 1))" | paste -sd , -)
    [ -n "$other_cores" ] || other_cores=$router_cores
}

# The routers that are compared: with so many threads, and those of --programs as they are.
variants() {
    echo "1 2${programs:+ programs}"
}

pin() { # VARIANT
    share_cores "$cores"
    router_pin="env TOKIO_WORKER_THREADS=$1 taskset -c $router_cores" inner_pin="taskset -c $other_cores" load_pin=$inner_pin
    [ "$1" != programs ] || router_pin="taskset -c $router_cores"
}

# Writes a line for each stand: CORES plain|keys VARIANT ROUTER_PID INNER_PID URL HEADER
start_threads() {
    [ "$(our_cores | wc -l)" -ge 2 ] || die 1 "the part threads needs two cores"
    write_commands
    own=$bin
    for cores in 1 2; do
        for variant in $(variants); do
            pin "$variant"
            bin=$own
            [ "$variant" != programs ] || bin=$programs
            start_pair "router-$cores-$variant" "inner-$cores-$variant"
            echo "$cores plain $variant $hops $url" >>"$work/threads"
            start_pair_with_keys "router-keys-$cores-$variant" "inner-keys-$cores-$variant"
            echo "$cores keys $variant $hops $url $authorization" >>"$work/threads"
        done
    done
    bin=$own
}

# Each stand in turn, with each of these numbers of connections.
one_round_of_threads() { # CONNECTIONS...
    for connections; do
        while read -r cores kind variant outer inner url header; do
            pin "$variant"
            closed "threads-$cores-$kind-$connections-$variant" "$connections" "$outer $inner" "$url=echo&arg=hello" "$header"
        done <"$work/threads"
    done
}

threads_table() {
    [ "$(our_cores | wc -l)" -gt 2 ] && alone='2, and nothing else on them' || alone='2, with all else on them'
    headline
    awk -v last="${programs:+programs}" -v alone="$alone" "$shown"'
        { figure[$1 " " $2] = $3 }
        function cell(name) {
            if (!((name " rps") in figure)) return ""
            return shown(figure[name " rps"], "rps") ", " shown(figure[name " p50_us"], "p50_us") ", " sprintf("%.1f + %.1f µs", figure[name " outer_cpu"], figure[name " inner_cpu"])
        }
        END {
            print "Each: answers a second, p50, CPU of router + inner for each request.\n"
            print "| router has cores | connections | 1 thread | 2 threads | 1 / 2 |" (last ? " of `--programs` | / 2 |" : "")
            print "| --- | --- | ---: | ---: | ---: |" (last ? " ---: | ---: |" : "")
            split("plain keys", kinds, " "); split("1 2 16 64", connections, " ")
            for (cores = 1; cores <= 2; cores++) for (k = 1; k <= 2; k++) for (c = 1; c <= 4; c++) {
                name = "threads-" cores "-" kinds[k] "-" connections[c] "-"
                two = figure[name "2 rps"]
                if (!two) continue
                printf "| %s | %s%s | %s | %s | %.2f × |", cores == 1 ? "1, and nothing else on it" : alone, connections[c], k == 2 ? ", keys and TLS" : "", cell(name "1"), cell(name "2"), figure[name "1 rps"] / two
                if (last) printf " %s | %.2f × |", cell(name "programs"), figure[name "programs rps"] / two
                print ""
            }
        }' "$work/medians"
}
