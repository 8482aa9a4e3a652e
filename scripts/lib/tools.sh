# shellcheck shell=sh
# tools.sh: what the demos, bench.sh, soak.sh, picture.sh and test.sh need of the machine. Sourced by
# them, after process.sh.

step() { # SENTENCE
    printf '\n== %s\n' "$*"
}

# What the caller has set for his own router or inner must not change a demo or a test.
forget_settings() {
    for name in $(env | sed -n 's/^\(P2P_[A-Za-z0-9_]*\)=.*/\1/p'); do
        unset "$name"
    done
    unset RUST_LOG
}

# Fails with what to install, unless it can install that itself: as root, where there is apt.
need() { # TOOL PACKAGE
    ! command -v "$1" >/dev/null || return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "$1 is missing: installing $2"
        {
            apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$2"
        } >&2 || :
    fi
    command -v "$1" >/dev/null || die 1 "$1 is missing. On Debian: sudo apt install $2"
}

need_cargo() {
    PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    command -v cargo >/dev/null ||
        die 1 "cargo is missing. Install Rust from https://rustup.rs, or on Debian 13 and later: sudo apt install rustup && rustup default stable"
    need cc build-essential
}

# The folder that cargo builds into.
target_folder() {
    cargo metadata --locked --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/'
}

# Builds these programs by one call of cargo, with the same features whichever they are: one build does
# for all scripts. Sets bin to their folder.
build() { # PROGRAM...
    for name; do
        set -- "$@" --bin "$name"
        shift
    done
    cargo build --release --locked --features p2p-router/mesh "$@" || die 1 "the build has failed, see above"
    # shellcheck disable=SC2034 # for the caller
    bin=$(target_folder)/release
}

# Makes the temporary folder $work. It is removed when the script ends, by a signal too, after
# CLEAN_UP has run.
open_work() { # NAME CLEAN_UP
    work=$(mktemp -d "${TMPDIR:-/tmp}/p2prouter-$1.XXXXXX")
    clean_up=$2
    trap close_work EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 141' PIPE
    trap 'exit 143' TERM
}

close_work() {
    code=$?
    trap '' HUP INT PIPE TERM
    "$clean_up" || :
    rm -rf "$work"
    exit "$code"
}
