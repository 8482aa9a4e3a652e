#!/bin/sh
# Restarts what p2p-inner-server.sh keeps running, or ends it for good.
set -eu
here=$(dirname -- "$(readlink -f -- "$0")")
. "$here/lib/process.sh"
. "$here/lib/instance.sh"
. "$here/lib/restart.sh"

restart_main inner 9000 'service port' "$@"
