# shellcheck shell=sh
# bench-mesh.sh: what it costs to go through another router, and what becomes of the cars of a router that
# dies. Sourced by bench.sh, after mesh.sh, bench-loads.sh and bench-links.sh.
#
# A car is at one router, its holder. Callers ask that directly, or the next one, which passes their requests
# on.

measure_mesh() {
    choose_mesh_ports
    step "Starting three routers of a mesh, with keys and TLS"
    write_commands
    mesh_open='' mesh_scheme=https
    for role in link drive; do
        new_key "mesh-$role" "$role" mesh
    done
    authorization="Authorization: Bearer $(cut -d _ -f 1-3 "$work/mesh-drive.key")"
    make_mesh
    start_mesh -q --allow-plain-http
    inner car 127.0.0.1,127.0.0.2,127.0.0.3 "$main_port" "$first_car" --name car \
        --commands "$work/commands" --max-runs 128 --key-file "$work/mesh-link.key" \
        --camera "'$bin/sim-car' camera --size 640x480 --rate 30"
    car=$pid
    await_car
    find_holder
    start_relay_to_car
    mesh_loads
    # Not in a mere try.
    [ "$rounds" = 1 ] || kill_holders $(((rounds - 1) * 5))
    mesh_viewers
    stop_nats
    end_all
    mesh_links
}

car_at() { # NUMBER
    answers "http://127.0.0.$1:$first_car/cgi?command=echo" "$authorization"
}

await_car() {
    for number in 1 2 3; do
        within 30 car_at "$number" || fail "the car was not served by router-$number within 30 s"
    done
}

# Sets holder, and other: the number of a router that has the car, and of one that does not.
find_holder() {
    for holder in 1 2 3; do
        other=$((holder % 3 + 1))
        [ "$(metric "$holder" links)" != 1 ] || return 0
    done
    fail "no router has the car"
}

# What any program in between costs: bytes in, bytes out, without TLS and HTTP. Sets between and relayed.
start_relay_to_car() {
    # shellcheck disable=SC2046
    set -- $("$load" ports 1)
    between=http://127.0.0.1:$1/cgi
    launch relay-to-car "$load" relay "127.0.0.1:$1" "127.0.0.$holder:$first_car"
    relayed=$pid
    ready 'the relay' "$between?command=echo" "$authorization"
}

mesh_loads() {
    read -r direct <"$work/router-$holder.pid"
    read -r through <"$work/router-$other.pid"
    [ -z "$programs" ] || {
        start_pair without-mesh without-mesh-inner
        unmeshed=$url unmeshed_hops=$hops
        start_base
    }
    warming=yes time=1 && one_round_of_mesh
    warming='' time=$seconds
    for round in $(seq "$rounds"); do
        step "Mesh, round $round of $rounds"
        one_round_of_mesh
    done
    [ -z "$docs" ] || latency_through_a_hop
}

# Through a hop, the CPU time is that of the router that passes on, and of the one that has the car.
one_round_of_mesh() {
    for scheme in http https; do
        for connections in 1 64; do
            closed "direct-$scheme-$connections" "$connections" "$direct $car" \
                "$scheme://127.0.0.$holder:$first_car/cgi?command=echo&arg=hello" "$authorization"
            closed "hop-$scheme-$connections" "$connections" "$through $direct" \
                "$scheme://127.0.0.$other:$first_car/cgi?command=echo&arg=hello" "$authorization"
        done
    done
    for connections in 1 64; do
        closed "between-$connections" "$connections" "$relayed $direct" "$between?command=echo&arg=hello" "$authorization"
    done
    [ -z "$programs" ] || {
        closed without-mesh-64 64 "$unmeshed_hops" "$unmeshed=echo&arg=hello"
        closed base-without-mesh-64 64 "$base_hops" "$base=echo&arg=hello"
    }
}

# For the picture.
latency_through_a_hop() {
    for round in 1 2 3; do
        step "Latency through a hop by rate, round $round of 3"
        for rate in 500 1000 2000 5000 10000 15000 20000 25000 30000; do
            for number in "$holder" "$other"; do
                way=direct
                [ "$number" = "$holder" ] || way=hop
                open_loop "rate-$way-$rate" "$rate" "127.0.0.$number:$first_car" '/cgi?command=echo&arg=hello' "$authorization"
            done
        done
    done
}

# Kills the router that has the car, and asks another one for it until it answers.
kill_holders() { # TIMES
    step "Killing the router that has the car, $1 times"
    for _ in $(seq "$1"); do
        # A car whose link ends within 10 s goes to another router at once.
        pause 11
        find_holder
        hundredths
        began=$now
        crash "router-$holder"
        within 30 car_at "$other" || fail "the car was not served by router-$other within 30 s"
        hundredths
        echo "$((now - began))" >>"$work/kills"
        start_member "$holder" -q --allow-plain-http
        await_members
        await_car
    done
    figure killed p99_us "$(p99 "$work/kills")"
}

# In microseconds, of a file's hundredths of a second.
p99() { # FILE
    sort -n "$1" | awk '{ all[NR] = $1 } END { at = int(0.99 * NR + 0.99); print all[at] * 10000 }'
}

# What the viewers of a camera at another router cost the one that has the car: there is one stream between the two.
mesh_viewers() {
    find_holder
    read -r member <"$work/router-$holder.pid"
    window=$((seconds * 5))
    for viewers in 1 50; do
        step "Viewers of a camera at another router: $viewers"
        for viewer in $(seq "$viewers"); do
            launch "viewer-$viewer" curl -q --noproxy '*' -sfN -o /dev/null -H "$authorization" \
                "http://127.0.0.$other:$first_car/video"
        done
        within 30 has_viewers || fail "$viewers viewers did not come within 30 s"
        pause 2
        figure "viewers-$viewers" streams "$(metric "$holder" viewers)"
        before=$(cpu_time "$member")
        pause "$window"
        figure "viewers-$viewers" cpu_percent "$(awk "BEGIN { print ($(cpu_time "$member") - $before) / 10 / $window }")"
        for viewer in $(seq "$viewers"); do
            crash "viewer-$viewer"
        done
    done
}

