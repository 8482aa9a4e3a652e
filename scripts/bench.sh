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

usage() {
    cat <<'END'
bench.sh                   everything, in five minutes and the time it takes to build
bench.sh --only worker     one part of it; give it again for more of them:
                             oneshot   a command that starts a process, beside lighttpd's CGI
                             worker    a command of a worker, beside a tunnel with a static file
                             open      a worker at a constant rate of requests, timed from when each was due
                             keys      keys and TLS, beside neither
                             links     idle links: memory and CPU by their number, and how they come back
bench.sh --rounds 9        how often each load runs (5); the table has the medians
bench.sh --seconds 5       how long each load runs each time (2)
bench.sh --links 50,5000   how many idle links (100,1000,10000)
bench.sh --plots           also draws docs/bench-latency.svg and docs/bench-links.svg: 3 minutes more

Loads take turns, round by round, so that other work on the machine slows all of them alike. A ratio
compares figures of one run. All programs listen on loopback, on free ports, and end with the script.
Needs wrk and lighttpd, and builds bore-cli into the target folder. See docs/benchmarks.md.
END
}

number() { # OPTION VALUE
    case $2 in '' | *[!0-9]* | 0* | ?????*) die 2 "$1 needs a number from 1 on, and '$2' is none" ;; esac
}

parts='' rounds=5 seconds=2 links='100 1000 10000' plots=''
while [ "$#" -gt 0 ]; do
    case $1 in --only | --rounds | --seconds | --links) [ "$#" -ge 2 ] || die 2 "$1 needs a value (see --help)" ;; esac
    case $1 in
        --only)
            case $2 in oneshot | worker | open | keys | links) ;; *) die 2 "no such part: $2 (see --help)" ;; esac
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
        --plots) plots=yes ;;
        -h | --help) usage && exit ;;
        *) die 2 "no such option: $1 (see --help)" ;;
    esac
    shift
done
: "${parts:=oneshot worker open keys links}"

wants() { # PART...
    for part; do
        case " $parts " in *" $part "*) return 0 ;; esac
    done
    return 1
}

measure() {
    step "Building"
    build p2p-router p2p-inner load links echo-worker
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
        [ -z "$plots" ] || ! wants open || latency_by_rate
        end_all
    fi
    if wants links; then
        start_links
        watch_links
        links_come_back
        end_all
    fi
}

forget_settings
machine=$(machine_line)
need_cargo
need curl curl
! wants oneshot worker keys || need wrk wrk
! wants oneshot worker || PATH=$PATH:/usr/sbin need lighttpd lighttpd
cd "$here/.."
open_work bench end_all
warming=''
measure >&2
table
[ -z "$plots" ] || plots
