# shellcheck shell=sh
# bench-links.sh: what idle links cost, and how they come back. Sourced by bench.sh, after bench-stand.sh
# and bench-loads.sh.
#
# Each number of links has a router of its own. All idle at the same time, long enough for one ping of
# each link: CPU time is counted for each process, so they don't disturb each other.
# shellcheck disable=SC3045 # every sh of a Linux knows ulimit -n

memory_kib() { # PID
    awk '$1 == "VmRSS:" { print $2 }' "/proc/$1/status"
}

# How often the process has slept, and so woken.
wakes() { # PID
    cat "/proc/$1/task"/*/status | awk '$1 == "voluntary_ctxt_switches:" { sum += $2 } END { print sum }'
}

# Two more than the links: for the car that answers requests, and for the idle inner.
start_router_of_links() {
    router "$case" "$main_port" $open --bind "$address" --max-links $((count + 2))
}

await_links() { # SENTENCE
    within 90 grep -qs "$1" "$work/$case-cars.log" || fail "$count links did not come within 90 s"
}

# A router with so many links. Writes $work/CASE.idle: PID MEMORY_BEFORE COUNT ADDRESS PORT.
router_with_links() { # CASE COUNT [with-keys]
    case=$1 count=$2 address=127.0.0.$((10 + next_router)) open=--open key=''
    next_router=$((next_router + 1))
    if [ -n "${3-}" ]; then
        open=''
        new_key cars link "$case"
        key=$(cat "$work/cars.key")
    fi
    main_port=$("$load" ports 1)
    start_router_of_links
    router=$pid
    ready "$case" "http${key:+s}://$address:$main_port/healthz"
    before=$(memory_kib "$router")
    first=$("$load" ports "$count" --on "$address" --row)
    [ -z "$key" ] || export P2P_KEY="$key"
    launch "$case-cars" "$bin/links" "$address" "$main_port" "$count" "$first"
    unset P2P_KEY
    await_links 'links are up'
    echo "$router $before $count $address $main_port" >"$work/$case.idle"
}

# A link is two files of the router: its connection and its service port.
allow_links() {
    ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
    most=$((($(ulimit -n) - 200) / 2))
    links=$(for count in $links; do
        if [ "$count" -gt "$most" ]; then
            say "$count links need a limit of $((2 * count + 200)) open files, and here it is $(ulimit -n) (ulimit -n): $most instead"
            count=$most
        fi
        echo "$count"
    done | uniq | paste -sd ' ')
}

start_links() {
    step "Starting idle links"
    allow_links
    next_router=0
    for count in $links; do
        router_with_links "links-$count" "$count"
    done
    mkdir "$work/none"
    inner idle-inner "$address" "$main_port" 0 --name idle --commands "$work/none"
    inner=$pid
    router_with_links links-tls "$((count < 1000 ? count : 1000))" with-keys
}

watch_links() {
    window=$((seconds * 10))
    step "Watching them idle for $window s"
    pause 2
    for idle in "$work"/*.idle; do
        read -r router _ <"$idle"
        cpu_time "$router" >"$idle.cpu"
    done
    woken=$(wakes "$inner")
    pause "$window"
    for idle in "$work"/*.idle; do
        case=$(basename "$idle" .idle)
        read -r router before count _ <"$idle"
        spent=$(awk "BEGIN { print $(cpu_time "$router") - $(cat "$idle.cpu") }")
        memory=$(memory_kib "$router")
        figure "$case" each_kib "$(awk "BEGIN { print ($memory - $before) / $count }")"
        figure "$case" all_mib "$(awk "BEGIN { print $memory / 1024 }")"
        figure "$case" cpu_percent "$(awk "BEGIN { print $spent / 10 / $window }")"
    done
    figure inner all_mib "$(awk "BEGIN { print $(memory_kib "$inner") / 1024 }")"
    figure inner wakes_min "$(awk "BEGIN { print ($(wakes "$inner") - $woken) * 60 / $window }")"
}

# All links come back at once after their router was killed. Meanwhile requests go to one car among
# them, as soon as it is back.
links_come_back() {
    case=links-${links##* } open=--open
    read -r router before count address main_port <"$work/$case.idle"
    step "Killing the router of $count links"
    mkdir "$work/echo"
    cp "$bin/echo-worker" "$work/echo/echo.worker"
    service_port=$("$load" ports 1 --on "$address")
    inner asked "$address" "$main_port" "$service_port" --name asked --commands "$work/echo"
    ready 'the car' "http://$address:$service_port/cgi?command=echo"
    kill -KILL "$router"
    # The kernel closes its files a moment later.
    wait "$router" 2>/dev/null || :
    start_router_of_links
    ready 'the car' "http://$address:$service_port/cgi?command=echo"
    time=$((seconds * 5))
    open_loop back 200 "$address:$service_port" '/cgi?command=echo'
    await_links 'all links are back after'
    figure back all_s "$(awk '/are back after/ { print /ms$/ ? $NF / 1000 : $NF + 0 }' "$work/$case-cars.log" | tail -n 1)"
}
