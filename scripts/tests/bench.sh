#!/bin/sh
# Tests that bench.sh runs, not how fast. Parts that need a missing tool are left out.
set -eu
. "$(dirname -- "$0")/lib/harness.sh"

# The programs keep their own temporary files; what is left of the stand would be here.
tidy() {
    eventually nothing_left && [ -z "$(find "$work" -maxdepth 1 -name 'p2prouter-*')" ]
}

run "$scripts/bench.sh" --help
ok 'the help shows the parts' says "$out" '--only worker'
ok 'and succeeds' [ "$code" = 0 ]
for mistake in '--only nothing' '--rounds 0' '--seconds' '--links 10,x' '--fast' '--programs /nowhere' '--docs --only open'; do
    # shellcheck disable=SC2086
    run "$scripts/bench.sh" $mistake
    ok "it refuses $mistake" [ "$code" = 2 ]
done

# Not the copy: it builds what stands beside it.
bench=$tests/../bench.sh
few='--rounds 1 --seconds 1 --links 5'
# shellcheck disable=SC2086
run "$bench" $few --only open --only links
ok 'the parts without other tools run' [ "$code" = 0 ]
ok 'the open loop has its line' says "$out" '| worker, open loop of 5,000/s, p99 |'
ok 'and idle links theirs' says "$out" "| 5 idle links, router's memory for each |"
ok 'nothing is left behind' tidy

if command -v wrk >/dev/null; then
    # shellcheck disable=SC2086
    run "$bench" $few --only keys
    ok 'keys and TLS run' [ "$code" = 0 ]
    ok 'and have a ratio' says "$out" '| worker, 64 connections, keys and TLS |'
    ok 'and what a request costs router and inner' says "$out" ' µs | without |'
    ok 'nothing is left behind' tidy
fi

if command -v wrk >/dev/null && [ "$(nproc)" -ge 2 ]; then
    # shellcheck disable=SC2086
    run "$bench" $few --only threads
    ok 'a router of one thread and one of two run' [ "$code" = 0 ]
    ok 'and stand side by side' says "$out" '| 1, and nothing else on it | 64, keys and TLS |'
    ok 'nothing is left behind' tidy
fi

if command -v wrk >/dev/null && PATH=$PATH:/usr/sbin command -v nats-server >/dev/null; then
    # shellcheck disable=SC2086
    run "$bench" $few --only mesh
    ok 'a mesh of three routers runs' [ "$code" = 0 ]
    ok 'and through a hop stands beside directly' says "$out" '| worker through a hop, 64 connections |'
    ok 'and no request fails without NATS' says "$out" 'as all of NATS is killed | 0 |'
    ok 'nothing is left behind' tidy
fi

# shellcheck disable=SC2086
"$bench" $few --only open --rounds 99 >"$work/long" 2>&1 &
bench=$!
ok 'a long one begins' eventually says "$work/long" 'Round 2 of 99'
kill -TERM "$bench"
ok 'SIGTERM ends it' eventually gone "$bench"
ok 'and leaves nothing behind' tidy
done_testing
