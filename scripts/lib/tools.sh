# shellcheck shell=sh
# tools.sh: what demo.sh and test.sh need of the machine. Sourced by them.

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
