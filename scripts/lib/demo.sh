# shellcheck shell=sh
# demo.sh: a simulated car, and callers of it. Sourced by demo.sh and demo-mesh.sh, after stand.sh.

# Waits until a program has said something. Sets answer to what the pattern holds of it.
await() { # NAME PATTERN
    within 30 has_said "$@" || fail "$1 did not get ready within 30 s"
}

has_said() { # NAME PATTERN
    answer=$(sed -n "s|.*$2.*|\\1|p" "$work/$1.log" | head -n 1)
    [ -n "$answer" ] || { all_live || fail "$1 has ended" && false; }
}

# The car's folder: its worker, a plain file that stops the car whatever becomes of the worker, and a
# command that is just a script.
write_car() { # FOLDER
    mkdir "$1"
    cp "$bin/sim-car" "$1/car.worker"
    cp "$here/commands/hello" "$1/hello"
    printf '#!/bin/sh\nexec ./car.worker stop\n' >"$1/stop"
    chmod 755 "$1" "$1"/*
}

# Runs a command as anyone would.
ask() { # URL COMMAND
    echo "\$ curl '${1}cgi?command=$2'"
    status=$(curl -q --noproxy '*' -sS --max-time 30 -o "$work/body" -w '%{http_code}' "${1}cgi?command=$2") ||
        fail "curl could not reach ${1}cgi?command=$2"
    cat "$work/body"
    [ "$status" = 200 ] || fail "the command $2 was answered with status $status"
}
