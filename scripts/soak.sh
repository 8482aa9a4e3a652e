#!/bin/sh
# Runs the whole system for a long time under faults, and draws its memory, descriptors and answer times.
set -eu
here=$(dirname -- "$(readlink -f -- "$0")")
. "$here/lib/process.sh"
. "$here/lib/tools.sh"

usage() {
    cat <<'END'
soak.sh              an hour
soak.sh 10           ten minutes

Starts a router, a car with a camera, callers that send requests all the time, and a driver who holds
a key down and watches the camera, on loopback, in a temporary folder. Every 20 s comes another fault:
a link cut, reset, silent, stalled, late or refused; router or inner stopped; worker, guardian or
console killed; the router restarted in place. Fails if a promise is broken, or if memory, descriptors
or threads grow. Draws docs/soak.svg. See docs/reliability.md.
END
}

minutes=60
case ${1-} in
    -h | --help) usage && exit ;;
    '') ;;
    *[!0-9]* | 0* | ?????*) die 2 "how many minutes? '$1' is no such number (see --help)" ;;
    *) minutes=$1 ;;
esac
[ "$#" -le 1 ] || die 2 "one number of minutes, or none (see --help)"

forget_settings
need_cargo
cd "$here/.."
open_work soak :
say "building"
cargo test -q --release --locked -p p2p-system-tests --no-run
say "soaking for $minutes min"
P2P_SOAK_MINUTES=$minutes P2P_SOAK_CHART=$work/chart \
    cargo test -q --release --locked -p p2p-system-tests --test it -- chaos::soak --nocapture
"$(target_folder)/release/load" chart --width 560 --title "A soak of $minutes minutes: memory, descriptors, time of an answer" \
    <"$work/chart" >"$work/soak.svg"
mv "$work/soak.svg" docs/soak.svg
say "drawn: docs/soak.svg"
