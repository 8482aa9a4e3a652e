#!/bin/sh
# Starts p2p-inner and starts it again when it dies.
set -eu
here=$(dirname -- "$(readlink -f -- "$0")")
. "$here/lib/process.sh"
. "$here/lib/instance.sh"
. "$here/lib/watch.sh"
. "$here/lib/supervise.sh"

usage() {
    cat <<'END'
p2p-inner-server.sh                         all three from p2p.env beside this script
p2p-inner-server.sh router.example.org 8888 9000
p2p-inner-server.sh router.example.org 8888 9000 --name car --commands /home/pi/command
nohup p2p-inner-server.sh router.example.org 8888 9000 >inner.out 2>&1 &

Starts p2p-inner ROUTER_HOST ROUTER_PORT SERVICE_PORT and starts it again when it dies: after 1 s,
then 2 s, up to 30 s. ROUTER_HOST may be several, with commas between them. Arguments after the three are passed on to p2p-inner. Only one of these scripts
runs for the same three. Ctrl-C or SIGTERM ends the script and its inner; p2p-inner-server-kill.sh
restarts the inner or ends both.

P2P_INNER_BIN    the program to run, instead of the p2p-inner on PATH or the one built here
END
}

for argument; do
    case $argument in -h | --help) usage && exit ;; esac
done

# Positional arguments win over p2p.env, which is not even read then.
case ${1-} in
    '' | -*)
        read_settings
        if [ -z "${ROUTER_HOST:-}" ] || [ -z "${SERVICE_PORT:-}" ]; then
            die 2 "which router? Give ROUTER_HOST ROUTER_PORT SERVICE_PORT, or set them in p2p.env: cp '$here/p2p.env.example' '$here/p2p.env'"
        fi
        host=$ROUTER_HOST port=${ROUTER_PORT:-8888} service=$SERVICE_PORT
        ;;
    *)
        [ "$#" -ge 3 ] || die 2 "give all three, ROUTER_HOST ROUTER_PORT SERVICE_PORT, or none to use p2p.env"
        host=$1 port=$2 service=$3
        shift 3
        ;;
esac
# p2p-inner takes a list with blanks, too.
host=$(printf %s "$host" | sed 's/ *, */,/g')
case $host in
    *[[:space:][:cntrl:]/]*) die 2 "ROUTER_HOST is a host name or address, or several with commas between them, without a scheme or path, and '$host' is not" ;;
esac
is_port "$port" || die 2 "ROUTER_PORT is a number from 0 to 65535, and '$port' is not"
is_port "$service" || die 2 "SERVICE_PORT is a number from 0 to 65535, and '$service' is not"

find_program p2p-inner P2P_INNER_BIN "${P2P_INNER_BIN:-}"
# The key is a file's name, which has 255 bytes at most.
place=$host
[ "${#host}" -le 100 ] || place=$(printf %s "$host" | cksum | tr ' ' -)
# The service port comes first in the key: the kill script finds inners by it.
supervise "inner-$service-$place-$port" "p2p-inner $host $port $service" "$program" "$host" "$port" "$service" "$@"
