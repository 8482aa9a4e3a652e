#!/bin/sh
# Makes the recording of the console that the README shows, from the real programs.
set -eu
here=$(dirname -- "$(readlink -f -- "$0")")
. "$here/lib/process.sh"
. "$here/lib/tools.sh"

usage() {
    cat <<'END'
picture.sh    runs demo.sh in a terminal of its own (tmux), drives its car with the arrow keys, and
              writes what the console showed to docs/console.svg
END
}

case ${1-} in
    '') ;;
    -h | --help) usage && exit ;;
    *) die 2 "no such option: $1 (see --help)" ;;
esac

# A tmux server of its own, with nothing of the caller's settings.
tm() {
    tmux -f /dev/null -S "$work/tmux" "$@"
}

close_terminal() {
    tm kill-server 2>/dev/null
}

shows() { # PATTERN
    tm capture-pane -t demo -p | grep -q -e "$1"
}

await() { # PATTERN
    within 20 shows "$1" || { tm capture-pane -t demo -p >&2 && die 1 "the screen never showed: $1"; }
}

# What a held key sends: repeats, every 33 ms.
hold() { # KEY SECONDS
    repeats=$(($2 * 30))
    while [ "$repeats" -gt 0 ]; do
        tm send-keys -t demo "$1"
        sleep 0.033
        repeats=$((repeats - 1))
    done
}

# Takes the screen into the recording.
take() { # SECONDS
    screens=$((screens + 1))
    tm capture-pane -t demo -e -p -N >"$work/$screens"
    set -- "$1:$work/$screens"
    shown="$shown $1"
}

forget_settings
cd "$here/.."
need tmux tmux
need_cargo

build p2p-router p2p-inner p2p-console sim-car recording
open_work picture close_terminal

screens=0 shown=''
tm new-session -d -s demo -x 100 -y 30 scripts/demo.sh
await VIEW
sleep 3
take 2
hold Up 2
take 2
hold Right 1
take 1.2
hold Up 1
take 1.2
await ARMED
take 1.6
tm send-keys -t demo 3
await 'Runs, newest'
take 2.5
tm send-keys -t demo 1
await 'RTT p50'
take 2.5

mkdir -p docs
# shellcheck disable=SC2086 # each word is a screen
"$bin/recording" $shown >"$work/console.svg"
mv "$work/console.svg" docs/console.svg
say "docs/console.svg: $screens screens"
