# shellcheck shell=sh
# bench-stand.sh: what bench.sh measures, started on loopback. Sourced by it, after stand.sh.

end_limit=5

# What goes before the command line of a router, of an inner and of wrk: bench-threads.sh pins them.
router_pin='' inner_pin='' load_pin=''

router() { # NAME ARG...
    name=$1
    shift
    # shellcheck disable=SC2086
    launch_ours "$name" $router_pin "$bin/p2p-router" -q "$@"
}

inner() { # NAME ARG...
    name=$1
    shift
    # shellcheck disable=SC2086
    launch_ours "$name" $inner_pin "$bin/p2p-inner" -q "$@"
}

# Makes $work/NAME.key, readable for nobody else: the programs would refuse it.
new_key() { # NAME ROLE ROUTER
    (umask 077 && "$bin/p2p-router" key add "$1" --role "$2" --ports any --state-dir "$work/$3" >"$work/$1.key" 2>"$work/key.log") ||
        fail "no key could be made"
    rm "$work/key.log"
}

# The tunnel that ours is held against, built into the target folder and nowhere else.
need_bore() {
    root=${bin%/*}/bench-tools
    bore=$root/bin/bore
    [ ! -x "$bore" ] || return 0
    say "building bore-cli into $root"
    cargo install -q --locked --root "$root" --target-dir "$root" bore-cli@0.6.0 ||
        die 1 "bore-cli could not be built: cargo install --root '$root' bore-cli"
}

# The same `hello` for p2p-inner and lighttpd: to p2p-inner the CGI header is output like the rest.
write_commands() {
    [ ! -d "$work/commands" ] || return 0
    mkdir "$work/commands" "$work/www"
    cat >"$work/commands/hello" <<'END'
#!/bin/sh
printf 'Content-Type: text/plain\n\nhello\n'
END
    cp "$bin/echo-worker" "$work/commands/echo.worker"
    if command -v python3 >/dev/null; then
        cat >"$work/commands/python.worker" <<'END'
#!/usr/bin/env python3
import json, sys

print('{"serves":["python"]}', flush=True)
for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps({"id": request["id"], "output": " ".join(request["args"]) + "\n"}), flush=True)
END
    fi
    chmod 755 "$work/commands"/*
    cp "$work/commands/hello" "$work/www/hello.cgi"
    echo hello >"$work/www/hello.txt"
}

start_stand() {
    write_commands
    start_pair router inner
    ours=$url our_hops=$hops ours_address=$address
    python=''
    [ ! -e "$work/commands/python.worker" ] || { ready "the car's Python" "$ours=python" && python=yes; }
    [ -z "$programs" ] || start_base
    ! wants keys || {
        start_pair_with_keys router-with-keys inner-with-keys
        secure=$url secure_hops=$hops
    }
    ! wants worker || {
        start_relay
        start_floor floor
        floor=$url floor_hops=$hops
        start_floor floor-one --one-thread
        floor_one=$url floor_one_hops=$hops
    }
    ! wants oneshot worker || start_tunnel
}

# A router and a car, open to everyone. Sets url, address, and hops to both pids.
start_pair() { # ROUTER INNER
    # shellcheck disable=SC2046
    set -- "$@" $("$load" ports 2)
    address=127.0.0.1:$4 url="http://127.0.0.1:$4/cgi?command"
    router "$1" "$3" --open --bind 127.0.0.1
    hops=$pid
    ready "$1" "http://127.0.0.1:$3/healthz"
    inner "$2" 127.0.0.1 "$3" "$4" --name car --commands "$work/commands" --max-runs 128
    hops="$hops $pid"
    ready "the car of $2" "$url=echo&arg=hello"
}

# As on a public host: a key for the car, and one for the caller. Sets authorization, too.
start_pair_with_keys() { # ROUTER INNER
    # shellcheck disable=SC2046
    set -- "$@" $("$load" ports 2)
    url="https://127.0.0.1:$4/cgi?command"
    for role in link drive; do
        new_key "$1-$role" "$role" "$1"
    done
    # Behind the secret, a key has the fingerprint of the certificate.
    authorization="Authorization: Bearer $(cut -d _ -f 1-3 "$work/$1-drive.key")"
    router "$1" "$3" --bind 127.0.0.1
    hops=$pid
    inner "$2" 127.0.0.1 "$3" "$4" --name car --commands "$work/commands" --max-runs 128 --key-file "$work/$1-link.key"
    hops="$hops $pid"
    ready "the car of $2" "$url=echo" "$authorization"
}

# The programs of --programs.
start_base() {
    own=$bin bin=$programs
    start_pair base-router base-inner
    base=$url base_hops=$hops bin=$own
}

# What the libraries cost: tools/floor.rs. Sets url and hops.
start_floor() { # NAME [OPTION]
    # shellcheck disable=SC2046
    set -- "$1" "${2-}" $("$load" ports 2)
    url="http://127.0.0.1:$3/?command"
    launch "$1-router" "$bin/floor" ${2:+"$2"} router "127.0.0.1:$3" "127.0.0.1:$4"
    hops=$pid
    within 5 listens "$4" || fail "$1 does not listen"
    launch "$1-inner" "$bin/floor" ${2:+"$2"} inner "127.0.0.1:$4" "$bin/echo-worker"
    hops="$hops $pid"
    ready "$1" "$url=echo&arg=hello"
}

# Whether somebody listens there: to ask would be to be taken for the inner.
listens() { # PORT
    grep -q "$(printf '^ *[0-9]*: 0100007F:%04X 00000000:0000 0A' "$1")" /proc/net/tcp
}

# The least that a tunnel can cost: a process for each of two hops, and one that answers.
start_relay() {
    # shellcheck disable=SC2046
    set -- $("$load" ports 3)
    relay=http://127.0.0.1:$1/
    launch answer "$load" answer "127.0.0.1:$3"
    launch relay-inner "$load" relay "127.0.0.1:$2" "127.0.0.1:$3"
    relay_inner=$pid
    launch relay-outer "$load" relay "127.0.0.1:$1" "127.0.0.1:$2"
    relay_hops="$pid $relay_inner"
    ready 'the relay' "$relay"
}

start_tunnel() {
    # shellcheck disable=SC2046
    set -- $("$load" ports 2)
    direct=http://127.0.0.1:$1 tunnel=http://127.0.0.1:$2
    cat >"$work/lighttpd.conf" <<END
server.document-root = "$work/www"
server.bind = "127.0.0.1"
server.port = $1
server.modules = ("mod_cgi")
cgi.assign = (".cgi" => "")
server.max-keep-alive-requests = 100000000
END
    launch lighttpd "$(PATH=$PATH:/usr/sbin command -v lighttpd)" -D -f "$work/lighttpd.conf"
    # Its control port is always the same, so it gets an address of its own.
    launch bore-server "$bore" server --bind-addr 127.0.0.7 --bind-tunnels 127.0.0.1
    bore_hops=$pid
    ready lighttpd "$direct/hello.cgi"
    launch bore "$bore" local "$1" --local-host 127.0.0.1 --to 127.0.0.7 --port "$2"
    bore_hops="$bore_hops $pid"
    ready bore "$tunnel/hello.txt"
}
