# shellcheck shell=sh
# bench-table.sh: medians, ratios and aims as one table, and the data of the pictures. Sourced by
# bench.sh.

machine_line() {
    read -r load_before _ </proc/loadavg
    model=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
    echo "$(nproc) cores (${model:-$(uname -m)}), load $load_before before; everything on this machine"
}

# what | case figure | beside what | case figure | rule and aim. The rules: `least` and `most` times the
# other figure, at most so many microseconds `more` than the other, at most that `alone`, or only to
# `show`. A line without figures is left out.
lines() {
    cat <<'END'
one-shot `hello`, 16 connections|hello-16 rps|lighttpd mod_cgi, no tunnel|cgi-16 rps|least 1.15
one-shot `hello`, 64 connections|hello-64 rps|lighttpd mod_cgi, no tunnel|cgi-64 rps|least 1.15
one-shot `hello`, 16 connections|hello-16 rps|the same lighttpd behind bore|cgi-tunnel-16 rps|show
one-shot `hello`, 64 connections|hello-64 rps|the same lighttpd behind bore|cgi-tunnel-64 rps|show
one-shot `hello`, 1 connection, p50|hello-1 p50_us|spawn floor: `posix_spawn`, pipe, wait|spawn p50_us|more 210
worker, 64 connections|worker-64 rps|lighttpd's static file behind bore|static-64 rps|least 1.2
worker, 16 connections|worker-16 rps|lighttpd's static file behind bore|static-16 rps|least 1.0
worker, 64 connections|worker-64 rps|the floor of the same libraries|floor-64 rps|least 0.85
worker, 16 connections|worker-16 rps|the floor of the same libraries|floor-16 rps|show
worker, 64 connections|worker-64 rps|the floor on one thread|floor-one-64 rps|show
worker, 16 connections|worker-16 rps|the floor on one thread|floor-one-16 rps|show
worker, 64 connections|worker-64 rps|raw two-hop TCP relay|relay-64 rps|show
worker, 16 connections|worker-16 rps|raw two-hop TCP relay|relay-16 rps|show
the same in Python, 64 connections|python-64 rps|the native worker|worker-64 rps|show
worker, 1 connection, p50|worker-1 p50_us|raw two-hop TCP relay|relay-1 p50_us|most 1.1
worker, open loop of 5,000/s, p50|open p50_us|||show
worker, open loop of 5,000/s, p99|open p99_us|||alone 5000
worker, 64 connections, keys and TLS|worker-keys-64 rps|without|worker-64 rps|least 0.88
one-shot `hello`, 64 connections, keys and TLS|hello-keys-64 rps|without|hello-64 rps|least 0.88
one-shot `hello`, 1 connection, p50|hello-1 p50_us|the programs of `--programs`|base-hello-1 p50_us|show
one-shot `hello`, 16 connections|hello-16 rps|the programs of `--programs`|base-hello-16 rps|show
one-shot `hello`, 64 connections|hello-64 rps|the programs of `--programs`|base-hello-64 rps|show
worker, 1 connection, p50|worker-1 p50_us|the programs of `--programs`|base-worker-1 p50_us|show
worker, 16 connections|worker-16 rps|the programs of `--programs`|base-worker-16 rps|show
worker, 64 connections|worker-64 rps|the programs of `--programs`|base-worker-64 rps|show
worker, 64 connections, the router's CPU for each|worker-64 outer_cpu|the programs of `--programs`|base-worker-64 outer_cpu|show
worker, 64 connections, the inner's CPU for each|worker-64 inner_cpu|the programs of `--programs`|base-worker-64 inner_cpu|show
END
    for count in $links; do
        rule=show
        [ "$count" -lt 9000 ] || rule='alone 12'
        echo "$count idle links, router's memory for each|links-$count each_kib|||$rule"
    done
    echo "idle links over TLS, router's memory for each|links-tls each_kib|||alone 18"
    for count in $links; do
        rule=show
        [ "$count" -lt 9000 ] || rule='alone 3'
        echo "$count idle links, router's CPU|links-$count cpu_percent|||$rule"
    done
    cat <<END
$count links after their router was killed, until all are back|back all_s|||alone 20
meanwhile 200/s at one of them, open loop, p99|back p99_us|||alone 20000
inner idle, memory|inner all_mib|||alone 8
inner idle, wake-ups a minute|inner wakes_min|||show
END
}

