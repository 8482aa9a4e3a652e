# shellcheck shell=sh
# watch.sh: asks a program whether it can do its job, ends it when it can't, and has it restart
# itself. Sourced by the start scripts; supervise.sh runs it beside the program, as a process.
#
# KEY.watch tells the kill script of it:
#
#     BOOT WATCHER_PID WATCHER_START RESTARTS REFUSALS
#     why the last restart was refused
#
# SIGUSR2 to WATCHER_PID has the program restart itself; then one of the two numbers is one more. If
# it can't be asked, the start script ends it and starts it again, as ever.

# A program that could do its job, was asked for all this time, and did not once say that it can, is
# ended: not sooner, since one that restarts itself gives running commands 30 s, and since in the storm
# after a start callers wait for their turn, 600 a second: as many inners as the unit's limit of
# descriptors allows take 55 s.
health_every=${SUPERVISE_HEALTH_EVERY:-10}
health_limit=${SUPERVISE_HEALTH_LIMIT:-90}
# One that never could since it was started has longer.
start_limit=${SUPERVISE_START_LIMIT:-300}
# So often it has to be asked at least: a machine that slept has not asked meanwhile.
health_failures=${SUPERVISE_HEALTH_FAILURES:-3}
# What it may take to end then.
ill_end_limit=${SUPERVISE_END_LIMIT:-10}
# How long a program that restarts itself may take.
in_place_limit=${SUPERVISE_END_LIMIT:-45}

watch_child() { # PROGRAM ARG...
    reload_asked='' restarts=0 refusals=0 why='' was_well='' well_at='' failures=0
    trap 'reload_asked=yes; wake' USR2
    trap 'wake; exit 0' TERM
    trap : PIPE # again: a process of a shell's own begins without its traps
    read -r watcher _ </proc/self/stat
    start_time "$watcher"
    watcher_start=$start
    note_watch
    while is_watched; do
        [ -n "$reload_asked" ] || nap "$health_every"
        if [ -n "$reload_asked" ]; then
            reload_asked='' failures=0
            restart_in_place "$@"
        else
            look_after "$@"
        fi
    done
}

# Both still run: without the start script nobody would start the program again.
is_watched() {
    still_there "$child" "$child_start" && still_there "$$" "$script_start"
}

# Sets said to what it says; and fails as it does if that is not that all is well. Where somebody has
# edited its settings it does not know of that before it is restarted, and is still where it was well.
ask_it() { # PROGRAM ARG...
    said=$("$@" health 2>&1) && code=0 || code=$?
    case "$code $said" in
        *" $well_at:"*) ;;
        3*) [ -z "$well_at" ] || ! there=$(P2P_BIND=$well_at "$@" health 2>&1) || { said=$there && code=0; } ;;
    esac
    case "$code $said" in
        '0 the router at '*' can do its job '*)
            well_at=${said#the router at } && well_at=${well_at%% *} && well_at=${well_at%:*}
            ;;
    esac
    return "$code"
}

look_after() { # PROGRAM ARG...
    clock
    asked=$now
    ask_it "$@" && code=0 || code=$?
    case $code in
        0) was_well=yes failures=0 && return ;;
        3) ;;
        # It could not be asked: settings that somebody edits, or a program without `health`.
        *) return 0 ;;
    esac
    [ "$failures" -gt 0 ] || ill_since=$asked
    failures=$((failures + 1))
    clock
    ill_for=$((now - ill_since))
    limit=$health_limit
    [ -n "$was_well" ] || limit=$start_limit
    [ "$failures" -ge "$health_failures" ] && [ "$ill_for" -ge "$limit" ] && is_watched || return 0
    say "$words has not been able to do its job for $ill_for s (${said#error: }): ending it"
    end_limit=$ill_end_limit
    end_process "$child" "$child_start"
}

restart_in_place() { # PROGRAM ARG...
    # Ended, it would not come back with these settings either.
    if ! why=$("$@" check 2>&1 >/dev/null); then
        why=$(printf %s "$why" | tr '\n' ' ')
        refuse
        return 0
    fi
    ask_it "$@" || {
        ! is_watched || kill -USR1 "$$"
        return 0
    }
    before=$said
    kill -USR2 "$child" 2>/dev/null || :
    clock
    deadline=$((now + in_place_limit))
    while is_watched; do
        # The answer says which start of the program gives it.
        if ask_it "$@" && [ "$said" != "$before" ]; then
            restarts=$((restarts + 1))
            note_watch
            return 0
        fi
        clock
        if [ "$now" -ge "$deadline" ]; then
            why="it has not done so within $in_place_limit s; see what it says"
            refuse
            return 0
        fi
        sleep 0.05
    done
}

refuse() {
    say "$words is not restarted, and goes on as it was: $why"
    refusals=$((refusals + 1))
    note_watch
}

note_watch() {
    {
        printf '%s\n' "$boot $watcher $watcher_start $restarts $refusals" "$why" >"$watch.new" &&
            mv -f -- "$watch.new" "$watch"
    } 2>/dev/null || say "cannot write $watch: the kill script will end $words to start it again"
}

# Of the start script: the program has ended.
end_watcher() {
    [ -n "$watcher" ] || return 0
    kill "$watcher" 2>/dev/null || :
    wait "$watcher" || :
    watcher=''
    rm -f -- "$watch"
}
