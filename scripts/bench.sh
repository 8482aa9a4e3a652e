#!/bin/sh
# Measures what a command costs on this machine, beside what people use instead. Prints one table.
set -eu
here=$(dirname -- "$(readlink -f -- "$0")")
. "$here/lib/process.sh"
. "$here/lib/tools.sh"
. "$here/lib/stand.sh"
. "$here/lib/bench-stand.sh"
. "$here/lib/bench-loads.sh"
. "$here/lib/bench-links.sh"
. "$here/lib/bench-table.sh"
. "$here/lib/bench-threads.sh"
. "$here/lib/mesh.sh"
. "$here/lib/bench-mesh.sh"

usage() {
    cat <<'END'
bench.sh                   everything but `threads` and `mesh`, in six minutes and the time it takes to build
bench.sh --only worker     one part of it; give it again for more of them:
                             oneshot   a command that starts a process, beside lighttpd's CGI
                             worker    a command of a worker, beside a tunnel with a static file
                             open      a worker at a constant rate of requests, timed from when each was due
                             keys      keys and TLS, beside neither
                             links     idle links: memory and CPU by their number, and how they come back
                             threads   a router of one thread and of two, pinned to one core and to two:
                                       a table of its own
                             mesh      three routers of a mesh: what a hop costs, and how they go on when one
                                       is killed, or all of NATS: a table of its own
bench.sh --programs DIR    p2p-router and p2p-inner of this folder, a build of another commit, beside
                           today's: one-shot, worker, threads and mesh
bench.sh --rounds 9        how often each load runs (5); the table has the medians
bench.sh --seconds 5       how long each load runs each time (2)
bench.sh --links 50,5000   how many idle links (100,1000,10000)
bench.sh --docs            everything, `threads` and `mesh` too; writes the tables into docs/benchmarks.md and
                           draws docs/bench-latency.svg, docs/bench-links.svg and docs/bench-mesh.svg:
                           half an hour

Loads take turns, round by round, so that other work on the machine slows all of them alike. A ratio
compares figures of one run. All programs listen on loopback, on free ports, and end with the script.
What a request costs is the CPU time of all threads of a hop, divided by the requests: waiting does not
count, nor what a command's own process does.
Needs wrk, lighttpd and nats-server, and builds bore-cli into the target folder. See docs/benchmarks.md.
END
}

number() { # OPTION VALUE
    case $2 in '' | *[!0-9]* | 0* | ?????*) die 2 "$1 needs a number from 1 on, and '$2' is none" ;; esac
}

parts='' programs='' rounds=5 seconds=2 links='100 1000 10000' docs=''
while [ "$#" -gt 0 ]; do
    case $1 in --only | --rounds | --seconds | --links | --programs) [ "$#" -ge 2 ] || die 2 "$1 needs a value (see --help)" ;; esac
    case $1 in
        --only)
            case $2 in oneshot | worker | open | keys | links | threads | mesh) ;; *) die 2 "no such part: $2 (see --help)" ;; esac
            parts="$parts $2"
            shift
            ;;
        --rounds) number "$1" "$2" && rounds=$2 && shift ;;
        --seconds) number "$1" "$2" && seconds=$2 && shift ;;
        --links)
            links=$(printf %s "$2" | tr , ' ')
            for count in $links; do case $count in 10000) ;; *) number --links "$count" ;; esac done
            shift
            ;;
        --programs)
            for program in p2p-router p2p-inner; do
                [ -x "$2/$program" ] || die 2 "--programs: $2 has no $program"
            done
            programs=$(readlink -f -- "$2")
            shift
            ;;
        --docs) docs=yes ;;
        -h | --help) usage && exit ;;
        *) die 2 "no such option: $1 (see --help)" ;;
    esac
    shift
done
[ -z "$docs" ] || [ -z "$parts$programs" ] || die 2 "--docs is for everything, and without --programs (see --help)"
: "${parts:=oneshot worker open keys links${docs:+ threads mesh}}"

wants() { # PART...
    for part; do
        case " $parts " in *" $part "*) return 0 ;; esac
    done
    return 1
}

measure() {
    step "Building"
    build p2p-router p2p-inner p2p-console sim-car load links echo-worker floor
    load=$bin/load
    ! wants oneshot worker || need_bore
    if wants oneshot worker open keys; then
        step "Starting what is measured"
        start_stand
        step "Warming up"
        warming=yes time=1 && one_round
        warming='' time=$seconds
        for round in $(seq "$rounds"); do
            step "Round $round of $rounds"
            one_round
        done
        [ -z "$docs" ] || latency_by_rate
        end_all
    fi
    if wants links; then
        start_links
        watch_links
        links_come_back
        end_all
    fi
    if wants threads; then
        step "Starting the routers of one thread and of two"
        start_threads
        warming=yes time=1 && one_round_of_threads 16
        warming='' time=$seconds
        for round in $(seq "$rounds"); do
            step "Threads, round $round of $rounds"
            one_round_of_threads 1 2 16 64
        done
        end_all
    fi
    ! wants mesh || measure_mesh
    medians >"$work/medians"
}

forget_settings
machine=$(machine_line)
need_cargo
need curl curl
! wants oneshot worker keys threads mesh || need wrk wrk
! wants mesh || need_nats
! wants threads || need taskset util-linux
! wants oneshot worker || PATH=$PATH:/usr/sbin need lighttpd lighttpd
cd "$here/.."
open_work bench end_all
warming=''
measure >&2
! wants oneshot worker open keys links || commands_table | tee "$work/commands-table"
! wants mesh || mesh_table | tee "$work/mesh-table"
! wants threads || threads_table | tee "$work/threads-table"
[ -z "$docs" ] || write_docs
