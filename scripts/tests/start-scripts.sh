#!/bin/sh
# Tests p2p-router-server.sh and p2p-inner-server.sh.
set -eu
. "$(dirname -- "$0")/lib/harness.sh"
. "$(dirname -- "$0")/lib/fakes.sh"

one=$(free_port)
two=$(free_port)
cd /

# --- started again when it dies
# shellcheck disable=SC2016
start p2p-router-server.sh "$one" --bind 127.0.0.1 --log-dir 'a folder/with "quotes" and $HOME'
first=$(program "router-$one")
ok 'arguments reach the program as they were' says "$FAKE/starts" \
    "$first () [$one] [--bind] [127.0.0.1] [--log-dir] [a folder/with \"quotes\" and \$HOME]"
kill -KILL "$first"
ok 'a killed program is started again' eventually replaced "router-$one" "$first"
ok 'and that is said' says "$work/said" 's with exit code 137; starting it again in 1 s'
second=$(program "router-$one")
ok 'with the same arguments' says "$FAKE/starts" "$second () [$one] [--bind]"

# --- never two for one port
run "$scripts/p2p-router-server.sh" "$one"
ok 'a second start for the same port fails' [ "$code" = 1 ]
ok 'and says who has it' says "$out" "p2p-router $one is kept running already, by p2p-router-server.sh with pid $script"
ok 'and leaves the first alone' [ "$(state "router-$one" 4)" = "$second" ]
script_one=$script

start p2p-router-server.sh "$two"
other=$(program "router-$two")
ok 'another port runs beside it' alive "$second"
start p2p-inner-server.sh 127.0.0.1 "$one" 9000 --name 'my car'
inner=$(program "inner-9000-127.0.0.1-$one")
ok 'an inner gets its three arguments and the rest' says "$FAKE/starts" "$inner () [127.0.0.1] [$one] [9000] [--name] [my car]"
start p2p-inner-server.sh 127.0.0.1 "$two" 9000
ok 'the same service port on another router is another inner' eventually ready "inner-9000-127.0.0.1-$two"
run "$scripts/p2p-inner-server.sh" 127.0.0.1 "$one" 9000
ok 'the same inner is refused' [ "$code" = 1 ]
many=$(seq -f 'router%g.of.a.host.with.a.long.name.example.org' -s ', ' 16)
start p2p-inner-server.sh "$many" "$one" 9001
many_script=$script
ok 'sixteen routers are a list' eventually says "$FAKE/starts" "[$(echo "$many" | tr -d ' ')] [$one] [9001]"
run "$scripts/p2p-inner-server.sh" "$many" "$one" 9001
ok 'the same list is refused' says "$out" 'is kept running already'
kill -TERM "$many_script"
ok 'SIGTERM ends it' eventually gone "$many_script"

# --- ended by a signal, with the program
kill -TERM "$script_one"
ok 'SIGTERM ends the start script' eventually gone "$script_one"
ok 'and its program' gone "$second"
ok 'and no other program' alive "$other"
wait "$script_one" && code=0 || code=$?
ok 'with exit code 0' [ "$code" = 0 ]
kill -HUP "$(state "router-$two" 2)"
ok 'SIGHUP does' eventually stopped "router-$two"
exec_unignored "$scripts/p2p-router-server.sh" "$two" 2>>"$work/said" &
other=$(program "router-$two")
kill -INT "$(state "router-$two" 2)"
ok 'and SIGINT' eventually stopped "router-$two"
ok 'with the program too' gone "$other"
for key in "inner-9000-127.0.0.1-$one" "inner-9000-127.0.0.1-$two"; do
    kill -TERM "$(state "$key" 2)"
    ok "the inner of $key ends" eventually stopped "$key"
done
ok 'nothing is left behind' eventually nothing_left

behave deaf
export SUPERVISE_END_LIMIT=1
start p2p-router-server.sh "$one"
first=$(program "router-$one")
kill -TERM "$script"
ok 'a program that ignores SIGTERM is killed' eventually gone "$script"
ok 'for good' gone "$first"

# As on a terminal: Ctrl-C goes to the whole process group.
exec_unignored setsid "$scripts/p2p-router-server.sh" "$two" 2>"$work/impatient" &
first=$(program "router-$two")
script=$(state "router-$two" 2)
interrupted() {
    kill -s INT -- "-$script" 2>/dev/null || :
    gone "$script"
}
ok 'Ctrl-C ends it, pressed again and again' eventually interrupted
ok 'with its program' gone "$first"
ok 'and cleanly' says "$work/impatient" "p2p-router $two has ended"
unset SUPERVISE_END_LIMIT

