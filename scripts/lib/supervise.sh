# shellcheck shell=sh
# supervise.sh: keeps one program running. Sourced by the two start scripts, after watch.sh.

# Back-off: 1 s, doubling to 30 s; anew after the program has run for a minute.
pause_first=${SUPERVISE_PAUSE:-1}
pause_longest=30
ran_well=60

# Sets program to the file to run. An installed program wins over one that was built here.
find_program() { # NAME VARIABLE VALUE
    if [ -n "$3" ]; then
        program=$(command -v -- "$3") || die 1 "$2 names $3, which cannot be executed"
        return
    fi
    for program in "$(command -v "$1" || :)" "$here/../$1" "$here/../target/release/$1" "$here/../target/debug/$1"; do
        [ ! -f "$program" ] || [ ! -x "$program" ] || return 0
    done
    die 1 "no $1 found. Build it with: cargo build --release --locked (in $(cd "$here/.." && pwd)), or set $2 to the file"
}

settings_read=

# Reads p2p.env, if there is one, and exports what it sets to the program.
read_settings() {
    # For p2p.env, which names files of this folder with it.
    # shellcheck disable=SC2034
    SCRIPTS=$here
    settings=$here/p2p.env
    [ -f "$settings" ] || return 0
    say "settings from $settings"
    settings_read=$settings
    # Editors of Windows write a carriage return at the end of each line, and a byte order mark
    # before the first one.
    cr=$(printf '\r') mark=$(printf '\357\273\277')
    set -a
    if LC_ALL=C grep -q -e "$cr\$" -e "^$mark" "$settings"; then
        eval "$(LC_ALL=C sed -e "1s/^$mark//" -e "s/$cr\$//" "$settings")"
    else
        # shellcheck source=/dev/null
        . "$settings"
    fi
    set +a
}

# Not empty for a program that restarts itself on SIGUSR2 and has the subcommands `check` and `health`.
restarts_itself=

# Keeps PROGRAM running until a signal ends this script. Only one script does so for each KEY.
supervise() { # KEY WORDS PROGRAM ARG...
    key=$1 words=$2
    shift 2
    command_line=$(quoted "$@")
    open_run_dir
    state=$run_dir/$key.state
    take_lock
    start_time $$
    script_start=$start
    starts=0 child='' child_start='' stop_asked='' restart_asked='' ending='' restarting='' refused=''
    trap "trap '' TERM INT HUP USR1; ask stop" TERM INT HUP
    trap 'ask restart' USR1
    trap : PIPE # the program is kept running even if nobody reads the messages
    end_leftover
    say "running $1"
    pause=$pause_first
    while [ -z "$stop_asked" ]; do
        run_once "$@"
        [ -z "$stop_asked" ] || break
        if [ "$status" = 2 ]; then
            rm -f -- "$state" || :
            die 2 "$words ended with exit code 2: its arguments or settings are wrong, so starting it again would not help"
        fi
        if [ -n "$restart_asked" ]; then
            pause=$pause_first
            continue
        fi
        [ "$ran" -lt "$ran_well" ] || pause=$pause_first
        say "$words ended after $ran s with exit code $status; starting it again in $pause s"
        record -
        within "$pause" is_asked || :
        pause=$((pause * 2))
        [ "$pause" -le "$pause_longest" ] || pause=$pause_longest
    done
    rm -f -- "$state"
    say "$words has ended"
}

is_asked() {
    [ -n "$stop_asked$restart_asked" ]
}

# The words as eval reads them.
quoted() { # WORD...
    for word; do
        printf "'%s' " "$(printf %s "$word" | sed "s/'/'\\\\''/g")"
    done
}

take_lock() {
    # A shared lock on the folder keeps systemd-tmpfiles from removing it when it is old.
    exec 8<"$run_dir"
    flock -s 8
    exec 9>>"$run_dir/$key.lock"
    # Waits for a second, since a kill script takes the lock for a moment to see whether it is free.
    # The write sets the file's time to that of our start, so that a kill script sees what changed since.
    flock -w 1 9 && { echo >&9 || :; } && return
    holder='another start script'
    ! read_state "$state" || holder="$me with pid $s_script"
    die 1 "$words is kept running already, by $holder"
}

# A start script that was killed with -9 leaves its program running. Two programs must not run, and a
# shell can't supervise a process that is not its child, so this ends the old program cleanly.
end_leftover() {
    read_state "$state" && program_lives || return 0
    say "a start script that was killed left $s_words running (pid $s_program): ending that one first"
    end_process "$s_program" "$s_program_start"
}

# Runs the program until it ends. Sets status to its exit code, and ran to the seconds that it ran.
run_once() { # PROGRAM ARG...
    restart_asked='' refused=''
    starts=$((starts + 1))
    clock
    started=$now
    # In a session of its own, so that Ctrl-C reaches the program through this script only, as one
    # SIGTERM. The process is recorded before it becomes the program, so none runs unrecorded. It
    # closes 8 and 9, so that no process that the program leaves behind holds our locks.
    (
        trap : PIPE
        trap - TERM HUP USR1
        read -r self _ </proc/self/stat
        record "$self"
        exec setsid -- "$@" 8>&- 9>&-
    ) &
    child=$!
    ! start_time "$child" || child_start=$start
    # A signal that came before child was set has ended nothing yet.
    ! is_asked || end_child
    start_watcher
    await_child
    end_watcher
    child='' child_start=''
    clock
    ran=$((now - started))
}

# A trapped signal ends `wait` too, so it is repeated. 127 then says that the child had ended already.
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
# not end that. dash (0.5.12) gives the command during which a second trap runs within the first a wrong
# status, and Ctrl-C would end each tool that this script calls. So after a stop further signals are
# ignored, and a stop within a restart waits for the end itself.
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
    ! is_asked || [ -z "$child" ] || end_child
}

end_child() {
    if [ -n "$ending" ]; then
        await_gone "$child" "$child_start"
        return
    fi
    ending=yes
    end_process "$child" "$child_start"
    ending=
}

# Has the program restart itself. Fails if it must be ended for that.
restart_in_place() {
    [ -n "$restarts_itself" ] && [ -n "$child" ] && [ -z "$ending" ] || return 1
    # With wrong settings a new process would not start either.
    if refused=$(subcommand check 2>&1 >/dev/null); then
        refused=
        # It listens elsewhere, if its settings were edited since it was started.
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

# Whether `health` names another start of the program than before, or the program has ended.
has_restarted() {
    [ -z "$stop_asked" ] && still_there "$child" "$child_start" || return 0
    answer=$(subcommand health 2>&1) && [ "$answer" != "$before" ]
}

# Becomes a subcommand of the program, without our locks: to be called in a subshell.
subcommand() { # NAME
    eval "exec $command_line \"\$1\" 8>&- 9>&-"
}

# Writes the state. The program runs even if that fails, as on a full disk.
record() { # PROGRAM_PID or -
    program_start=-
    [ "$1" = - ] || { start_time "$1" && program_start=$start; }
    {
        printf '%s\n' "$boot $$ $script_start $1 $program_start $starts" "$words" "$settings_read" "$refused" >"$state.new" &&
            mv -f -- "$state.new" "$state"
    } 2>/dev/null || say "cannot write $state: the kill script will not see this start"
}
