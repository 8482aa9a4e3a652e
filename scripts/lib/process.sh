# shellcheck shell=sh
# process.sh: messages, time, and processes that are told to end. Sourced by the scripts.

me=${0##*/}

say() { printf '%s: %s\n' "$me" "$*" >&2 || :; }

die() { # EXIT_CODE SENTENCE
    exit_code=$1
    shift
    say "$*"
    exit "$exit_code"
}

# Seconds since boot, as now: a clock that nobody sets.
clock() {
    read -r now _ </proc/uptime
    now=${now%.*}
}

# Sleeps, but for what a signal asked for already; the signal's trap calls wake, so that no sleep
# outlives the script.
stop_asked='' restart_asked='' reload_asked='' napper=''
nap() { # SECONDS
    napper=soon
    sleep "$1" 8>&- 9>&- &
    napper=$!
    [ -z "$stop_asked$restart_asked$reload_asked" ] || wake
    wait "$napper" || :
    napper=
}

wake() {
    case $napper in
        '' | soon) ;;
        *) kill "$napper" 2>/dev/null || : ;;
    esac
}

# Sets start to the start time of the process, in ticks since boot. Fails if it is gone or a zombie.
start_time() { # PID
    start=
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    # The name in brackets may hold anything, so count from behind it.
    # shellcheck disable=SC2086
    set -- ${stat##*) }
    [ "$#" -ge 20 ] || return 1
    case $1 in Z | X | x) return 1 ;; esac
    start=${20}
}

# A pid alone is not enough: the kernel gives it to another process some day.
still_there() { # PID START
    [ -n "$2" ] && start_time "$1" && [ "$start" = "$2" ]
}

# How many seconds a program may take that was told to end: it gives running commands 30.
end_limit=${SUPERVISE_END_LIMIT:-45}

# SIGTERM, and SIGKILL for what has not ended within end_limit.
end_process() { # PID START
    still_there "$1" "$2" || return 0
    kill -TERM "$1" 2>/dev/null || :
    clock
    end_by=$((now + end_limit))
    killed=
    while still_there "$1" "$2"; do
        clock
        if [ "$now" -ge "$end_by" ]; then
            [ -z "$killed" ] || die 1 "pid $1 does not end, not even by SIGKILL"
            say "pid $1 has not ended within $end_limit s: killing it"
            kill -KILL "$1" 2>/dev/null || :
            killed=yes
            end_by=$((now + 5))
        fi
        # Ctrl-C, pressed again, ends this sleep too: no reason to give up.
        sleep 0.05 8>&- 9>&- || :
    done
}
