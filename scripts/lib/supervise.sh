# shellcheck shell=sh
# supervise.sh: keeps one program running. Sourced by the two start scripts, after instance.sh.

# Back-off: 1 s, doubling to 30 s; anew after the program has run for a minute.
pause_first=${SUPERVISE_PAUSE:-1}
pause_longest=30
ran_well=60

# Sets program to the file to run: an installed one rather than one that was built here.
find_program() { # NAME VARIABLE VALUE
    if [ -n "$3" ]; then
        program=$(command -v -- "$3") || die 1 "$2 names $3, which cannot be executed"
        return
    fi
    for program in "$(command -v "$1" || :)" "$here/../target/release/$1" "$here/../target/debug/$1"; do
        [ ! -f "$program" ] || [ ! -x "$program" ] || return 0
    done
    die 1 "no $1 found. Build it with: cargo build --release --locked (in $(cd "$here/.." && pwd)), or set $2 to the file"
}

settings_read=

# Reads p2p.env, if there is one, and exports what it sets to the program.
read_settings() {
    # p2p.env uses it for files of this folder.
    # shellcheck disable=SC2034
    SCRIPTS=$here
    settings=$here/p2p.env
    [ -f "$settings" ] || return 0
    say "settings from $settings"
    settings_read=$settings
    set -a
    # shellcheck source=/dev/null
    . "$settings"
    set +a
}

# Set for a program that restarts itself on SIGUSR2, and has the subcommands `check` and `health`.
restarts_itself=

# Keeps PROGRAM running until a signal ends this script. There is only one for each KEY.
supervise() { # KEY WORDS PROGRAM ARG...
    key=$1 words=$2
    shift 2
    command_line=$(quoted "$@")
    open_run_dir
    state=$run_dir/$key.state
    # For watch.sh.
    # shellcheck disable=SC2034
    watch=$run_dir/$key.watch
    take_lock
    start_time $$
    script_start=$start
    starts=0 child='' child_start='' ending='' restarting='' refused='' watcher=''
    trap 'ask stop' TERM INT HUP
    trap 'ask restart' USR1
    trap : PIPE # nobody reads our messages: no reason to leave the program alone
    end_leftover
    say "running $1"
    pause=$pause_first
    while [ -z "$stop_asked" ]; do
        run_once "$@"
        [ -z "$stop_asked" ] || break
        if [ "$status" = 2 ]; then
            rm -f -- "$state"
            die 2 "$words ended with exit code 2: its arguments or settings are wrong, so starting it again would not help"
        fi
        if [ -n "$restart_asked" ]; then
            pause=$pause_first
            continue
        fi
        [ "$ran" -lt "$ran_well" ] || pause=$pause_first
        say "$words ended after $ran s with exit code $status; starting it again in $pause s"
        record -
        nap "$pause"
        pause=$((pause * 2))
        [ "$pause" -le "$pause_longest" ] || pause=$pause_longest
    done
    rm -f -- "$state"
    say "$words has ended"
}

# The words as eval reads them.
quoted() { # WORD...
    for word; do
        printf "'%s' " "$(printf %s "$word" | sed "s/'/'\\\\''/g")"
    done
}

take_lock() {
    # A shared lock on the folder tells systemd-tmpfiles to leave it alone, however old it gets.
    exec 8<"$run_dir"
    flock -s 8
    exec 9>>"$run_dir/$key.lock"
    # A second's patience: a kill script holds it for a moment to see whether it is free.
    # Written to, so that its time is that of our start: a kill script sees what changed since.
    flock -w 1 9 && { echo >&9 || :; } && return
    holder='another start script'
    ! read_state "$state" || holder="$me with pid $s_script"
    die 1 "$words is kept running already, by $holder"
}

# A start script that was killed with -9 leaves its program behind, serving. Two must not run, and
# a shell cannot take over what is not its child, so that one ends first: cleanly, as ever.
end_leftover() {
    read_state "$state" && program_lives || return 0
    say "a start script that was killed left $s_words running (pid $s_program): ending that one first"
    end_process "$s_program" "$s_program_start"
}

