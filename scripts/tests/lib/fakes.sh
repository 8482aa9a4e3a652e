# shellcheck shell=sh
# fakes.sh: a p2p-router and a p2p-inner for the tests of the start and kill scripts, after harness.sh.
#
# A fake writes a line into $FAKE/starts: its pid, its P2P_NAME and its arguments in brackets. Then
# the router listens on its port and the inner connects to it, until SIGTERM. Files in $FAKE change
# that: `exit` holds an exit code to end with at once; `deaf` makes it ignore SIGTERM; `mute` makes
# it neither listen nor connect; `child` leaves a process behind, in a session of its own.
#
# A fake router that gets SIGUSR2 restarts itself: it writes its pid into $FAKE/restarts, whose lines
# `health` counts. $FAKE/asked has a line for each `health`, $FAKE/checked the arguments of each
# `check`. `stuck` makes it ignore SIGUSR2; `ill` makes `health` fail; `wrong` makes `health` and
# `check` find wrong settings; with `moved` `health` asks at another address until it has restarted.

mkdir -p "$work/bin"
cat >"$work/bin/p2p-router" <<'END'
#!/bin/sh
for last; do :; done
case $last in
    health | check)
        if [ "$last" = check ]; then printf ' [%s]' "$@" >>"$FAKE/checked"; else echo "$*" >>"$FAKE/asked"; fi
        [ ! -e "$FAKE/wrong" ] || { echo 'error: there is no such setting' >&2 && exit 2; }
        [ ! -e "$FAKE/ill" ] || [ "$last" = check ] || { echo 'error: it is ill' >&2 && exit 3; }
        [ "$last" != check ] || exit 0
        [ ! -e "$FAKE/moved" ] || [ "${P2P_BIND-}" = 127.0.0.1 ] ||
            { echo "error: no router answers at 127.0.0.2:$1: it is elsewhere" >&2 && exit 3; }
        echo "the router at 127.0.0.1:$1 can do its job (start $(cat "$FAKE/restarts" 2>/dev/null | wc -l))"
        exit 0
        ;;
esac
{
    printf '%s (%s)' "$$" "${P2P_NAME-}"
    printf ' [%s]' "$@"
    echo
} >>"$FAKE/starts"
[ ! -e "$FAKE/child" ] || {
    setsid sleep 300 &
    echo "$!" >>"$FAKE/children"
}
[ ! -e "$FAKE/exit" ] || exit "$(cat "$FAKE/exit")"
exec perl -MIO::Socket::INET -e '
    my ($fake, $name, @args) = @ARGV;
    $SIG{TERM} = -e "$fake/deaf" ? "IGNORE" : sub { exit 0 };
    $SIG{USR2} = sub {
        return if -e "$fake/stuck";
        open my $restarts, ">>", "$fake/restarts";
        print $restarts "$$\n";
        unlink "$fake/moved";
    };
    my $socket;
    if (-e "$fake/mute") { }
    elsif ($name =~ /router$/) {
        $socket = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => $args[0], Listen => 64, ReuseAddr => 1);
    } else {
        $socket = IO::Socket::INET->new(PeerAddr => $args[0], PeerPort => $args[1]);
    }
    open my $ready, ">>", "$fake/ready";
    print $ready "$$\n";
    close $ready;
    sleep while 1;' "$FAKE" "$0" "$@"
END
chmod 755 "$work/bin/p2p-router"
cp "$work/bin/p2p-router" "$work/bin/p2p-inner"
PATH=$work/bin:$PATH

behave() { # exit | deaf | mute | child | stuck | ill | wrong | moved [VALUE], or nothing: as a program should
    for flag in exit deaf mute child stuck ill wrong moved; do rm -f "$FAKE/$flag"; done
    [ -z "${1-}" ] || echo "${2-}" >"$FAKE/$1"
}

also() { # ill
    : >"$FAKE/$1"
}

# How often the fake router with this pid has restarted itself.
restarts() { # PID
    grep -cx -- "$1" "$FAKE/restarts" 2>/dev/null || :
}

# As often as that, at least.
restarted() { # PID TIMES
    [ "$(restarts "$1")" -ge "$2" ]
}

asked() { # TIMES
    [ "$(grep -c '' "$FAKE/asked" 2>/dev/null || :)" -ge "$1" ] 2>/dev/null
}

# Fake routers are asked whether they are well once more, or twice: one was on its way.
asked_again() {
    : >"$FAKE/asked"
    eventually asked 2
}

# Below those that the kernel gives to connections: one of them could have it when it is wanted.
free_port() {
    perl -MIO::Socket::INET -e '
        my $port;
        do { $port = 10000 + int rand 22000 } until IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => $port, Listen => 1);
        print $port'
}

# Starts a start script in the background. Sets script to its pid; it speaks into $work/said.
start() { # SCRIPT ARG...
    name=$1
    shift
    "$scripts/$name" "$@" 2>>"$work/said" &
    script=$!
}

# One word of the state of KEY: 2 script, 4 program, 6 starts.
state() { # KEY WORD
    awk -v word="$2" 'NR == 1 { print $word }' "$P2P_RUN_DIR/$1.state" 2>/dev/null || :
}

# The program's pid, once it has got as far as it wants to.
program() { # KEY
    eventually ready "$1" || return 1
    state "$1" 4
}

ready() { # KEY
    pid=$(state "$1" 4)
    [ -n "$pid" ] && grep -qx -- "$pid" "$FAKE/ready" 2>/dev/null
}

replaced() { # KEY OLD_PID
    ready "$1" && [ "$pid" != "$2" ]
}

stopped() { # KEY
    [ ! -e "$P2P_RUN_DIR/$1.state" ]
}
