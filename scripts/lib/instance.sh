# shellcheck shell=sh
# instance.sh: who is running, and how that is known. Sourced by the start and the kill scripts,
# after process.sh.
#
# One start script keeps one program running. As long as it lives it holds an exclusive flock on
# KEY.lock. The kernel takes that back however the script ends, so a held lock, and nothing else,
# says that KEY is kept running. KEY.state beside it tells by whom:
#
#     BOOT SCRIPT_PID SCRIPT_START PROGRAM_PID PROGRAM_START STARTS
#     the words for people, such as: p2p-router 8888
#     the file of settings that was read, if there was one
#
# A pid counts only together with its start time and the boot it belongs to: then one that the
# kernel gave to another process since is never taken for ours. PROGRAM_PID is - between two starts.

# One folder whatever the session: XDG_RUNTIME_DIR differs between ssh, cron and su, and then the
# kill script would not find what cron started. Sets run_dir.
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

# Sets s_boot, s_script, s_script_start, s_program, s_program_start, s_starts, s_words and
# s_settings. Fails for a file that is not there or not whole.
read_state() { # FILE
    {
        read -r s_boot s_script s_script_start s_program s_program_start s_starts &&
            read -r s_words || return 1
        # shellcheck disable=SC2034 # for restart.sh
        read -r s_settings || :
    } 2>/dev/null <"$1" || return 1
    case $s_script$s_script_start$s_starts in '' | *[!0-9]*) return 1 ;; esac
    case $s_program in -) ;; '' | *[!0-9]*) return 1 ;; esac
}

# The program that the state read last tells of.
program_lives() {
    [ "$s_boot" = "$boot" ] && [ "$s_program" != - ] && still_there "$s_program" "$s_program_start"
}

is_port() { # WORD
    case $1 in
        '' | *[!0-9]* | 0?* | ??????*) return 1 ;;
        *) [ "$1" -le 65535 ] ;;
    esac
}
