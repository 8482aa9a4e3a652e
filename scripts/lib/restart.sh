# shellcheck shell=sh
# restart.sh: restarts or ends what the start scripts keep running. Sourced by the two kill scripts,
# after instance.sh. It signals start scripts: only they know for sure whether their program lives.

# How long a new program may take until it listens, or until it is connected to the router.
up_limit=${SUPERVISE_UP_LIMIT:-10}

restart_usage() {
    cat <<END
$me                       restart all of yours cleanly, now
$me $1                  only those with that $2
$me --every 6h $1       now, and every six hours until Ctrl-C (units s m h d)
$me --stop $1           end it for good, its start script too

$(restart_ways)
What the start script was given, as arguments and in p2p.env, stays as it was: for something else end
it with --stop, and start it again. Says what came of it, and exits with 1 if something is not up
again.
END
}

restart_ways() {
    if [ "$kind" = inner ]; then
        echo "Commands that run may finish first (30 s); the start script then starts p2p-inner again at once."
        return
    fi
    cat <<END
The router becomes the program that is in its file by now, with its --config file and certificates as
they are by now. Commands that run may finish first (30 s); until then, and until the car is back,
who asks gets a 503, which says when to ask again. No port is closed meanwhile.
If it would not start, it says why, and goes on as it was. One that does not answer is ended, and
started again by its start script.
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
            --every=*) every=${1#*=} && seconds "$every" ;;
            --every)
                [ "$#" -ge 2 ] || die 2 "--every needs a time, such as 6h"
                every=$2 && seconds "$every"
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
    trap 'stop_asked=yes; wake; [ -n "$napper" ] || exit 0' INT TERM HUP
    while [ -z "$stop_asked" ]; do
        each_instance || :
        nap "$interval"
    done
}

# Sets interval.
seconds() { # TIME, such as 90, 90s, 15m, 6h or 1d
    case $1 in
        *s) unit=1 ;;
        *m) unit=60 ;;
        *h) unit=3600 ;;
        *d) unit=86400 ;;
        *) unit=1 ;;
    esac
    number=${1%[smhd]}
    case $number in
        '' | *[!0-9]* | 0* | ??????*) die 2 "--every needs a time such as 90s, 15m, 6h or 1d, and '$1' is none" ;;
    esac
    interval=$((number * unit))
}

# Fails if one of them is not as it was asked to be, or if there is none.
each_instance() {
    case $kind in
        router) pattern="router-${port:-*}" ;;
        inner) pattern="inner-${port:-*}-*" ;;
    esac
    met='' failed=''
    # shellcheck disable=SC2086,SC2231
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
    if ! held; then
        without_script
    elif [ "$s_boot" != "$boot" ] || ! still_there "$s_script" "$s_script_start"; then
        say "$s_words is being started just now: nothing done"
        return 1
    elif [ -n "$stop" ]; then
        stop_it
    else
        restart_it
    fi
}

# Whether a start script holds the lock.
held() {
    ! flock -n -s "$lock" true
}

# The start script is gone: it was killed, or the machine was restarted.
without_script() {
    if ! program_lives; then
        flock -n "$lock" rm -f -- "$state" "${state%.state}.watch" || :
        say "$s_words does not run, and no start script either"
        [ -n "$stop" ]
    elif [ -n "$stop" ]; then
        end_process "$s_program" "$s_program_start"
        flock -n "$lock" rm -f -- "$state" "${state%.state}.watch" || :
        say "$s_words has ended (its start script was gone)"
    else
        say "$s_words runs on as pid $s_program, but its start script is gone: start that again, it takes over, or end the program with --stop"
        return 1
    fi
}

stop_it() {
    say "$s_words: ending it"
    script=$s_script script_start=$s_script_start
    kill -TERM "$script"
    clock
    deadline=$((now + end_limit + 10))
    while still_there "$script" "$script_start"; do
        clock
        [ "$now" -lt "$deadline" ] || {
            say "$s_words: its start script (pid $script) does not end"
            return 1
        }
        sleep 0.05
    done
    say "$s_words has ended, and its start script"
}

# Sets w_pid, w_start, w_restarts, w_refusals and w_why. Fails if nobody watches the program.
read_watch() {
    {
        read -r w_boot w_pid w_start w_restarts w_refusals && read -r w_why
    } 2>/dev/null <"${state%.state}.watch" || return 1
    case $w_pid$w_restarts$w_refusals in '' | *[!0-9]*) return 1 ;; esac
    [ "$w_boot" = "$boot" ] && still_there "$w_pid" "$w_start"
}

restart_it() {
    say "$s_words: restarting it"
    [ -z "$s_settings" ] || [ -z "$(find -L "$s_settings" -newer "$lock" 2>/dev/null)" ] ||
        say "$s_words: $s_settings has changed since the start script read it: that counts once it is ended (--stop) and started again"
    script=$s_script script_start=$s_script_start before=$s_starts old=$s_program
    restarts='' refusals=''
    if read_watch && kill -USR2 "$w_pid"; then
        restarts=$w_restarts refusals=$w_refusals watcher=$w_pid
    else
        kill -USR1 "$script"
    fi
    clock
    deadline=$((now + 2 * end_limit + 10))
    while :; do
        sleep 0.05
        if [ -n "$restarts" ] && read_watch && [ "$w_pid" = "$watcher" ]; then
            [ "$w_restarts" = "$restarts" ] || {
                say "$s_words is up again: pid $old as before, and its ports were open all the time"
                return 0
            }
            [ "$w_refusals" = "$refusals" ] || {
                say "$s_words is not restarted, and goes on as it was: $w_why"
                return 1
            }
        fi
        still_there "$script" "$script_start" || {
            say "$s_words: its start script has ended; see what it said"
            return 1
        }
        clock
        [ "$now" -lt "$deadline" ] || {
            say "$s_words: pid $old still has not been replaced"
            return 1
        }
        read_state "$state" && [ "$s_starts" -gt "$before" ] && break
    done
    is_new_one_up
}

is_new_one_up() {
    clock
    deadline=$((now + up_limit))
    while program_lives; do
        if serves "$s_program"; then
            say "$s_words is up again: pid $s_program, before $old"
            return 0
        fi
        clock
        [ "$now" -lt "$deadline" ] || {
            say "$s_words runs again as pid $s_program, but $not_up after $up_limit s; see what it says"
            return 1
        }
        sleep 0.05
        read_state "$state" || :
    done
    say "$s_words was started, and has ended again; see what its start script says"
    return 1
}

# Whether the process listens on its port (router), or has a connection (inner).
serves() { # PID
    case $kind in
        router) not_up='does not listen' want=0A hex=$(printf ':%04X' "${s_words##* }") ;;
        inner) not_up='has no connection to the router' want=01 hex= ;;
    esac
    [ "$hex" != :0000 ] || hex= # port 0: any
    # Our programs show their files to root only, since they know keys. To others it has to do that
    # somebody listens on the router's port, and that the inner runs.
    any=
    [ -r "/proc/$1/fd" ] || any=1
    [ -z "$any" ] || [ -n "$hex" ] || return 0
    {
        ls -l "/proc/$1/fd" || :
        cat "/proc/$1/net/tcp" "/proc/$1/net/tcp6"
    } 2>/dev/null | awk -v want="$want" -v hex="$hex" -v any="$any" '
        match($0, /socket:\[[0-9]+\]/) { own[substr($0, RSTART + 8, RLENGTH - 9)] }
        $4 == want && (any || $10 in own) && (hex == "" || substr($2, length($2) - 4) == hex) { up = 1 }
        END { exit !up }'
}
