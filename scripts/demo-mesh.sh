#!/bin/sh
# Builds, starts three routers that act as one and two simulated cars on loopback, and drives them.
set -eu
here=$(dirname -- "$(readlink -f -- "$0")")
. "$here/lib/process.sh"
. "$here/lib/tools.sh"
. "$here/lib/stand.sh"
. "$here/lib/demo.sh"
. "$here/lib/mesh.sh"

usage() {
    cat <<'END_OF_USAGE'
demo-mesh.sh            builds, starts three routers, three nats-servers and two simulated cars here, and
                        opens the console at a router that has neither car (without a terminal it waits
                        for Ctrl-C)
demo-mesh.sh --smoke    instead of the console: kills what can be killed, and shows that the cars are
                        served nevertheless; exits with 0 if they were

Listens on free ports of 127.0.0.1, 127.0.0.2 and 127.0.0.3 only, without keys. Leaves nothing behind but
the build.
END_OF_USAGE
}

smoke=
case ${1-} in
    '') ;;
    --smoke) smoke=yes ;;
    -h | --help) usage && exit ;;
    *) die 2 "no such option: $1 (see --help)" ;;
esac

# A car that dials the routers of these numbers, in this order.
start_car() { # NAME SERVICE_PORT FIRST SECOND THIRD
    launch_ours "$1" "$bin/p2p-inner" "127.0.0.$3,127.0.0.$4,127.0.0.$5" "$main_port" "$2" --name "$1" \
        --commands "$work/command" --camera "'$work/command/car.worker' camera"
    await "$1" 'link up: http://127\.0\.0\.\([1-3]\):'
}

# The console at a router that has neither car.
console() { # ARG...
    XDG_CONFIG_HOME="$work" "$bin/p2p-console" --router "127.0.0.$spare:$main_port" --log-dir "$work/logs" "$@"
}

# Each car at each of these routers, at once.
ask_all() { # NUMBER...
    for number; do
        for service_port in "$north" "$south"; do
            ask "http://127.0.0.$number:$service_port/" hello
        done
    done
}

# Asks for a car at a router until it answers, and says how long that took.
time_until_served() { # NUMBER SERVICE_PORT
    hundredths
    began=$now
    within 10 answers "http://127.0.0.$1:$2/cgi?command=hello" || fail "the car was not served by router-$1 within 10 s"
    hundredths
    echo "Its car answered at router-$1 after $(((now - began) * 10)) ms."
}

smoke() {
    step "Each car at each router"
    ask_all 1 2 3

    step "kill -9 router-$holder, which has north"
    crash "router-$holder"
    time_until_served "$spare" "$north"
    # shellcheck disable=SC2086
    ask_all $rest

    step "Starting router-$holder again"
    start_member "$holder"
    await_members
    for service_port in "$north" "$south"; do
        ready 'a car' "http://127.0.0.$holder:$service_port/cgi?command=hello"
    done

    step "kill -9 nats-$spare"
    crash "nats-$spare"
    ask_all 1 2 3

    step "kill -9 the other two nats-servers"
    for number in 1 2 3; do
        [ "$number" = "$spare" ] || crash "nats-$number"
    done
    ask_all 1 2 3

    step "Starting all three again"
    for number in 1 2 3; do
        start_nats "$number"
    done
    await_members
    ask_all 1 2 3
}

forget_settings
need curl curl
need_nats
need_cargo

step "Building"
cd "$here/.."
build p2p-router p2p-inner p2p-console sim-car load
load=$bin/load

open_work demo-mesh end_all
cd "$work"
choose_mesh_ports
north=$first_car south=$second_car

step "Starting three nats-servers and three routers"
make_mesh
# shellcheck disable=SC2119 # the script has arguments of its own
start_mesh

step "Starting two cars"
write_car "$work/command"
start_car north "$north" 1 2 3
holder=$answer
start_car south "$south" 2 1 3
other=$answer
rest=''
for number in 1 2 3; do
    [ "$number" = "$holder" ] || rest="$rest $number"
    # On a machine that is very slow one router may have both cars.
    [ "$number" = "$holder" ] || [ "$number" = "$other" ] || spare=$number
    for service_port in "$north" "$south"; do
        ready 'a car' "http://127.0.0.$number:$service_port/cgi?command=hello"
    done
done

cat <<END_OF_LIST
  router-1  127.0.0.1:$main_port    nats-1  127.0.0.1:$nats_port
  router-2  127.0.0.2:$main_port    nats-2  127.0.0.2:$nats_port
  router-3  127.0.0.3:$main_port    nats-3  127.0.0.3:$nats_port
  north     http://127.0.0.N:$north/ at each router N
  south     http://127.0.0.N:$south/ at each router N
END_OF_LIST

step "As a console at router-$spare sees them"
console list | tee "$work/list"
for name in north south; do
    grep -q "^$name *up" "$work/list" || fail "the console at router-$spare does not see $name"
done

if [ -n "$smoke" ]; then
    smoke
    step "The demo works"
    exit
fi

turn="Your turn: the console at router-$spare, which has neither car. Arrow keys drive, ? helps, q quits."
[ -t 0 ] && [ -t 1 ] || turn="Your turn, until Ctrl-C."
step "$turn"
cat <<END_OF_HINTS
In a browser: http://127.0.0.$spare:$north/
In another terminal, and then look for north again:
  kill -9 $(cat "$work/router-$holder.pid")    # router-$holder
  kill -9 $(cat "$work/nats-1.pid") $(cat "$work/nats-2.pid") $(cat "$work/nats-3.pid")    # all of NATS
END_OF_HINTS
if [ -t 0 ] && [ -t 1 ]; then
    sleep 5
    console --link north || fail "the console has failed"
    exit
fi
pause infinity