mesh_lines() {
    for scheme in http https; do
        callers=''
        [ "$scheme" = http ] || callers=', callers with TLS'
        cat <<END
worker through a hop, 1 connection, p50$callers|hop-$scheme-1 p50_us|direct|direct-$scheme-1 p50_us|more 60
worker through a hop, 64 connections$callers|hop-$scheme-64 rps|direct|direct-$scheme-64 rps|least 0.6
END
    done
    cat <<'END'
worker through a hop, 1 connection, p50|hop-http-1 p50_us|a bare relay in front of the same port|between-1 p50_us|show
worker through a hop, 64 connections|hop-http-64 rps|a bare relay in front of the same port|between-64 rps|show
worker, 64 connections, without `--mesh`|without-mesh-64 rps|the programs of `--programs`|base-without-mesh-64 rps|least 0.98
the router killed, until another serves its car, p99|killed p99_us|||alone 2000000
requests of 2,000 that fail as all of NATS is killed|nats-down changed|||alone 0
50 viewers of the car's camera at another router, streams between the two|viewers-50 streams|||alone 1
50 viewers of the car's camera at another router, CPU of the car's router|viewers-50 cpu_percent|one viewer there|viewers-1 cpu_percent|most 1.2
END
    for count in $mesh_counts; do
        back=show
        [ "$count" -gt 1000 ] || back='alone 5'
        for number in 1 2 3; do
            echo "$count idle links at router 1, CPU of router $number|member-$number-$count cpu_percent|||alone 0.5"
        done
        for number in 2 3; do
            echo "$count idle links at router 1, memory of router $number for each, with its listener|member-$number-$count each_kib|||alone 5"
        done
        cat <<END
50 consoles at router 2, which see $count cars at router 1, memory of router 2|consoles-2-$count all_mib|||show
50 consoles at router 2, which see $count cars at router 1, memory of router 1|consoles-1-$count all_mib|||show
beside $count links, a new link known everywhere, p99|known-$count p99_us|||alone 50000
their router killed, until all $count links are at others|cars-$count all_s|||$back
END
    done
}

# CASE NAME MEDIAN, a line each.
medians() {
    [ ! -e "$work/figures" ] || sort -k 1,2 -k 3,3g "$work/figures" | awk '
        function flush() { if (n) print key, (n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2) }
        $1 " " $2 != key { flush(); n = 0; key = $1 " " $2 }
        { v[++n] = $3 }
        END { flush() }'
}

# Functions of awk that show a figure by the unit in its name.
shown='
        function grouped(n, text) {
            text = sprintf("%d", n + 0.5)
            while (match(text, /[0-9][0-9][0-9][0-9](,|$)/)) text = substr(text, 1, RSTART) "," substr(text, RSTART + 1)
            return text
        }
        function time(us) { return us < 1000 ? sprintf("%d µs", us) : sprintf("%.2f ms", us / 1000) }
        function shown(value, name) {
            if (name ~ /rps$/) return grouped(value) "/s"
            if (name ~ /_us$/) return time(value)
            if (name ~ /_cpu$/) return sprintf("%.1f µs", value)
            if (name ~ /_kib$/) return sprintf("%.1f KiB", value)
            if (name ~ /_mib$/) return sprintf("%.1f MiB", value)
            if (name ~ /_s$/) return sprintf("%.1f s", value)
            if (name ~ /_percent$/) return sprintf("%.2f %% of a core", value)
            return sprintf("%d", value + 0.5)
        }
'

headline() {
    printf '\n%s; medians of %s rounds of %s s\n\n' "$machine" "$rounds" "$seconds"
}

commands_table() {
    table_of lines
}

mesh_table() {
    table_of mesh_lines
}

