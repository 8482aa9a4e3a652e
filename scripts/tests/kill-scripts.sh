#!/bin/sh
# Tests p2p-router-server-kill.sh and p2p-inner-server-kill.sh.
set -eu
. "$(dirname -- "$0")/lib/harness.sh"
. "$(dirname -- "$0")/lib/fakes.sh"

router_kill=$scripts/p2p-router-server-kill.sh
inner_kill=$scripts/p2p-inner-server-kill.sh
one=$(free_port)
two=$(free_port)
cd /

run "$router_kill"
ok 'nothing to restart is an error' [ "$code" = 1 ]
ok 'that says so' says "$out" 'no p2p-router is kept running by a start script of yours'

# --- restarted
start p2p-router-server.sh "$one"
script_one=$script
first=$(program "router-$one")
start p2p-router-server.sh "$two" --log-dir "it's a \"folder\" of \$HOME"
second=$(program "router-$two")
start p2p-inner-server.sh 127.0.0.1 "$one" 9000
inner=$(program "inner-9000-127.0.0.1-$one")
start p2p-inner-server.sh 127.0.0.1 "$two" 9000
inner_too=$(program "inner-9000-127.0.0.1-$two")

run "$router_kill" "$one"
ok 'the one on PORT is restarted' [ "$code" = 0 ]
ok 'by itself' restarted "$first" 1
ok 'in the same process' [ "$(state "router-$one" 4)" = "$first" ]
ok 'its start script is the same' [ "$(state "router-$one" 2)" = "$script_one" ]
ok 'and it says so' says "$out" "p2p-router $one is up again: pid $first as before"
ok 'the other goes on' [ "$(restarts "$second")" = 0 ]
run "$router_kill"
ok 'without PORT all are' [ "$code" = 0 ]
ok 'the first' restarted "$first" 2
ok 'and the second' restarted "$second" 1
ok 'with the arguments that it has' says "$FAKE/checked" " [$two] [--log-dir] [it's a \"folder\" of \$HOME] [check]"
ok 'no inner is' alive "$inner"
run "$inner_kill" 9000
ok 'an inner is addressed by its service port' [ "$code" = 0 ]
ok 'on the one router' gone "$inner"
ok 'and on the other' gone "$inner_too"
run "$inner_kill" 9001
ok 'another service port is none of them' [ "$code" = 1 ]

behave moved
run "$router_kill" "$one"
ok 'one whose settings say another address restarts itself, too' restarted "$first" 3
behave

# --- a router that can't restart itself
behave wrong
run "$router_kill" "$one"
ok 'one that would not start with its settings is not restarted' [ "$code" = 1 ]
ok 'it is said why' says "$out" 'is not restarted, and goes on as it was: error: there is no such setting'
ok 'by the start script, too' says "$work/said" 'and goes on as it was: error: there is no such setting'
ok 'and it goes on' alive "$first"
behave ill
run "$router_kill" "$one"
ok 'one that does not answer is ended and started again' [ "$code" = 0 ]
new=$(state "router-$one" 4)
ok 'as another process' [ "$new" != "$first" ]
ok 'and the old one gone' gone "$first"
ok 'its start script is still the same' [ "$(state "router-$one" 2)" = "$script_one" ]
ok 'and it says so' says "$out" "p2p-router $one is up again: pid $new, before $first"
behave stuck
three=$(free_port)
SUPERVISE_END_LIMIT=1 start p2p-router-server.sh "$three"
third=$(program "router-$three")
run "$router_kill" "$three"
ok 'one that should restart itself and does not is reported' [ "$code" = 1 ]
ok 'with what there is to know' says "$out" 'it has not done so within 1 s'
ok 'and goes on' alive "$third"
behave
run "$router_kill" "$three"
ok 'until it does' says "$out" "p2p-router $three is up again: pid $third as before"
run "$router_kill" --stop "$three"
start p2p-router-server.sh "$three"
third=$(program "router-$three")
behave stuck
"$router_kill" "$three" >/dev/null 2>&1 &
eventually says "$FAKE/checked" "[$three] [check]"
run "$router_kill" --stop "$three"
ok 'one that should restart itself and does not can be ended meanwhile' gone "$third"
behave

