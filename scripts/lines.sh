#!/bin/sh
# Counts the product lines of each crate: crates/*/src without tests and simulation.
#   scripts/lines.sh          a line for each crate
#   scripts/lines.sh --files  a line for each file, longest first
set -eu
cd "$(dirname -- "$(readlink -f -- "$0")")/.."

# Left out: files of tests and simulation, and a file's own `#[cfg(test)] mod … { … }`.
count() { # FILE...
    awk '
        function done() { if (name != "") print lines, name }
        FNR == 1 { done(); name = FILENAME; lines = 0; test = 0; inside = 0 }
        inside { if (/^}/) inside = 0; next }
        test && /^(pub(\([a-z]+\))? )?mod [a-z_]+ \{/ { lines -= 1; inside = 1; test = 0; next }
        { test = /^#\[cfg\(test\)\]/; lines += 1 }
        END { done() }' "$@"
}

product_files() {
    find crates/*/src -name '*.rs' ! -name tests.rs ! -name testing.rs ! -name simulated.rs \
        ! -name simulation.rs ! -name mesh_tests.rs ! -path '*/tests/*' ! -path '*/*_tests/*' ! -path '*/simulation/*' | sort
}

# shellcheck disable=SC2046 # no file name has a space
case ${1-} in
    '') count $(product_files) | awk '
        { split($2, part, "/"); crate[part[2]] += $1; all += $1 }
        END { for (name in crate) print crate[name], name; print all, "in all" }' | sort -n ;;
    --files) count $(product_files) | sort -rn ;;
    *) sed -n '2,4s/^# *//p' "$0" && exit 2 ;;
esac