table_of() { # LINES
    headline
    "$1" | awk -F '|' "$shown"'
        # Of both hops, where it was measured.
        function cpu(figure, part) {
            split(figure, part, " ")
            if (part[2] ~ /_cpu$/ || !((part[1] " outer_cpu") in median)) return ""
            return sprintf("%.1f + %.1f µs", median[part[1] " outer_cpu"], median[part[1] " inner_cpu"])
        }
        !lines { split($0, w, " "); median[w[1] " " w[2]] = w[3]; next }
        !($2 in median) || ($4 != "" && !($4 in median)) { next }
        !header++ {
            print "| measured | p2prouter | CPU for each | beside | its figure | CPU for each | ratio | aim | met |"
            print "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | --- |"
        }
        {
            own = median[$2]; other = $4 != "" ? median[$4] : 0
            split($5, rule, " "); aim = rule[2]
            ratio = other ? sprintf("%.2f ×", own / other) : ""
            if (rule[1] == "least") { wanted = "≥ " aim " ×"; met = own >= aim * other }
            if (rule[1] == "most") { wanted = "≤ " aim " ×"; met = own <= aim * other }
            if (rule[1] == "more") { wanted = "≤ + " time(aim); met = own <= other + aim; ratio = (own < other ? "− " : "+ ") time(own < other ? other - own : own - other) }
            if (rule[1] == "alone") { wanted = "≤ " shown(aim, $2); met = own <= aim }
            if (rule[1] == "show") wanted = verdict = ""
            else { verdict = met ? "yes" : "no"; aims++; reached += met }
            printf "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", $1, shown(own, $2), cpu($2), $3, other ? shown(other, $4) : "", cpu($4), ratio, wanted, verdict
        }
        END { if (aims) printf "\n%d of %d aims met in this run\n", reached, aims }' "$work/medians" lines=1 -
}

# The points of one line of a picture: the number behind PREFIX in the name of the case, and its figure.
series() { # PREFIX FIGURE DIVISOR
    awk -v prefix="$1" -v name="$2" -v divisor="$3" '
        { number = substr($1, length(prefix) + 1) }
        index($1, prefix) == 1 && number ~ /^[0-9]+$/ && $2 == name { print number, $3 / divisor }
    ' "$work/medians" | sort -n
}

draw() { # FILE CHART_ARG..., its data on standard input
    name=docs/bench-$1.svg
    shift
    mkdir -p docs
    "$load" chart "$@" >"$work/chart.svg"
    mv "$work/chart.svg" "$name"
    say "$name is drawn"
}

# Puts the tables where docs/benchmarks.md has room for them, and draws the pictures.
write_docs() {
    for table in commands threads mesh; do
        awk -v begin="<!-- bench.sh: $table -->" -v end="<!-- bench.sh: end of $table -->" -v table="$work/$table-table" '
            $0 == end { while ((getline line <table) > 0) print line; print ""; inside = 0 }
            !inside
            $0 == begin { inside = 1 }' docs/benchmarks.md >"$work/benchmarks.md"
        cat "$work/benchmarks.md" >docs/benchmarks.md
    done
    say "docs/benchmarks.md has the tables"
    {
        echo 'panel milliseconds from when a request was due until it was answered | requests a second, constant rate'
        for name in p50 p99; do
            line=solid
            [ "$name" = p50 ] || line=dashed
            echo "series 1 $line | worker, $name"
            series rate-worker- "${name}_us" 1000
            echo "series 2 $line | one-shot, $name"
            series rate-one-shot- "${name}_us" 1000
        done
    } | draw latency --title 'Latency by load, on one link'
    {
        echo "panel router's memory, MiB | idle links"
        echo 'series 1 labelled | memory'
        series links- all_mib 1
        echo "panel router's CPU, % of a core | idle links"
        echo 'series 2 labelled | CPU'
        series links- cpu_percent 1
    } | draw links --width 400 --title 'What idle links cost the router'
    {
        echo 'panel milliseconds from when a request was due until it was answered | requests a second, constant rate'
        for name in p50 p99; do
            line=solid
            [ "$name" = p50 ] || line=dashed
            echo "series 1 $line | at the car's router, $name"
            series rate-direct- "${name}_us" 1000
            echo "series 2 $line | through another one, $name"
            series rate-hop- "${name}_us" 1000
        done
    } | draw mesh --title 'Latency by load, of a worker, directly and through a hop'
}