# --- a new program that does not get up
export SUPERVISE_UP_LIMIT=1
behave mute
run "$inner_kill"
ok 'an inner that does not reach its router is reported' says "$out" 'has no connection to the router after 1 s'
ok 'as a failure' [ "$code" = 1 ]
also ill
run "$router_kill" "$one"
ok 'and a router that does not listen' says "$out" 'does not listen after 1 s'
behave exit 1
also ill
run "$router_kill" "$two"
ok 'one that ends again is reported' says "$out" 'was started, and has ended again'
behave
run env SUPERVISE_UP_LIMIT=10 "$router_kill" "$two"
ok 'a restart does not wait for the back-off' [ "$code" = 0 ]
behave exit 2
also ill
run "$router_kill" "$two"
ok 'one that ends with exit code 2 takes its start script along' [ "$code" = 1 ]
ok 'and that is reported' eventually stopped "router-$two"
behave
unset SUPERVISE_UP_LIMIT

# --- periodically
first=$(program "router-$one")
"$router_kill" --every 1s "$one" >/dev/null 2>&1 &
every=$!
ok '--every restarts' eventually restarted "$first" 1
ok 'and again' eventually restarted "$first" 2
kill -TERM "$every"
ok 'until it is ended' eventually gone "$every"
for time in --stop 0s 1w 6hh 1000000d ''; do
    run "$router_kill" --every "$time" "$one"
    ok "no time: '$time'" [ "$code" = 2 ]
done
run "$router_kill" --every 6h --stop
ok '--every and --stop exclude each other' [ "$code" = 2 ]
run "$router_kill" http
ok 'a PORT is a number' [ "$code" = 2 ]
run "$inner_kill" --help
ok '--help helps' says "$out" 'p2p-inner-server-kill.sh --every 6h 9000'

# --- ended
run "$inner_kill" --stop
ok '--stop ends all' [ "$code" = 0 ]
ok 'for good' stopped "inner-9000-127.0.0.1-$one"
first=$(program "router-$one")
run "$router_kill" --stop "$one"
ok 'or the one on PORT' [ "$code" = 0 ]
ok 'with its program' gone "$first"
ok 'and its start script' gone "$script_one"
ok 'nothing is left behind' eventually nothing_left

# --- other settings
printf '%s\n' "ROUTER_PORT=$one" >"$scripts/p2p.env"
start p2p-router-server.sh
first=$(program "router-$one")
run "$router_kill" "$one"
ok 'what the start script read and nobody changed is no news' not says "$out" 'p2p.env has changed'
touch -d tomorrow "$scripts/p2p.env"
run "$router_kill" "$one"
ok 'what somebody changed does not count yet, and that is said' says "$out" 'p2p.env has changed since the start script read it'
run "$router_kill" --stop "$one"
rm "$scripts/p2p.env"

# --- start scripts that were killed
start p2p-router-server.sh "$one"
first=$(program "router-$one")
kill -KILL "$script"
eventually gone "$script"
run "$router_kill"
ok 'a program whose start script is gone is not restarted' [ "$code" = 1 ]
ok 'it is said what to do' says "$out" 'its start script is gone: start that again'
ok 'and goes on' alive "$first"
run "$router_kill" --stop
ok '--stop ends it' gone "$first"
ok 'and succeeds' [ "$code" = 0 ]

# --- a state of another time: its pids are others' by now
sleep 300 &
bystander=$!
boot=$(cat /proc/sys/kernel/random/boot_id)
start_time=$(sed 's/.*) //' "/proc/$bystander/stat" | cut -d ' ' -f 20)
stale() { # BOOT START_TIME
    printf '%s\n' "$1 $bystander $2 $bystander $2 1" "p2p-router $one" >"$P2P_RUN_DIR/router-$one.state"
}
for option in '' --stop; do
    stale "$boot" 1
    run "$router_kill" $option
    stale another-boot "$start_time"
    run "$router_kill" $option
    # Somebody holds the lock, but it is not the process in the state.
    stale "$boot" 1
    run flock "$P2P_RUN_DIR/router-$one.lock" "$router_kill" $option
    ok "a process that got a recorded pid later is left alone ($option)" alive "$bystander"
done
kill "$bystander"
ok 'nothing is left behind' eventually nothing_left
done_testing
