# shellcheck shell=sh
# bench-stand.sh: what bench.sh measures, started on loopback. Sourced by it, after stand.sh.

end_limit=5

router() { # NAME ARG...
    name=$1
    shift
    launch_ours "$name" "$bin/p2p-router" -q "$@"
}

inner() { # NAME ARG...
    name=$1
    shift
    launch_ours "$name" "$bin/p2p-inner" -q "$@"
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
    # shellcheck disable=SC2046
    set -- $("$load" ports 11)
    ours="http://127.0.0.1:$2/cgi?command" ours_address=127.0.0.1:$2
    router router "$1" --open --bind 127.0.0.1
    ready 'the router' "http://127.0.0.1:$1/healthz"
    inner inner 127.0.0.1 "$1" "$2" --name car --commands "$work/commands" --max-runs 128
    ready 'the car' "$ours=echo&arg=hello"
    python=''
    [ ! -e "$work/commands/python.worker" ] || { ready "the car's Python" "$ours=python" && python=yes; }
    ! wants keys || start_with_keys "$3" "$4"
    ! wants worker || start_relay "$5" "$6" "$7"
    ! wants oneshot worker || start_tunnel "$8" "$9"
}

# As on a public host: a key for the car, and one for the caller.
start_with_keys() { # MAIN_PORT SERVICE_PORT
    secure="https://127.0.0.1:$2/cgi?command"
    for role in link drive; do
        new_key "$role" "$role" router-with-keys
    done
    # Behind the secret, a key has the fingerprint of the certificate.
    authorization="Authorization: Bearer $(cut -d _ -f 1-3 "$work/drive.key")"
    router router-with-keys "$1" --bind 127.0.0.1
    inner inner-with-keys 127.0.0.1 "$1" "$2" --name car --commands "$work/commands" --max-runs 128 --key-file "$work/link.key"
    ready 'the car with a key' "$secure=echo" "$authorization"
}

# The least that a tunnel can cost: a process for each of two hops, and one that answers.
start_relay() { # PORT PORT PORT
    relay=http://127.0.0.1:$1/
    launch answer "$load" answer "127.0.0.1:$3"
    launch relay-inner "$load" relay "127.0.0.1:$2" "127.0.0.1:$3"
    launch relay-outer "$load" relay "127.0.0.1:$1" "127.0.0.1:$2"
    ready 'the relay' "$relay"
}

start_tunnel() { # PORT PORT
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
    ready lighttpd "$direct/hello.cgi"
    launch bore "$bore" local "$1" --local-host 127.0.0.1 --to 127.0.0.7 --port "$2"
    ready bore "$tunnel/hello.txt"
}
