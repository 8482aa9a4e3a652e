# shellcheck shell=sh
# watch.sh: asks a router whether it can do its job, and ends it when it can't: the start script then
# starts it again. Sourced by the start scripts, before supervise.sh, which runs it beside the program
# as a process of its own.

health_every=${SUPERVISE_HEALTH_EVERY:-10}
# A router that was well is ended when no answer for so long says that it is. Not sooner: one that
# restarts itself gives running commands 30 s, and after a start callers wait for their turn, 600 a
# second: as many inners as the unit's limit of descriptors allows take 55 s.
health_limit=${SUPERVISE_HEALTH_LIMIT:-90}
# A router that has not been well since its start has longer.
start_limit=${SUPERVISE_START_LIMIT:-300}
# At least so many answers must say so: a machine that slept has not asked meanwhile.
health_failures=${SUPERVISE_HEALTH_FAILURES:-3}
# How long an ill router may take to end.
ill_end_limit=${SUPERVISE_END_LIMIT:-10}

watcher=''

start_watcher() {
    [ -n "$restarts_itself" ] || return 0
    # Closed by the process itself: a redirection of the function would keep the locks open.
    (
        exec 8>&- 9>&-
        watch_child
    ) &
    watcher=$!
}

watch_child() {
    well_at='' failures=0 napper=''
    # So that the sleep ends with the process.
    trap '[ -z "$napper" ] || kill "$napper" 2>/dev/null; exit 0' TERM
    trap : PIPE # a process of the shell begins without the shell's traps
    while is_watched; do
        sleep "$health_every" &
        napper=$!
        wait "$napper" || :
        napper=''
        check_health
    done
}

# Whether router and start script still run: without the script nobody would start the router again.
is_watched() {
    still_there "$child" "$child_start" && still_there "$$" "$script_start"
}

# Sets code to 0 if the router is well, and to 3 if not; otherwise it could not be asked. Sets said to
# the answer. A router whose settings were edited since its start listens where it was well last.
ask_health() {
    said=$(subcommand health 2>&1) && code=0 || code=$?
    case "$code $said" in
        0*) well_at=$(printf %s "$said" | sed 's/^the router at \([^ ]*\):[0-9]* .*/\1/') ;;
        3*" $well_at:"*) ;;
        3*) [ -z "$well_at" ] || ! (export P2P_BIND="$well_at" && subcommand health) >/dev/null 2>&1 || code=0 ;;
    esac
}

check_health() {
    clock
    asked=$now
    ask_health
    case $code in
        0) failures=0 && return ;;
        3) ;;
        # Somebody edits the settings, or the program has no `health`.
        *) return 0 ;;
    esac
    [ "$failures" -gt 0 ] || ill_since=$asked
    failures=$((failures + 1))
    clock
    ill_for=$((now - ill_since))
    limit=$health_limit
    [ -n "$well_at" ] || limit=$start_limit
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
