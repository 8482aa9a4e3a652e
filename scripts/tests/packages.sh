#!/bin/sh
# Tests the Debian packages as their users meet them: installed by apt on a Debian that its own systemd runs, set up,
# upgraded under a link, removed and purged. With CI_PACKAGES=1 those of a release, too, which are static and for
# Raspberry Pis as well.
set -eu
. "$(dirname -- "$0")/lib/harness.sh"
. "$(dirname -- "$0")/lib/caller.sh"
. "$(dirname -- "$0")/lib/debian.sh"
. "$(dirname -- "$0")/lib/pi.sh"

if ! unshare --mount --uts --ipc --net --cgroup --pid --fork true 2>/dev/null; then
    say 'the packages are not tested: that takes root, and namespaces, which a container may not make'
    exit 0
fi

# --- what is shared

state() { # UNIT PROPERTY
    in_debian systemctl show --value -p "$2" "$1"
}

is_active() { in_debian systemctl is-active --quiet "$1"; }

is_linked() { [ "$(state p2p-inner StatusText | cut -d : -f 1)" = 'link up' ]; }

hello() {
    [ "$(in_debian p2p-console send car hello 2>&1)" = 'hello from car' ]
}

# The same package, one version later.
next_version() { # PACKAGE
    rm -rf "$work/next"
    dpkg-deb --raw-extract "$1" "$work/next"
    sed -i 's/^Version: .*/&+next/' "$work/next/DEBIAN/control"
    dpkg-deb --root-owner-group -Znone --build "$work/next" "$debian/root/next-${1##*/}" >/dev/null
}

left_over() {
    in_debian find / -xdev -name '*p2p*' ! -path '/proc/*' ! -path '/root/*' ! -path '/run/*' ! -path '/tmp/*' ! -path '/var/tmp/*' ! -path '/var/lib/systemd/*'
}

# --- installed

