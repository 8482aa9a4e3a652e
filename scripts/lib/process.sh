# shellcheck shell=sh
# process.sh: messages, time, and ending processes. Sourced by the scripts.

me=${0##*/}

say() { printf '%s: %s\n' "$me" "$*" >&2 || :; }

die() { # EXIT_CODE SENTENCE
    exit_code=$1
    shift
    say "$*"
    exit "$exit_code"
}

# Sets now to the time since boot in hundredths of a second. Nobody sets this clock.
hundredths() {
    read -r now _ </proc/uptime
    now=${now%.*}${now#*.}
    # 0 at the front would make it octal.
    now=${now#0} now=${now#0}
}

# Sets now to the seconds since boot.
clock() {
    hundredths
    now=$((now / 100))
}

# Repeats a command until it succeeds. Fails if it has not after so many seconds.
within() { # SECONDS COMMAND...
    hundredths
    local deadline=$((now + $1 * 100))
    shift
    until "$@"; do
        hundredths
        [ "$now" -lt "$deadline" ] || return 1
        # A second Ctrl-C ends this sleep too: no reason to give up.
        sleep 0.05 8>&- 9>&- || :
    done
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

is_gone() { # PID START
    ! still_there "$1" "$2"
}

# How many seconds a program may take to end after SIGTERM: it gives running commands 30.
end_limit=${SUPERVISE_END_LIMIT:-45}

# SIGTERM, and SIGKILL if it has not ended within end_limit.
end_process() { # PID START
    still_there "$1" "$2" || return 0
    kill -TERM "$1" 2>/dev/null || :
    await_gone "$1" "$2"
}

await_gone() { # PID START
    # Asked twice: see ask in supervise.sh for why one answer can be wrong.
    ! within "$end_limit" is_gone "$1" "$2" && still_there "$1" "$2" || return 0
    say "pid $1 has not ended within $end_limit s: killing it"
    kill -KILL "$1" 2>/dev/null || :
    within 5 is_gone "$1" "$2" || is_gone "$1" "$2" || die 1 "pid $1 does not end, not even by SIGKILL"
}