has_viewers() {
    [ "$(metric "$other" viewers)" = "$viewers" ]
}

# Asks through a hop at a constant rate, while all of NATS is killed.
stop_nats() {
    step "Killing all nats-servers under load"
    find_holder
    launch nats-load "$load" open "127.0.0.$other:$first_car" '/cgi?command=echo' \
        --rate 200 --seconds 10 --header "$authorization"
    asking=$pid
    pause 3
    for number in 1 2 3; do
        crash "nats-$number"
    done
    wait "$asking" || fail "the open loop has failed"
    figure nats-down changed "$(sed -n 's/.* failed=//p' "$work/nats-load.log")"
}

# Each number of links has a mesh of its own, without TLS as for the idle links of one router.
mesh_links() {
    mesh_open=--open mesh_scheme=http
    allow_links
    # Of all files that a router may have open, ports of cars elsewhere get an eighth; 200 links come later.
    most_listening=$(($(getconf OPEN_MAX) / 8 - 200))
    most=$((most - 200))
    mesh_counts=''
    for count in $links; do
        [ "$count" -le "$most" ] || count=$most
        case " $mesh_counts " in *" $count "*) continue ;; esac
        mesh_counts="$mesh_counts $count"
        links_in_a_mesh
    done
}

links_in_a_mesh() {
    step "A mesh with $count links at one of three routers"
    rm -rf "$work/mesh" "$work/router-1" "$work/router-2" "$work/router-3"
    make_mesh
    start_mesh -q --max-links $((count + 200))
    first=$("$load" ports $((count + 200)) --row --on 0.0.0.0)
    pause 1
    for number in 1 2 3; do
        read -r member <"$work/router-$number.pid"
        memory_kib "$member" >"$work/member-$number.before"
    done
    case=mesh
    launch mesh-cars "$bin/links" 127.0.0.1,127.0.0.2,127.0.0.3 "$main_port" "$count" "$first"
    await_links 'links are up'
    within 60 all_know || fail "not each router knows each link"
    watch_members
    mesh_consoles
    # Else routers 2 and 3 have no files for the ports of more links.
    [ "$count" -gt "$most_listening" ] || know_new_links
    step "Killing the router of $count links"
    crash router-1
    await_links 'all links are back after'
    figure "cars-$count" all_s "$(awk '/are back after/ { print /ms$/ ? $NF / 1000 : $NF + 0 }' "$work/mesh-cars.log" | tail -n 1)"
    end_all
}

know_new_links() {
    launch mesh-new "$bin/links" 127.0.0.1 "$main_port" 200 "$((first + count))" --known-at 127.0.0.2,127.0.0.3
    within 60 grep -qs 'known everywhere' "$work/mesh-new.log" || fail "200 links did not come within 60 s"
    figure "known-$count" p99_us "$(sed -n 's/.*p99_us=//p' "$work/mesh-new.log")"
    crash mesh-new
}

# Whether routers 2 and 3 know all links, and have opened their service ports, as far as they may, beside their
# main port.
all_know() {
    listening=$((count < most_listening ? count : most_listening))
    for number in 2 3; do
        awk -v address="0${number}00007F" -v wanted="$listening" '
            index($2, address) == 1 && $4 == "0A" { ports++ }
            END { exit ports <= wanted }' /proc/net/tcp || return 1
        [ "$(console "$number" --json list | wc -l)" -ge "$count" ] || return 1
    done
}

console() { # NUMBER ARG...
    number=$1
    shift
    env XDG_CONFIG_HOME="$work" XDG_STATE_HOME="$work" "$bin/p2p-console" --router "127.0.0.$number:$main_port" "$@"
}

# Consoles at a router that has none of the links: it has a connection to each other router for each of them.
mesh_consoles() {
    step "50 consoles at another router, and $count links"
    for console in $(seq 50); do
        launch "console-$console" "$bin/p2p-console" --router "127.0.0.2:$main_port" watch
        within 30 has_consoles "$console" || fail "console $console did not come within 30 s"
    done
    # Until each has all links.
    pause 10
    has_consoles 50 || fail "some of 50 consoles have ended"
    for number in 1 2; do
        read -r member <"$work/router-$number.pid"
        figure "consoles-$number-$count" all_mib "$(awk "BEGIN { print ($(memory_kib "$member") - $(cat "$work/member-$number.idle")) / 1024 }")"
    done
    for console in $(seq 50); do
        crash "console-$console"
    done
}

has_consoles() { # COUNT
    [ "$(metric 2 consoles)" = "$1" ]
}

watch_members() {
    window=$((seconds * 10))
    pause 2
    for number in 1 2 3; do
        read -r member <"$work/router-$number.pid"
        cpu_time "$member" >"$work/member-$number.cpu"
    done
    pause "$window"
    for number in 1 2 3; do
        read -r member <"$work/router-$number.pid"
        figure "member-$number-$count" cpu_percent "$(awk "BEGIN { print ($(cpu_time "$member") - $(cat "$work/member-$number.cpu")) / 10 / $window }")"
        memory_kib "$member" >"$work/member-$number.idle"
        figure "member-$number-$count" each_kib "$(awk "BEGIN { print ($(cat "$work/member-$number.idle") - $(cat "$work/member-$number.before")) / $count }")"
    done
}