(cd "$tests/../.." && build p2p-router p2p-inner p2p-console && echo "$bin" >"$work/bin-folder") || die 1 'the programs were not built'
bin=$(cat "$work/bin-folder")
run "$tests/../package.sh" --out "$work/dist" --pack "$bin"
ok 'programs become packages' [ "$code" = 0 ]
make_debian ca-certificates,procps
cp "$work"/dist/*.deb "$debian/root"
ok 'Debian boots' boot_debian
run in_debian sh -c 'apt-get install -y --no-install-recommends /root/*.deb'
ok 'apt installs all three' [ "$code" = 0 ]
for program in p2p-router p2p-inner p2p-console; do
    run in_debian "$program" --version
    ok "$program runs" [ "$code" = 0 ]
done
for unit in p2p-router p2p-inner; do
    run in_debian systemd-analyze verify "$unit.service"
    ok "the unit of $unit is sound" [ "$code:$(cat "$out")" = 0: ]
    ok 'nothing runs before it is set up' not is_active "$unit"
done

# --- set up, in two commands

run in_debian p2p-router setup --yes --show-invitations --public-host 127.0.0.1
ok 'the router is set up' [ "$code" = 0 ]
ok 'and runs' is_active p2p-router
car=$(sed -n 's/.*p2p-inner setup \([^ ]*\)$/\1/p' "$out")
desk=$(sed -n 's/.*p2p-console login \([^ ]*\)$/\1/p' "$out")
run in_debian p2p-inner setup --yes "$car"
ok 'the inner is set up' [ "$code" = 0 ]
ok 'and says where its page is' says "$out" 'link up: https://127.0.0.1:'
ok 'its key is its own' [ "$(in_debian stat -c '%U %a' /etc/p2prouter/inner.key)" = 'p2p-inner 600' ]
run in_debian p2p-console login "$desk"
ok 'the desk logs in' [ "$code" = 0 ]
ok 'a command runs on the car' eventually hello

# --- upgraded

for program in router inner; do
    next_version "$(ls "$work"/dist/p2p-"$program"_*.deb)"
done
router=$(state p2p-router MainPID) inner=$(state p2p-inner MainPID)
run in_debian sh -c 'apt-get install -y /root/next-p2p-router_*.deb'
ok 'the router is upgraded' [ "$code" = 0 ]
ok 'in place' [ "$(state p2p-router MainPID)" = "$router" ]
ok 'and its car answers' eventually hello
run in_debian sh -c 'apt-get install -y /root/next-p2p-inner_*.deb'
ok 'the inner is upgraded' [ "$code" = 0 ]
ok 'and started again' [ "$(state p2p-inner MainPID)" != "$inner" ]
ok 'and answers' eventually hello

# --- removed

run in_debian apt-get remove -y p2p-router p2p-inner p2p-console
ok 'they are removed' [ "$code" = 0 ]
ok 'the keys are kept' in_debian test -e /var/lib/p2p-router/keys.toml -a -e /etc/p2prouter/inner.key
run in_debian sh -c 'apt-get install -y --no-install-recommends /root/p2p-*.deb'
ok 'they are installed again' [ "$code" = 0 ]
ok 'and run as before' eventually hello
run in_debian apt-get remove -y p2p-router p2p-inner p2p-console
run in_debian apt-get purge -y p2p-router p2p-inner
ok 'they are purged' [ "$code" = 0 ]
run left_over
ok 'and nothing is left' [ ! -s "$out" ]
ok 'nor their users' not in_debian getent passwd p2p-router p2p-inner
[ -n "${CI_PACKAGES-}" ] || done_testing

# --- a release

need curl curl
need file file
need lintian lintian
need qemu-arm-static qemu-user-static
"$tests/../package.sh" --out "$work/release" || die 1 'the release was not made'
run sh -c 'cd "$1" && sha256sum --check --quiet SHA256SUMS && ls p2p-*.deb p2p-*.tar.gz | wc -l' sh "$work/release"
ok 'it has each program for each machine, as it says' [ "$(cat "$out")" = 18 ]
run lintian --allow-root --fail-on error "$work"/release/*.deb
ok 'lintian finds no error in the packages' [ "$code" = 0 ]

# --- on a Raspberry Pi

# Unpacks it. Sets inner.
inner_for() { # TRIPLE
    mkdir "$work/$1"
    tar --extract --directory "$work/$1" --strip-components 1 --file "$(ls "$work"/release/p2p-inner-*-"$1".tar.gz)"
    inner=$work/$1/p2p-inner
}

# The pid of the inner or of its guardian. The kernel has the name in 15 bytes.
named() { # NAME
    for pid in $(ours); do
        [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != "$1" ] || echo "$pid"
    done
}

motors() { # LEVELS
    [ "$(tail -n 1 "$FAKE/pinctrl")" = "set $1" ]
}
moves() { motors '4,17 op dh'; }
stands() { motors '4,14,17,18 op dl'; }

is_guarded() { # PID: by another guardian than this
    guardian=$(named p2p-guardian) && [ -n "$guardian" ] && [ "$guardian" != "$1" ]
}

is_over() { [ -z "$(named p2p-inner)$(named p2p-guardian)" ]; }

mkdir "$work/bin"
printf '#!/bin/sh\necho "$*" >>"%s/pinctrl"\n' "$FAKE" >"$work/bin/pinctrl"
chmod 755 "$work/bin/pinctrl"
cp -R "$scripts/examples/pinctrl" "$work/command"
cp "$scripts/commands/hello" "$scripts/examples/workers/lights.worker" "$work/command"
"$bin/p2p-router" 0 --open --bind 127.0.0.1 --state-dir "$work/router" --log-dir "$work/logs" 2>"$work/router.log" &
ok 'a router of this machine is there' eventually said "$work/router.log" 'listening on [^ ]*:\([0-9][0-9]*\)'
port=$answer

is_small() { ok 'of at most 6 MB' [ "$(stat -c %s "$inner")" -le 6000000 ]; }

drive_pi() { # TRIPLE CPU
    inner_for "$1"
    run file "$inner"
    ok "$1: one file, without libraries" says "$out" 'statically linked'
    is_small
    : >"$FAKE/pinctrl"
    : >"$work/$1.log"
    PATH="$work/bin:$PATH" on_pi "$2" "$inner" 127.0.0.1 "$port" 0 --name "$2" --motion-limit 0 \
        --commands "$work/command" --state-dir "$work/$1" --log-dir "$work/logs" 2>"$work/$1.log" &
    ok "on $2 it links" eventually said "$work/$1.log" 'link up: \(http://[^ ]*\)'
    url=$answer
    ok 'runs a command' answers hello 200 "hello from $2"
    ok 'and a worker' eventually answers lights/on 200 'GPIO 27 is at dh'
    ok 'moves' eventually answers forward 200 ''
    ok 'the motors' moves
    ok 'and stops' answers stop 200 ''
    ok 'them' stands
    eventually answers forward 200 ''
    ok 'is watched by a guardian' eventually is_guarded ''
    killed=$guardian
    kill -KILL "$killed"
    ok 'stops when the guardian is killed' eventually stands
    ok 'and has another one' eventually is_guarded "$killed"
    ok 'moves again' eventually answers forward 200 ''
    kill -KILL "$(named p2p-inner)"
    ok 'is stopped by the guardian when it is killed' eventually stands
    ok 'and leaves nothing running' eventually is_over
}

inner_for x86_64-unknown-linux-musl
is_small
drive_pi aarch64-unknown-linux-musl cortex-a53
drive_pi arm-unknown-linux-musleabihf arm1176
done_testing
