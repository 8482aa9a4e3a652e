#!/bin/sh
# Builds, starts a router and an inner with a simulated car on loopback, and drives it through them.
set -eu
here=$(dirname -- "$(readlink -f -- "$0")")
. "$here/lib/process.sh"
. "$here/lib/tools.sh"
. "$here/lib/stand.sh"
. "$here/lib/demo.sh"

usage() {
    cat <<'END'
demo.sh            builds, starts a router and a simulated car here, drives it a bit, and opens the
                   console (without a terminal it waits for Ctrl-C)
demo.sh --smoke    the same without console and waiting; exits with 0 if everything worked

Listens on free ports of 127.0.0.1 only, without keys. Leaves nothing behind but the build.
END
}

smoke=
case ${1-} in
    '') ;;
    --smoke) smoke=yes ;;
    -h | --help) usage && exit ;;
    *) die 2 "no such option: $1 (see --help)" ;;
esac

forget_settings
need curl curl
need_cargo

step "Building"
cd "$here/.."
build p2p-router p2p-inner p2p-console sim-car

open_work demo end_all
cd "$work"

step "Starting the public side: p2p-router 0 --open --bind 127.0.0.1"
launch_ours p2p-router "$bin/p2p-router" 0 --open --bind 127.0.0.1
await p2p-router 'listening on [^ ]*:\([0-9][0-9]*\)'
port=$answer
echo "It takes links on port $port."

write_car "$work/command"

step "Starting the side behind NAT: p2p-inner 127.0.0.1 $port 0 --name car"
launch_ours p2p-inner "$bin/p2p-inner" 127.0.0.1 "$port" 0 --name car \
    --commands "$work/command" --camera "'$work/command/car.worker' camera"
await p2p-inner 'link up: \(http://[^ ]*\)'
url=$answer
echo "The car is reachable at $url"
# The link may be there before the worker is.
ready "the car's worker" "${url}cgi?command=where"

step "Running commands on the car, from outside"
ask "$url" hello
[ "$(cat "$work/body")" = 'hello from car' ] || fail "hello should have answered: hello from car"
ask "$url" status
place=$(sed -n 's/.* at //p' "$work/body")
ask "$url" 'forward&for=1200'
ask "$url" 'back&for=600'
ask "$url" status
[ "$(sed -n 's/.* at //p' "$work/body")" != "$place" ] || fail "the car should have moved"
ask "$url" stop

if [ -n "$smoke" ]; then
    step "The demo works"
    exit
fi

# At a terminal the demo ends in the console, where the arrow keys drive the car.
if [ -t 0 ] && [ -t 1 ]; then
    step "Your turn: the console. Arrow keys drive, Space stops, ? helps, q quits."
    echo "In a browser: $url"
    sleep 2
    XDG_CONFIG_HOME="$work" "$bin/p2p-console" --router "127.0.0.1:$port" --link car --log-dir "$work/logs" ||
        fail "the console has failed"
    exit
fi

step "Your turn, until Ctrl-C. In a browser or another terminal:"
echo "  curl '${url}cgi?command=forward'"
echo "  curl '${url}commands'"
while all_live; do
    sleep 1
done
fail "a program has ended"
