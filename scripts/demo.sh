#!/bin/sh
# Builds, starts a router and an inner with a simulated car on loopback, and drives it through them.
set -eu
here=$(dirname -- "$(readlink -f -- "$0")")
. "$here/lib/process.sh"
. "$here/lib/tools.sh"

usage() {
    cat <<'END'
demo.sh            build, start a router and a simulated car here, drive it a bit, open the console
                   (without a terminal: wait for Ctrl-C)
demo.sh --smoke    the same without waiting; exits with 0 if all of it worked

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

step() { # SENTENCE
    printf '\n== %s\n' "$*"
}

fail() { # SENTENCE
    for log in "$work"/*.log; do
        [ ! -s "$log" ] || { printf '\n-- %s said:\n' "$(basename "$log" .log)" && cat "$log"; } >&2
    done
    die 1 "$*"
}

clean_up() {
    code=$?
    trap '' INT TERM HUP PIPE
    wake
    end_process "$inner" "$inner_start"
    end_process "$router" "$router_start"
    rm -rf "$work"
    exit "$code"
}

# Runs a program in the background. It gets nothing of the caller's set-up, and the car's state
# goes where all goes that is removed in the end. Its own session keeps Ctrl-C from it: it is ended
# by clean_up, once.
launch() { # PROGRAM ARG...
    program=$1
    shift
    : >"$work/$program.log"
    env XDG_CONFIG_HOME="$work" XDG_STATE_HOME="$work" TMPDIR="$work" \
        setsid -- "$target/release/$program" "$@" --log-dir "$work/logs" --state-dir "$work/$program" \
        </dev/null 2>"$work/$program.log" &
    start_time $! || :
}

# Waits until a program has said something. Sets answer to what the pattern holds of it.
await() { # PROGRAM PID START PATTERN
    clock
    deadline=$((now + 30))
    while :; do
        answer=$(sed -n "s|.*$4.*|\\1|p" "$work/$1.log" | head -n 1)
        [ -z "$answer" ] || return 0
        still_there "$2" "$3" || fail "$1 has ended"
        clock
        [ "$now" -lt "$deadline" ] || fail "$1 did not get ready within 30 s"
        sleep 0.05
    done
}

# The link may be there before the worker has begun to serve.
await_worker() {
    clock
    deadline=$((now + 30))
    until curl -q --noproxy '*' -fsS --max-time 30 -o "$work/body" "${url}cgi?command=where" 2>/dev/null; do
        still_there "$inner" "$inner_start" || fail "p2p-inner has ended"
        clock
        [ "$now" -lt "$deadline" ] || fail "the car's worker did not get ready within 30 s"
        sleep 0.05
    done
}

# Runs a command as anyone would.
ask() { # COMMAND
    echo "\$ curl '${url}cgi?command=$1'"
    status=$(curl -q --noproxy '*' -sS --max-time 30 -o "$work/body" -w '%{http_code}' "${url}cgi?command=$1") ||
        fail "curl could not reach ${url}cgi?command=$1"
    cat "$work/body"
    [ "$status" = 200 ] || fail "the command $1 was answered with status $status"
}

forget_settings
need curl curl
need_cargo

step "Building (cargo build --release --locked)"
cd "$here/.."
cargo build --release --locked --bin p2p-router --bin p2p-inner --bin p2p-console --bin sim-car ||
    die 1 "the build has failed, see above"
target=$(cargo metadata --locked --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')

inner='' inner_start='' router='' router_start=''
work=$(mktemp -d "${TMPDIR:-/tmp}/p2prouter-demo.XXXXXX")
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
trap 'exit 141' PIPE
cd "$work"

step "Starting the public side: p2p-router 0 --open --bind 127.0.0.1"
launch p2p-router 0 --open --bind 127.0.0.1
router=$! router_start=$start
await p2p-router "$router" "$router_start" 'listening on [^ ]*:\([0-9][0-9]*\)'
port=$answer
echo "It takes links on port $port."

# The car's folder: its worker, a plain file that stops it whatever becomes of the worker, and a
# command that is just a script.
mkdir "$work/command"
cp "$target/release/sim-car" "$work/command/car.worker"
cp "$here/commands/hello" "$work/command/hello"
printf '#!/bin/sh\nexec ./car.worker stop\n' >"$work/command/stop"
chmod 755 "$work/command" "$work/command"/*

step "Starting the side behind NAT: p2p-inner 127.0.0.1 $port 0 --name car"
set -- --commands "$work/command" --camera "'$work/command/car.worker' camera"
launch p2p-inner 127.0.0.1 "$port" 0 --name car "$@"
inner=$! inner_start=$start
await p2p-inner "$inner" "$inner_start" 'link up: \(http://[^ ]*\)'
url=$answer
echo "The car is reachable at $url"
await_worker

step "Running commands on the car, from outside"
ask hello
[ "$(cat "$work/body")" = 'hello from car' ] || fail "hello should have answered: hello from car"
ask status
place=$(sed -n 's/.* at //p' "$work/body")
ask 'forward&for=1200'
ask 'back&for=600'
ask status
[ "$(sed -n 's/.* at //p' "$work/body")" != "$place" ] || fail "the car should have moved"
ask stop

if [ -n "$smoke" ]; then
    step "The demo works"
    exit
fi

# With a terminal the demo ends in the console, where the arrow keys drive the car.
if [ -t 0 ] && [ -t 1 ]; then
    step "Your turn: the console. Arrow keys drive, Space stops, ? helps, q quits."
    echo "In a browser: $url"
    nap 2
    XDG_CONFIG_HOME="$work" "$target/release/p2p-console" --router "127.0.0.1:$port" --link car --log-dir "$work/logs" ||
        fail "the console has failed"
    exit
fi

step "Your turn, until Ctrl-C. In a browser or another terminal:"
echo "  curl '${url}cgi?command=forward'"
echo "  curl '${url}commands'"
while still_there "$router" "$router_start" && still_there "$inner" "$inner_start"; do
    nap 1
done
fail "a program has ended"
