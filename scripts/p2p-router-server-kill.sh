#!/bin/sh
# Restarts what p2p-router-server.sh keeps running, or ends it for good.
set -eu
here=$(dirname -- "$(readlink -f -- "$0")")
. "$here/lib/process.sh"
. "$here/lib/instance.sh"
. "$here/lib/restart.sh"

restart_main router 8888 'main port' "$@"
