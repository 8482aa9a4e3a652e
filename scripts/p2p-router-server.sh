#!/bin/sh
# Starts p2p-router and starts it again when it dies.
set -eu
here=$(dirname -- "$(readlink -f -- "$0")")
. "$here/lib/process.sh"
. "$here/lib/instance.sh"
. "$here/lib/watch.sh"
. "$here/lib/supervise.sh"

usage() {
    cat <<'END'
p2p-router-server.sh                        the port from p2p.env beside this script, else 8888
p2p-router-server.sh 8888
p2p-router-server.sh 8888 --open --bind 127.0.0.1
nohup p2p-router-server.sh 8888 >router.out 2>&1 &

Starts p2p-router [PORT] and starts it again when it dies: after 1 s, then 2 s, up to 30 s. A router
that hangs is ended, and so started again: one that `p2p-router health` has called well before, but not
for 90 s, or that has not become well within 5 minutes.
The router prints its first keys at a terminal only. Without one, its log says how to make them.
Arguments after PORT are passed on to the router. Only one of these scripts runs for each port. Ctrl-C
or SIGTERM ends the script and its router; p2p-router-server-kill.sh restarts the router or ends both.

P2P_ROUTER_BIN   the program to run, instead of the p2p-router on PATH or the one built here
END
}

for argument; do
    case $argument in -h | --help) usage && exit ;; esac
done

# Positional arguments win over p2p.env, which is not even read then.
case ${1-} in
    '' | -*)
        read_settings
        port=${ROUTER_PORT:-8888}
        ;;
    *)
        port=$1
        shift
        ;;
esac
is_port "$port" || die 2 "PORT is a number from 0 to 65535, and '$port' is not"

find_program p2p-router P2P_ROUTER_BIN "${P2P_ROUTER_BIN:-}"
# At port 0, which is any, only the router's log says where it can be asked.
[ "$port" = 0 ] || restarts_itself=yes
supervise "router-$port" "p2p-router $port" "$program" "$port" "$@"