# --- back-off
behave exit 1
start p2p-router-server.sh "$one"
ok 'a program that dies at once is tried again, ever later' \
    eventually says "$work/said" 's with exit code 1; starting it again in 2 s'
kill -TERM "$script"
ok 'SIGTERM ends the wait for the next try' eventually gone "$script"
behave exit 2
run "$scripts/p2p-router-server.sh" "$one" --no-such-option
ok 'exit code 2 (usage) is handed on' [ "$code" = 2 ]
ok 'and says why it is not tried again' says "$out" 'its arguments or settings are wrong'
ok 'and was not' [ "$(grep -c no-such-option "$FAKE/starts")" = 1 ]
behave

# --- asked whether it can do its job
export SUPERVISE_HEALTH_EVERY=0.1 SUPERVISE_HEALTH_LIMIT=1 SUPERVISE_END_LIMIT=1 SUPERVISE_PAUSE=0
behave ill
start p2p-router-server.sh "$one"
first=$(program "router-$one")
ok 'a program is asked whether it can do its job' eventually asked 20
ok 'one that never could is given time' alive "$first"
behave
asked_again
behave wrong
: >"$FAKE/asked"
ok 'what can not be asked' eventually asked 20
ok 'is let be' alive "$first"
behave moved
: >"$FAKE/asked"
ok 'one whose settings somebody edits' eventually asked 30
ok 'is asked where it was well' alive "$first"
behave ill
ok 'one that can not any more is started again' eventually replaced "router-$one" "$first"
ok 'and that is said' says "$work/said" "p2p-router $one has not been able to do its job for "
ok 'with the reason' says "$work/said" ' s (it is ill): ending it'
behave
asked_again
behave deaf
first=$(state "router-$one" 4)
kill -KILL "$first"
eventually replaced "router-$one" "$first"
asked_again
first=$(state "router-$one" 4)
also ill
ok 'so is one that does not hear SIGTERM' eventually replaced "router-$one" "$first"
behave
kill -TERM "$script"
ok 'nobody asks for longer than that' eventually gone "$script"
behave ill
SUPERVISE_START_LIMIT=1 start p2p-router-server.sh "$one"
first=$(program "router-$one")
ok 'the time of one that never could ends, too' eventually replaced "router-$one" "$first"
kill -TERM "$script"
eventually gone "$script"
behave
mkfifo "$work/unread"
"$scripts/p2p-router-server.sh" "$one" 2>"$work/unread" &
script=$!
: <"$work/unread"
first=$(program "router-$one")
asked_again
behave ill
ok 'it is started again where nobody reads what is said of it' eventually replaced "router-$one" "$first"
behave
first=$(state "router-$one" 4)
asked_again
behave wrong
run "$scripts/p2p-router-server-kill.sh" "$one"
ok 'and what can not be restarted' says "$out" 'and goes on as it was: error: there is no such setting'
behave
run "$scripts/p2p-router-server-kill.sh" "$one"
ok 'is asked on' says "$out" "p2p-router $one is up again: pid $first as before"
kill -TERM "$script"
eventually gone "$script"
start p2p-router-server.sh 0
first=$(program router-0)
rm "$FAKE/asked"
start p2p-inner-server.sh 127.0.0.1 "$two" 9000
inner=$(program "inner-9000-127.0.0.1-$two")
start p2p-router-server.sh "$one"
eventually asked 5
ok 'neither a router with any port nor an inner is asked' not grep -qvx -- "$one health" "$FAKE/asked"
kill -TERM "$(state router-0 2)" "$(state "inner-9000-127.0.0.1-$two" 2)" "$script"
ok 'nobody is left who asks' eventually nothing_left
unset SUPERVISE_HEALTH_EVERY SUPERVISE_HEALTH_LIMIT SUPERVISE_END_LIMIT SUPERVISE_PAUSE

# --- killed start scripts
start p2p-router-server.sh "$one"
first=$(program "router-$one")
kill -KILL "$script"
eventually gone "$script"
ok 'the program outlives a start script that was killed' alive "$first"
start p2p-router-server.sh "$one"
ok 'the next start script takes over' eventually replaced "router-$one" "$first"
ok 'having ended what was left' gone "$first"
ok 'and says so' says "$work/said" "left p2p-router $one running (pid $first): ending that one first"
behave child
first=$(state "router-$one" 4)
kill -KILL "$first"
eventually replaced "router-$one" "$first"
first=$(state "router-$one" 4)
kill -KILL "$script" "$first"
eventually gone "$script"
behave
start p2p-router-server.sh "$one"
ok 'what a program leaves behind does not hold the lock' eventually replaced "router-$one" "$first"
kill -TERM "$script"
eventually gone "$script"

