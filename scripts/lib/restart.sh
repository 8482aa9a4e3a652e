# shellcheck shell=sh
# restart.sh: restarts or ends what the start scripts keep running. Sourced by the two kill scripts,
# after instance.sh. It signals the start scripts only: what they start is theirs to end.

# How long a new program may take until it listens, or until it is connected to the router.
up_limit=${SUPERVISE_UP_LIMIT:-10}

restart_usage() { # EXAMPLE_PORT WHAT_THE_PORT_IS
    if [ "$kind" = inner ]; then
        how="Running commands may finish first (30 s). Then the start script starts p2p-inner again at once."
    else
        how="The router becomes the program that is now in its file, with its --config file and certificates as
they are now. Running commands may finish first (30 s). Until then, and until the car is back, requests
are answered with 503 and the time to ask again. No port is closed meanwhile. If the router would not
start, it says why and goes on as it was. A router that does not answer is ended, and started again by
its start script."
    fi
    cat <<END
$me                       restarts each $program that a start script of yours runs
$me $1                  only those with this $2
$me --every 6h $1       now, and again every six hours until Ctrl-C (units s m h d)
$me --stop $1           ends it for good, with its start script

$how

The arguments of the start script and what it read from p2p.env stay as they were. To change them, end
it with --stop and start it again. Says what came of it. Exits with 1 if something is not up again.
END
}

# kind: router or inner, the first word of its keys.
restart_main() { # KIND EXAMPLE_PORT WHAT_THE_PORT_IS ARG...
    kind=$1 program=p2p-$1 example=$2 meaning=$3
    shift 3
    port='' every='' stop=''
    while [ "$#" -gt 0 ]; do
        case $1 in
            -h | --help) restart_usage "$example" "$meaning" && exit ;;
            --stop) stop=yes ;;
            --every=*) every=${1#*=} && check_time "$every" ;;
            --every)
                [ "$#" -ge 2 ] || die 2 "--every needs a time, such as 6h"
                every=$2 && check_time "$every"
                shift
                ;;
            -*) die 2 "no such option: $1 (see --help)" ;;
            *)
                [ -z "$port" ] || die 2 "give one PORT, or none for all"
                is_port "$1" || die 2 "PORT is a number from 0 to 65535, and '$1' is not"
                port=$1
                ;;
        esac
        shift
    done
    [ -z "$every" ] || [ -z "$stop" ] || die 2 "--every and --stop exclude each other"
    open_run_dir
    [ -n "$every" ] || {
        each_instance
        exit
    }
    trap 'kill "${!-}" 2>/dev/null || :; exit 0' INT TERM HUP
    while :; do
        each_instance || :
        sleep "$every" &
        wait "$!"
    done
}

# As sleep takes it: 90, 90s, 15m, 6h or 1d.
check_time() { # WORD
    case ${1%[smhd]} in
        '' | *[!0-9]* | 0* | ??????*) die 2 "--every needs a time such as 90s, 15m, 6h or 1d, and '$1' is none" ;;
    esac
}

# Fails if one of them is not as it was asked to be, or if there is none.
each_instance() {
    pattern=$kind-${port:-*}
    [ "$kind" = router ] || pattern="$pattern-*"
    met='' failed=''
    # shellcheck disable=SC2231 # the pattern is one
    for state in "$run_dir"/$pattern.state; do
        [ -f "$state" ] || continue
        met=yes
        one_instance || failed=yes
    done
    [ -n "$met" ] || {
        say "no $program${port:+ for $meaning $port} is kept running by a start script of yours"
        return 1
    }
    [ -z "$failed" ]
}

one_instance() {
    lock=${state%.state}.lock
    read_state "$state" || {
        say "$state cannot be read: nothing done"
        return 1
    }
    # Whether a start script holds the lock.
    if flock -n -s "$lock" true; then
        without_script
    elif [ "$s_boot" != "$boot" ] || is_gone "$s_script" "$s_script_start"; then
        say "$s_words is being started just now: nothing done"
        return 1
    elif [ -n "$stop" ]; then
        stop_it
    else
        restart_it
    fi
}

# The start script is gone: it was killed, or the machine was restarted.
without_script() {
    if program_lives && [ -z "$stop" ]; then
        say "$s_words runs on as pid $s_program, but its start script is gone: start that again, and it replaces the program, or end the program with --stop"
        return 1
    fi
    ended="does not run, and no start script either"
    if program_lives; then
        end_process "$s_program" "$s_program_start"
        ended="has ended (its start script was gone)"
    fi
    flock -n "$lock" rm -f -- "$state" || :
    say "$s_words $ended"
    [ -n "$stop" ]
}

stop_it() {
    say "$s_words: ending it"
    kill -TERM "$s_script"
    within $((end_limit + 10)) is_gone "$s_script" "$s_script_start" || {
        say "$s_words: its start script (pid $s_script) does not end"
        return 1
    }
    say "$s_words has ended, and its start script"
}

restart_it() {
    say "$s_words: restarting it"
    [ -z "$s_settings" ] || [ -z "$(find -L "$s_settings" -newer "$lock" 2>/dev/null)" ] ||
        say "$s_words: $s_settings has changed since the start script read it: that counts once it is ended (--stop) and started again"
    script=$s_script script_start=$s_script_start before=$s_starts old=$s_program
    kill -USR1 "$script"
    # It asks the router twice, waits for its restart, and ends it.
    if ! within $((2 * end_limit + 30)) is_answered; then
        say "$s_words: pid $old still has not been replaced"
    elif is_gone "$script" "$script_start"; then
        say "$s_words: its start script has ended; see what it said"
    elif [ -n "$s_refused" ]; then
        say "$s_words is not restarted, and goes on as it was: $s_refused"
    elif [ "$s_program" = "$old" ]; then
        say "$s_words is up again: pid $old as before, and its ports were open all the time"
        return
    elif ! within "$up_limit" is_up; then
        say "$s_words runs again as pid $s_program, but $not_up after $up_limit s; see what it says"
    elif ! program_lives; then
        say "$s_words was started, and has ended again; see what its start script says"
    else
        say "$s_words is up again: pid $s_program, before $old"
        return
    fi
    return 1
}

# Whether the start script has done as it was asked, or has ended.
is_answered() {
    is_gone "$script" "$script_start" || { read_state "$state" && [ "$s_starts" -gt "$before" ]; }
}

# Whether the new program is up, or has ended.
is_up() {
    read_state "$state" || :
    ! program_lives || serves "$s_program"
}

# Whether a router listens on its port, or an inner has a connection.
serves() { # PID
    if [ "$kind" = router ]; then
        not_up='does not listen' hex=$(printf %04X "${s_words##* }")
        # At port 0, which is any, nobody can tell.
        [ "$hex" = 0000 ] || grep -qs "^ *[0-9]*: [0-9A-F]*:$hex [0-9A-F:]* 0A " "/proc/$1/net/tcp" "/proc/$1/net/tcp6"
        return
    fi
    not_up='has no connection to the router'
    # p2p-inner knows a key, so it shows its files to root only. To others it has to do that it runs.
    [ -r "/proc/$1/fd" ] || return 0
    {
        ls -l "/proc/$1/fd" || :
        cat "/proc/$1/net/tcp" "/proc/$1/net/tcp6"
    } 2>/dev/null | awk '
        match($0, /socket:\[[0-9]+\]/) { own[substr($0, RSTART + 8, RLENGTH - 9)] }
        $4 == "01" && $10 in own { up = 1 }
        END { exit !up }'
}
