# shellcheck shell=sh
# mesh.sh: routers of one mesh on loopback, and their nats-servers. Sourced by demo-mesh.sh and bench.sh,
# after stand.sh.
#
# Number N of each has the address 127.0.0.N, and the same ports as the others, as if it had a host of
# its own. Each router knows the nats-server beside it, and no other.

need_nats() {
    PATH=$PATH:/usr/sbin
    need nats-server nats-server
}

# Sets the ports, each free on every address: those of each host, and of two cars.
choose_mesh_ports() {
    # shellcheck disable=SC2046
    set -- $("$load" ports 5 --on 0.0.0.0)
    # shellcheck disable=SC2034 # for the caller
    main_port=$1 nats_port=$2 cluster_port=$3 first_car=$4 second_car=$5
}

start_nats() { # NUMBER
    launch "nats-$1" nats-server --addr "127.0.0.$1" --port "$nats_port" --name "nats-$1" \
        --cluster_name p2p --cluster "nats://127.0.0.$1:$cluster_port" \
        --routes "nats://127.0.0.1:$cluster_port,nats://127.0.0.2:$cluster_port,nats://127.0.0.3:$cluster_port"
}

# Makes the secret of the mesh, and gives each router that, and what else is in $work/mesh.
make_mesh() {
    "$bin/p2p-router" mesh new --state-dir "$work/mesh" 2>"$work/mesh.log" || fail "no mesh could be made"
    for number in 1 2 3; do
        mkdir "$work/router-$number"
        cp -p "$work/mesh"/* "$work/router-$number"
    done
}

# For a mesh with keys and TLS: '' and https.
mesh_open=--open mesh_scheme=http

start_member() { # NUMBER [ARG...]
    number=$1
    shift
    # shellcheck disable=SC2086
    launch_ours "router-$number" "$bin/p2p-router" "$main_port" $mesh_open --bind "127.0.0.$number" \
        --mesh "nats://127.0.0.$number:$nats_port" --mesh-address "127.0.0.$number:$main_port" "$@"
}

# A figure of a router's own.
metric() { # NUMBER NAME
    curl -q --noproxy '*' -skf --max-time 2 "$mesh_scheme://127.0.0.$1:$main_port/metrics" | sed -n "s/^p2p_router_$2 //p"
}

# Whether each router is connected to NATS, and knows the others.
know_members() {
    for number in 1 2 3; do
        [ "$(metric "$number" mesh_members)" = 3 ] && [ "$(metric "$number" mesh_bus_up)" = 1 ] || return 1
    done
}

# Starts three of each, and waits until they have found each other.
# shellcheck disable=SC2120 # bench.sh has arguments
start_mesh() { # [ARG...]
    for host in 1 2 3; do
        start_nats "$host"
        start_member "$host" "$@"
    done
    await_members
}

await_members() {
    within 30 know_members || fail "the routers have not found each other within 30 s"
}

# Kills a program, as a crash does.
crash() { # NAME
    read -r pid <"$work/$1.pid"
    kill -KILL "$pid"
    wait "$pid" 2>/dev/null || :
    left=''
    for one in $started; do
        [ "${one%:*}" = "$pid" ] || left="$left $one"
    done
    started=$left
}
