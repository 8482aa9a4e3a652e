#!/bin/sh
# Tests demo.sh with programs that only look like the real ones: that it ends well, whatever happens.
# (That it works with the real ones, `demo.sh --smoke` shows.)
set -eu
. "$(dirname -- "$0")/lib/harness.sh"

mkdir -p "$work/bin" "$work/target/release"
cat >"$work/bin/cargo" <<'END'
#!/bin/sh
case $1 in
    build) [ ! -e "$FAKE/no-build" ] && [ ! -e "$FAKE/no-car" ] ;;
    metadata) echo "{\"packages\":[],\"target_directory\":\"${FAKE%/fake}/target\",\"version\":1}" ;;
esac
END
cat >"$work/target/release/p2p-router" <<'END'
#!/bin/sh
env >"$FAKE/environment"
[ ! -e "$FAKE/no-router" ] || { echo 'error: no luck today' >&2 && exit 1; }
echo '16:01:02 listening on 127.0.0.1:40123' >&2
echo "$$" >"$FAKE/router"
exec sleep 300
END
# The car is further on each time it is told to go forward.
cat >"$work/target/release/sim-car" <<'END'
#!/bin/sh
[ "$1" != forward ] || [ -e "$FAKE/no-motor" ] || echo . >>"$FAKE/way"
echo "the car stands at $(grep -c . "$FAKE/way"),0 and faces east"
END
: >"$FAKE/way"
# A server for one request at a time that runs what stands behind command=: the file of this name, or
# the worker.
cat >"$work/target/release/p2p-inner" <<'END'
#!/bin/sh
echo "$*" >"$FAKE/arguments"
[ ! -e "$FAKE/no-inner" ] || exit 1
exec perl -MIO::Socket::INET -e '
    my ($fake, $commands) = @ARGV;
    my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1", Listen => 8);
    printf STDERR "16:01:03 link up: http://127.0.0.1:%d/\n", $server->sockport;
    while (my $client = $server->accept) {
        my ($name) = <$client> =~ /command=(\w+)/;
        1 while <$client> =~ /\S/;
        my $status = -e "$fake/no-$name" ? 500 : 200;
        my @run = -e "$commands/$name" ? "./$name" : ("./car.worker", $name);
        print $client "HTTP/1.0 $status X\r\n\r\n", `cd "$commands" && P2P_LINK=car @run`;
    }' "$FAKE" "$7"
END
chmod 755 "$work/bin/cargo" "$work/target/release"/*
export PATH="$work/bin:$PATH" P2P_NAME=lorry P2P_BIND=0.0.0.0

tidy() {
    eventually nothing_left && [ -z "$(find "$work" -maxdepth 1 -name 'p2prouter-*')" ]
}

run "$scripts/demo.sh" --smoke
ok 'the smoke test passes' [ "$code" = 0 ]
ok 'it shows the address' says "$out" 'The car is reachable at http://127.0.0.1:'
ok 'and a line to type' says "$out" "/cgi?command=hello'"
ok 'and its answer' says "$out" 'hello from car'
ok 'and where the car comes to' says "$out" 'the car stands at 1,0 and faces east'
ok 'the inner gets a folder of its own' says "$FAKE/arguments" "127.0.0.1 40123 0 --name car --commands $work/p2prouter-demo."
ok 'nothing of the environment gets through' not says "$FAKE/environment" P2P_NAME
ok 'nothing is left behind' tidy

for signal in INT TERM HUP; do
    rm -f "$work/waiting"
    exec_unignored "$scripts/demo.sh" >"$work/waiting" 2>&1 &
    demo=$!
    ok "it waits for SIG$signal" eventually says "$work/waiting" 'Your turn, until Ctrl-C'
    kill -s "$signal" "$demo"
    ok 'and ends' eventually gone "$demo"
    ok 'and leaves nothing behind' tidy
done

for fault in build car router inner forward motor; do
    : >"$FAKE/no-$fault"
    run "$scripts/demo.sh" --smoke
    rm "$FAKE/no-$fault"
    ok "a demo without $fault fails" [ "$code" != 0 ]
    ok 'and leaves nothing behind' tidy
    case $fault in
        router) ok 'it shows the log' says "$out" 'no luck today' ;;
        motor) ok 'it says that the car does not move' says "$out" 'the car should have moved' ;;
        forward) ok 'it says what went wrong' says "$out" 'the command forward&for=1200 was answered with status 500' ;;
    esac
done

"$scripts/demo.sh" >"$work/waiting2" 2>&1 &
demo=$!
eventually says "$work/waiting2" 'Your turn'
kill -KILL "$(cat "$FAKE/router")"
ok 'it ends when a program does' eventually gone "$demo"
ok 'and leaves nothing behind' tidy
done_testing
