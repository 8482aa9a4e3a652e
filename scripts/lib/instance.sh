# shellcheck shell=sh
# instance.sh: which programs run, and how that is known. Sourced by the start and the kill scripts,
# after process.sh.
#
# One start script keeps one program running. It holds an exclusive flock on KEY.lock as long as it
# lives. The kernel releases the lock however the script ends, so the lock alone says whether KEY is
# kept running. KEY.state beside it says by which processes:
#
#     BOOT SCRIPT_PID SCRIPT_START PROGRAM_PID PROGRAM_START STARTS
#     a name for people, such as: p2p-router 8888
#     the file of settings that was read, if there was one
#     why the last restart was refused, if it was
#
# A pid counts only with its start time and its boot: so a process that was given the pid later is
# never taken for ours. PROGRAM_PID is - between two starts. STARTS counts restarts in place and
# refused ones too.

# Sets run_dir: one folder for all sessions. XDG_RUNTIME_DIR differs between ssh, cron and su, and
# then the kill script would not find what cron started.
open_run_dir() {
    for tool in flock setsid; do
        command -v "$tool" >/dev/null || die 1 "needs $tool: install util-linux"
    done
    uid=$(id -u)
    run_dir=${P2P_RUN_DIR:-/tmp/p2prouter-$uid}
    mkdir -m 700 -- "$run_dir" 2>/dev/null || :
    # stat does not follow a link: a folder or link that somebody else put there is refused.
    found=$(LC_ALL=C stat -c '%u %a %F' -- "$run_dir" 2>/dev/null) || found='not there'
    [ "$found" = "$uid 700 directory" ] ||
        die 1 "$run_dir must be a folder of your own with mode 700, and is: $found. Remove it, or set P2P_RUN_DIR to a folder of your own"
    read -r boot </proc/sys/kernel/random/boot_id
}

# Sets s_boot, s_script, s_script_start, s_program, s_program_start, s_starts, s_words, s_settings and
# s_refused. Fails for a file that is missing or not whole.
# shellcheck disable=SC2034 # for restart.sh
read_state() { # FILE
    s_settings='' s_refused=''
    {
        read -r s_boot s_script s_script_start s_program s_program_start s_starts && read -r s_words &&
            { ! read -r s_settings || read -r s_refused || :; }
    } 2>/dev/null <"$1" || return 1
    case $s_script$s_script_start$s_starts in '' | *[!0-9]*) return 1 ;; esac
    case $s_program in -) ;; '' | *[!0-9]*) return 1 ;; esac
}

# Whether the program of the state that was read last still runs.
program_lives() {
    [ "$s_boot" = "$boot" ] && [ "$s_program" != - ] && still_there "$s_program" "$s_program_start"
}

is_port() { # WORD
    case $1 in
        '' | *[!0-9]* | 0?* | ??????*) return 1 ;;
        *) [ "$1" -le 65535 ] ;;
    esac
}
