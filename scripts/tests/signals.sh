#!/bin/sh
# Tests that a test of the scripts passes with signals ignored, as in the background or under nohup.
set -eu
. "$(dirname -- "$0")/lib/harness.sh"

(trap '' HUP INT QUIT PIPE TERM && exec "$scripts/tests/demo.sh") >"$work/demo" 2>&1 &
wait $! || grep '^not ok' "$work/demo" || :
ok 'demo.sh passes in the background, under nohup' says "$work/demo" ' passed, 0 failed'
done_testing
