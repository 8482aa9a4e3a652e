# shellcheck shell=sh
# stand.sh: programs that the demos and bench.sh start on loopback and end with themselves. Sourced by
# them, after process.sh and tools.sh.

started=''

fail() { # SENTENCE
    for log in "$work"/*.log; do
        [ ! -s "$log" ] || { printf '\n-- %s said:\n' "$(basename "$log" .log)" && tail -n 20 "$log"; } >&2
    done
    die 1 "$*"
}

# Runs a program in the background, with nothing of the caller's settings. Its own session keeps
# Ctrl-C from it: end_all ends it, once. Sets pid, and writes it into $work/NAME.pid.
launch() { # NAME PROGRAM ARG...
    name=$1
    shift
    : >"$work/$name.log" # there at once, for who waits for what it says
    env XDG_CONFIG_HOME="$work" XDG_STATE_HOME="$work" TMPDIR="$work" \
        setsid -- "$@" </dev/null >"$work/$name.log" 2>&1 &
    pid=$!
    start_time "$pid" || fail "$name has ended"
    started="$started $pid:$start"
    echo "$pid" >"$work/$name.pid"
}

# p2p-router or p2p-inner, all of whose files are in $work.
launch_ours() { # NAME PROGRAM ARG...
    launch "$@" --log-dir "$work/logs" --state-dir "$work/$1"
}

all_live() {
    for one in $started; do
        still_there "${one%:*}" "${one#*:}" || return 1
    done
}

end_all() {
    for one in $started; do
        is_gone "${one%:*}" "${one#*:}" || kill -TERM "${one%:*}" 2>/dev/null || :
    done
    for one in $started; do
        end_process "${one%:*}" "${one#*:}"
    done
    started=''
}

# A sleep that ends with the script.
pause() { # SECONDS
    launch pause sleep "$1"
    wait "$pid"
}

# Waits until somebody answers with 200.
ready() { # NAME URL [HEADER]
    within 30 answers "$2" "${3-}" || fail "$1 did not answer $2 within 30 s"
}

answers() { # URL [HEADER]
    curl -q --noproxy '*' -skf --max-time 2 -o /dev/null ${2:+-H "$2"} "$1"
}
