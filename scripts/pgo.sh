#!/bin/sh
# Builds the three programs with a profile of what they do under load (profile-guided optimisation).
set -eu
here=$(dirname -- "$(readlink -f -- "$0")")
. "$here/lib/process.sh"
. "$here/lib/tools.sh"
. "$here/lib/stand.sh"
. "$here/lib/bench-stand.sh"
. "$here/lib/bench-loads.sh"

usage() {
    cat <<'END'
pgo.sh DIR    builds p2p-router, p2p-inner and p2p-console into DIR, faster than cargo build --release does

Builds everything twice. The first programs count what they do, while workers, processes, keys, TLS and a
hundred links keep them busy for half a minute, on loopback and in a temporary folder; then the compiler
makes the second ones of the same source for that.
Needs wrk, and llvm-profdata of the same LLVM as rustc: rustup component add llvm-tools, or Debian's
package llvm-NN. See docs/benchmarks.md.
END
}

case ${1-} in
    -h | --help) usage && exit ;;
    '') die 2 "a folder for the programs is missing (see --help)" ;;
    -*) die 2 "no such option: $1 (see --help)" ;;
esac
[ "$#" = 1 ] || die 2 "one folder (see --help)"

# Sets profdata.
need_profdata() {
    version=$(rustc --version --verbose | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
    for profdata in "$(rustc --print target-libdir)/../bin/llvm-profdata" "llvm-profdata-$version"; do
        ! command -v "$profdata" >/dev/null || return 0
    done
    die 1 "llvm-profdata of LLVM $version is missing: rustup component add llvm-tools, or on Debian: sudo apt install llvm-$version"
}

# With a target, what runs while it is built (build scripts, macros) is built without the flag. Sets bin.
build_with() { # FLAG PROGRAM...
    flag=$1
    shift
    for name; do
        set -- "$@" --bin "$name"
        shift
    done
    RUSTFLAGS="${RUSTFLAGS-} $flag" cargo build --release --locked --features p2p-router/mesh --target "$host" --target-dir "$built" "$@" ||
        die 1 "the build has failed, see above"
    bin=$built/$host/release
}

# The loads of bench.sh; their figures are of no use.
work_for_the_profile() {
    # A file for each process: one that several add to can't be read.
    export LLVM_PROFILE_FILE="$work/counts/%m-%p.profraw"
    warming=yes time=3
    write_commands
    start_pair router inner
    for connections in 1 16 64; do
        closed "hello-$connections" "$connections" '' "$url=hello"
        closed "worker-$connections" "$connections" '' "$url=echo&arg=hello"
    done
    start_pair_with_keys router-with-keys inner-with-keys
    for connections in 1 64; do
        closed "worker-keys-$connections" "$connections" '' "$url=echo&arg=hello" "$authorization"
    done
    port=$("$load" ports 1)
    router router-of-links "$port" --open --bind 127.0.0.1
    ready router-of-links "http://127.0.0.1:$port/healthz"
    launch cars "$bin/links" 127.0.0.1 "$port" 100 "$("$load" ports 100 --row)"
    within 30 grep -qs 'links are up' "$work/cars.log" || fail "the links did not come up"
    end_all
}

forget_settings
mkdir -p "$1"
to=$(readlink -f -- "$1")
cd "$here/.."
need_cargo
need_profdata
need wrk wrk
need curl curl
open_work pgo end_all
built=$(target_folder)/pgo host=$(rustc --print host-tuple)
step "Building programs that count"
build_with "-Cprofile-generate=$work/counts" p2p-router p2p-inner p2p-console load links echo-worker
load=$bin/load
step "Counting"
work_for_the_profile
"$profdata" merge -o "$work/profile" "$work/counts"
step "Building for what was counted"
build_with "-Cprofile-use=$work/profile" p2p-router p2p-inner p2p-console
cp "$bin/p2p-router" "$bin/p2p-inner" "$bin/p2p-console" "$to"
say "the programs are in $to"
