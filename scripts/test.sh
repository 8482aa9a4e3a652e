#!/bin/sh
# Everything that has to pass: format, lints, docs, tests, licences, scripts, demo.
set -eu
here=$(dirname -- "$(readlink -f -- "$0")")
. "$here/lib/process.sh"
. "$here/lib/tools.sh"

usage() {
    cat <<'END'
test.sh            all checks and tests, as CI runs them; stops at the first that fails

As root on Debian it installs the tools that are missing, and tests the Debian packages on a Debian that
it downloads. With CI=true no check is left out for a missing tool: that is a failure, and cargo-deny is
built if it is missing. With CI_PACKAGES=1 it makes and tests the packages of a release, too, which takes long.
END
}

case ${1-} in
    '') ;;
    -h | --help) usage && exit ;;
    *) die 2 "no such option: $1 (see --help)" ;;
esac

passed=0 failed=0
open_work test :

# Runs a command under a headline, prints how long it took, and ends the script if it fails. Adds up what
# test runners report: cargo test, cargo nextest, the tests of the scripts.
check() { # NAME COMMAND...
    headline=$1
    shift
    step "$headline"
    clock
    began=$now
    # A pipe has the status of its last command only.
    { "$@" 2>&1 || : >"$work/failed"; } | tee "$work/output"
    clock
    # shellcheck disable=SC2046
    set -- $(awk '
        /^test result: |^ *Summary \[|^[0-9]+ passed, [0-9]+ failed$/ {
            for (i = 2; i <= NF; i++) {
                if ($i ~ /^passed/) passed += $(i - 1)
                if ($i ~ /^failed/) failed += $(i - 1)
            }
        }
        END { print passed + 0, failed + 0 }' "$work/output")
    passed=$((passed + $1)) failed=$((failed + $2))
    if [ -e "$work/failed" ]; then
        [ "$failed" -gt 0 ] || failed=1
        say "failed: $headline"
        echo "$passed passed, $failed failed"
        exit 1
    fi
    echo "-- $headline: $((now - began)) s"
}

need_component() { # SUBCOMMAND COMPONENT
    ! cargo "$1" --version >/dev/null 2>&1 || return 0
    ! command -v rustup >/dev/null || rustup component add "$2" || :
    cargo "$1" --version >/dev/null 2>&1 || die 1 "cargo $1 is missing. Install it with: rustup component add $2"
}

# The executable scripts of a shell, each with what it sources.
lint_scripts() {
    find scripts .ci -type f -perm -u+x -exec grep -lZ '^#!.*sh$' {} + | xargs -0 shellcheck -a
}

# Side by side, since they wait most of the time. What each printed comes in one piece.
test_scripts() {
    tests=
    for file in scripts/tests/*.sh; do
        name=${file##*/}
        "$file" >"$work/$name" 2>&1 &
        tests="$tests $!:$name"
    done
    status=0
    for test in $tests; do
        result=passed
        wait "${test%%:*}" || result=failed status=1
        printf '\n-- %s\n' "${test#*:}"
        cat "$work/${test#*:}"
        echo "-- ${test#*:} has $result"
    done
    return "$status"
}

forget_settings
cd "$here/.."
if [ "${CI:-}" = true ]; then
    # The tests of the scripts need programs, not fast ones.
    export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
fi
need_cargo
need_component fmt rustfmt
need_component clippy clippy
need curl curl
need shellcheck shellcheck
need perl perl
need chromium chromium
need chromedriver chromium-driver
need faketime faketime
need nginx nginx-light
need haproxy haproxy
need nats-server nats-server
if [ "$(id -u)" = 0 ]; then
    need mmdebstrap mmdebstrap
    need dh debhelper
fi

check 'format' cargo fmt --all --check
check 'scripts (shellcheck)' lint_scripts
check 'lints (clippy)' cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
check 'lints without the mesh (clippy)' cargo clippy -p p2p-router --all-targets --locked -- -D warnings
check 'docs' env RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --all-features --no-deps --document-private-items --locked

if ! cargo deny --version >/dev/null 2>&1 && [ "${CI:-}" = true ]; then
    check 'building cargo-deny' cargo install --locked cargo-deny
fi
if cargo deny --version >/dev/null 2>&1; then
    check 'dependencies (cargo-deny)' cargo deny --locked --config scripts/deny.toml check --hide-inclusion-graph bans licenses sources
else
    say 'dependencies: not checked, since cargo-deny is missing (cargo install --locked cargo-deny)'
fi

if cargo nextest --version >/dev/null 2>&1; then
    check 'tests' cargo nextest run --workspace --all-features --locked
    check 'tests in the docs' cargo test --workspace --all-features --doc --locked
else
    check 'tests' cargo test --workspace --all-features --locked
fi
check 'programs for the tests of the scripts' build p2p-router p2p-inner p2p-console sim-car load links echo-worker floor
check 'tests of the scripts' test_scripts
check 'demo' scripts/demo.sh --smoke
check 'demo of a mesh' scripts/demo-mesh.sh --smoke

printf '\n%s passed, %s failed\n' "$passed" "$failed"