# Runs the program until it ends. Sets status, and ran: for how many seconds.
run_once() { # PROGRAM ARG...
    restart_asked='' refused=''
    starts=$((starts + 1))
    clock
    started=$now
    # A session of its own: Ctrl-C reaches the program through this script only, as one SIGTERM.
    # It is recorded before it is the program, so it never runs unrecorded. Without 8 and 9 no
    # process that it leaves behind can hold our locks.
    (
        trap : PIPE
        read -r self _ </proc/self/stat
        record "$self"
        exec setsid -- "$@" 8>&- 9>&-
    ) &
    child=$!
    ! start_time "$child" || child_start=$start
    # A signal that came before child was known has ended nothing yet.
    [ -z "$stop_asked$restart_asked" ] || end_child
    if [ -n "$restarts_itself" ]; then
        # Closed by the process itself: where a function is redirected, it keeps the locks aside.
        (
            exec 8>&- 9>&-
            watch_child "$@"
        ) &
        watcher=$!
    fi
    await_child
    end_watcher
    child='' child_start=''
    clock
    ran=$((now - started))
}

# A trapped signal ends `wait` too, so it is repeated; 127 then says that it had been the child.
await_child() {
    status=
    while :; do
        interrupted=
        wait "$child" && waited=0 || waited=$?
        [ "$waited" = 127 ] && [ -n "$status" ] || status=$waited
        [ -n "$interrupted" ] || return 0
    done
}

# Does what a signal asks for. The main loop could not: a signal that comes just before `wait` would
# not end that.
ask() { # stop | restart
    interrupted=yes
    if [ "$1" = stop ]; then
        stop_asked=yes
    else
        [ -z "$restarting" ] || return 0
        restarting=yes
        restart_in_place && restart_asked='' || restart_asked=yes
        restarting=
    fi
    [ -n "$stop_asked$restart_asked" ] || return 0
    wake
    [ -z "$child" ] || end_child
}

end_child() {
    # A second signal while the child ends only adds what it asks for.
    [ -z "$ending" ] || return 0
    ending=yes
    end_process "$child" "$child_start"
    ending=
}

# Has the program restart itself. Fails if it must be ended for that.
restart_in_place() {
    [ -n "$restarts_itself" ] && [ -n "$child" ] && [ -z "$ending" ] || return 1
    # One that was ended would not start with these settings either.
    if refused=$(subcommand check 2>&1 >/dev/null); then
        refused=
        # It is elsewhere, if its settings were edited since it was started.
        before=$(subcommand health 2>&1) || case $before in
            *'no router answers at '*) before= ;;
            *) return 1 ;;
        esac
        kill -USR2 "$child" 2>/dev/null || :
        if ! within "$end_limit" has_restarted; then
            [ -n "$before" ] || return 1
            refused="it has not done so within $end_limit s; see what it says"
        fi
        still_there "$child" "$child_start" || return 0
    fi
    refused=$(printf %s "$refused" | tr '\n' ' ')
    [ -z "$refused" ] || say "$words is not restarted, and goes on as it was: $refused"
    starts=$((starts + 1))
    record "$child"
}

# Whether `health` names another start of the program than before, or it has ended.
has_restarted() {
    [ -z "$stop_asked" ] && still_there "$child" "$child_start" || return 0
    answer=$(subcommand health 2>&1) && [ "$answer" != "$before" ]
}

# In a process of its own, which does not hold our locks.
subcommand() { # NAME
    eval "exec $command_line \"\$1\" 8>&- 9>&-"
}

# A state that cannot be written (a full disk) must not keep the program from running.
record() { # PROGRAM_PID or -
    program_start=-
    [ "$1" = - ] || { start_time "$1" && program_start=$start; }
    {
        printf '%s\n' "$boot $$ $script_start $1 $program_start $starts" "$words" "$settings_read" "$refused" >"$state.new" &&
            mv -f -- "$state.new" "$state"
    } 2>/dev/null || say "cannot write $state: the kill script will not see this start"
}
