# shellcheck shell=sh
# watch.sh: asks a router whether it can do its job, and ends it when it can't: the start script then
# starts it again. Sourced by the start scripts; supervise.sh runs it beside the program, as a process.

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

watcher=''

start_watcher() { # PROGRAM ARG...
    [ -n "$restarts_itself" ] || return 0
    # Closed by the process itself: where a function is redirected, it keeps the locks aside.
    (
        exec 8>&- 9>&-
        watch_child "$@"
    ) &
    watcher=$!
}

watch_child() { # PROGRAM ARG...
    was_well='' well_at='' failures=0 napper=''
    # The sleep does not outlive its script.
    trap '[ -z "$napper" ] || kill "$napper" 2>/dev/null; exit 0' TERM
    trap : PIPE # again: a process of a shell's own begins without its traps
    while is_watched; do
        sleep "$health_every" &
        napper=$!
        wait "$napper" || :
        napper=''
        look_after "$@"
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

# The program has ended.
end_watcher() {
    [ -n "$watcher" ] || return 0
    kill "$watcher" 2>/dev/null || :
    wait "$watcher" || :
    watcher=''
}
