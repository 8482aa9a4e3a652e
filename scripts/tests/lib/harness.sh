# shellcheck shell=sh
# harness.sh: what the tests of the scripts share. Sourced by them.
#
# A test works on a copy of the scripts in a folder of its own, with a space in its name, and waits
# for what should happen rather than for a time. `done_testing` counts, cleans up and exits.

# Becomes the command, with no signal ignored: a shell can never trap one that was ignored when it
# began, as SIGINT is in a background job and SIGHUP under nohup. Call it in the background only.
exec_unignored() { # COMMAND...
    exec perl -e '$SIG{$_} = "DEFAULT" for qw(HUP INT QUIT PIPE TERM); exec { $ARGV[0] } @ARGV or die $!' "$@"
}

[ "${signals-}" = unignored ] || signals=unignored exec_unignored "$0"
unset signals

. "$(dirname -- "$0")/../lib/process.sh"
. "$(dirname -- "$0")/../lib/tools.sh"
forget_settings

tests=$(cd "$(dirname -- "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/p2p test.XXXXXX")
cp -R "$tests/.." "$work/scripts"
rm -f "$work/scripts/p2p.env"
# shellcheck disable=SC2034 # for the caller
scripts=$work/scripts
mkdir "$work/fake"
export P2P_RUN_DIR="$work/run" FAKE="$work/fake" TMPDIR="$work"
passed=0 failed=0

trap 'clean_up' EXIT
trap 'exit 1' INT TERM HUP

# Shows what `run` ran last if the command fails.
ok() { # NAME COMMAND...
    name=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
        echo "ok - $name"
    else
        failed=$((failed + 1))
        echo "not ok - $name: $*"
        [ ! -s "${out-}" ] || sed 's/^/    /' "$out"
    fi
}

eventually() { # COMMAND...
    within 30 "$@"
}

gone() { # PID
    ! start_time "$1"
}

alive() { start_time "$1"; }

not() { ! "$@"; }

says() { # FILE TEXT
    grep -qsF -- "$2" "$1"
}

# Runs a command. Sets code, and out: a file with all that it said.
run() {
    out=$work/out
    code=0
    "$@" >"$out" 2>&1 || code=$?
}

# All processes that this test started: they have its folder in their environment. But not grep.
ours() {
    for environ in $(env -u FAKE grep -lF -- "FAKE=$FAKE" /proc/[0-9]*/environ 2>/dev/null); do
        pid=${environ#/proc/}
        echo "${pid%/environ}"
    done
}

nothing_left() { [ -z "$(ours)" ]; }

clean_up() {
    code=$?
    trap '' INT TERM HUP
    [ -n "$work" ] || return
    for pid in $(ours); do kill -KILL "$pid" 2>/dev/null || :; done
    cd /
    rm -rf "$work"
    exit "$code"
}

done_testing() {
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
    exit
}