# --- a state of another time
sleep 300 &
bystander=$!
printf '%s\n' "$(cat /proc/sys/kernel/random/boot_id) $bystander 1 $bystander 1 1" "p2p-router $one" \
    >"$P2P_RUN_DIR/router-$one.state"
start p2p-router-server.sh "$one"
first=$(program "router-$one")
kill -TERM "$script"
eventually gone "$script"
echo garbage >"$P2P_RUN_DIR/router-$one.state"
start p2p-router-server.sh "$one"
ok 'a spoilt state does not keep it from starting' eventually replaced "router-$one" "$first"
kill -TERM "$script"
eventually gone "$script"
ok 'a process that got a recorded pid later is left alone' alive "$bystander"
kill "$bystander"

# --- p2p.env
run "$scripts/p2p-inner-server.sh"
ok 'an inner without arguments and p2p.env is a usage error' [ "$code" = 2 ]
ok 'and says what to do' says "$out" 'p2p.env.example'
# shellcheck disable=SC2016
printf '%s\n' "ROUTER_PORT=$two" 'ROUTER_HOST=127.0.0.1' 'SERVICE_PORT=9001' 'P2P_NAME="car in $SCRIPTS"' >"$scripts/p2p.env"
start p2p-router-server.sh
router=$(program "router-$two")
start p2p-inner-server.sh --timeout 5
inner=$(program "inner-9001-127.0.0.1-$two")
ok 'the router takes its port from p2p.env' says "$FAKE/starts" "$router (car in $scripts) [$two]"
ok 'the inner takes all three, and hands on options' \
    says "$FAKE/starts" "$inner (car in $scripts) [127.0.0.1] [$two] [9001] [--timeout] [5]"
start p2p-router-server.sh "$one"
ok 'arguments win over p2p.env' eventually says "$FAKE/starts" "$(program "router-$one") () [$one]"
for key in "router-$one" "router-$two" "inner-9001-127.0.0.1-$two"; do
    kill -TERM "$(state "$key" 2)"
    eventually stopped "$key"
done
printf '\357\273\277%s\r\n%s\r\n' "ROUTER_PORT=$two" 'P2P_NAME="a car"' >"$scripts/p2p.env"
start p2p-router-server.sh
router=$(program "router-$two")
ok 'p2p.env may have lines of Windows and a byte order mark' says "$FAKE/starts" "$router (a car) [$two]"
kill -TERM "$(state "router-$two" 2)"
eventually stopped "router-$two"
rm "$scripts/p2p.env"

# --- which program
behave exit 2
mkdir -p "$work/target/release" "$work/a link"
ln -s "$scripts/p2p-router-server.sh" "$work/a link/router"
run "$work/a link/router" "$one"
ok 'a program on PATH is found, by a link to the script too' says "$out" "running $work/bin/p2p-router"
mv "$work/bin/p2p-router" "$work/target/release/"
run "$scripts/p2p-router-server.sh" "$one"
ok 'else the one built here' says "$out" "running $scripts/../target/release/p2p-router"
mv "$work/target/release/p2p-router" "$work/mine"
run env P2P_ROUTER_BIN="$work/mine" "$scripts/p2p-router-server.sh" "$one"
ok 'P2P_ROUTER_BIN names one' says "$out" "running $work/mine"
run "$scripts/p2p-router-server.sh" "$one"
ok 'none is an error that says how to build it' says "$out" 'cargo build --release --locked'

# --- what cannot be
for port in 65536 http 08 -1x; do
    run "$scripts/p2p-router-server.sh" "$port"
    ok "no port: $port" [ "$code" != 0 ]
done
run "$scripts/p2p-inner-server.sh" 127.0.0.1 8888
ok 'two of the three arguments are a usage error' [ "$code" = 2 ]
run "$scripts/p2p-inner-server.sh" http://127.0.0.1/ 8888 9000
ok 'so is an address for a host' [ "$code" = 2 ]
run "$scripts/p2p-router-server.sh" 8888 --help
ok '--help helps' says "$out" 'p2p-router-server.sh 8888 --open'
chmod 755 "$P2P_RUN_DIR"
run env P2P_ROUTER_BIN="$work/mine" "$scripts/p2p-router-server.sh" "$one"
ok 'a folder for locks that others can read is refused' says "$out" 'must be a folder of your own with mode 700'
ln -s "$work" "$work/planted"
run env P2P_RUN_DIR="$work/planted" P2P_ROUTER_BIN="$work/mine" "$scripts/p2p-router-server.sh" "$one"
ok 'and a link to one' says "$out" 'and is: '

xargs kill <"$FAKE/children"
ok 'nothing is left behind' eventually nothing_left
done_testing
