#!/bin/sh
# Tests the sample workers as they are, with the real programs: Python's with gpiozero and its mock
# pins, the shell's with a pinctrl that only notes what it is told. And that docs/ shows them.
set -eu
. "$(dirname -- "$0")/lib/harness.sh"
. "$(dirname -- "$0")/lib/caller.sh"

repository=$tests/../..
samples=scripts/examples/workers
gpiozero=2.0.1.post3

# CI must try Python's example; anyone else is told why it is not tried.
skip() { # SENTENCE
    [ "${CI:-}" != true ] || die 1 "$1"
    say "$samples: not tested, since $1"
    done_testing
}

page_shows() { # LANGUAGE FILE
    # shellcheck disable=SC2016 # Perl's variables
    perl -e '
        local $/;
        my ($language, @files) = @ARGV;
        my ($page, $sample) = map { open my $file, "<", $_ or die "$_: $!"; scalar <$file> } @files;
        exit(index($page, "```$language\n$sample```\n") < 0)' "$1" "$repository/docs/commands-and-workers.md" "$repository/$samples/$2"
}

ok 'the page on workers shows car.worker as it is' page_shows python car.worker
ok 'and lights.worker' page_shows sh lights.worker
ok 'and the stop command beside them' page_shows sh stop

has_venv() { python3 -c 'import venv, ensurepip' 2>/dev/null; }
if [ "${CI:-}" = true ] && ! has_venv; then
    need python3 python3-venv
fi
has_venv || skip 'python3 with venv is missing. On Debian: sudo apt install python3-venv'
need curl curl
need_cargo

cd "$repository"
# As the demo does: what is built once is there for both.
build p2p-router p2p-inner
# Kept beside what was built, so that it is fetched once.
venv=${bin%/*}/tmp/gpiozero-$gpiozero-python-$(python3 -c 'import sys; print(sys.version.split()[0])')
if [ ! -e "$venv/whole" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python3" -m pip install -q --disable-pip-version-check "gpiozero==$gpiozero" ||
        skip "gpiozero can't be had from PyPI just now"
    : >"$venv/whole"
fi

# What the workers find on their PATH; they get little else of the environment.
mkdir "$work/bin" "$work/car"
cat >"$work/bin/python3" <<END
#!/bin/sh
echo \$\$ >>"$FAKE/python"
export GPIOZERO_PIN_FACTORY=mock GPIOZERO_MOCK_PIN_CLASS=mockpwmpin
exec "$venv/bin/python3" "\$@"
END
cat >"$work/bin/pinctrl" <<END
#!/bin/sh
echo "\$*" >>"$FAKE/pinctrl"
[ ! -e "$FAKE/no-pinctrl" ]
END
chmod 755 "$work/bin/python3" "$work/bin/pinctrl"
cp -R "$scripts/examples/workers" "$work/car/command"
: >"$FAKE/pinctrl"

cd "$work/car"
"$bin/p2p-router" 0 --open --bind 127.0.0.1 --state-dir "$work/router" 2>"$work/router.log" &
router=$!
ok 'the router is there' eventually said "$work/router.log" 'listening on [^ ]*:\([0-9][0-9]*\)'
PATH="$work/bin:$PATH" "$bin/p2p-inner" 127.0.0.1 "$answer" 0 --name car \
    --state-dir "$work/inner" 2>"$work/inner.log" &
inner=$!
ok 'the car is there' eventually said "$work/inner.log" 'link up: \(http://[^ ]*\)'
url=$answer

# --- Python with gpiozero
ok 'car.worker is ready' eventually answers stop 200 'motors at (0.0, 0.0)'
python=$(tail -n 1 "$FAKE/python")
ok 'forward turns both motors' answers forward 200 'motors at (1.0, 1.0)'
ok 'with an argument slower' answers 'forward&arg=0.25' 200 'motors at (0.25, 0.25)'
ok 'back' answers back 200 'motors at (-1.0, -1.0)'
ok 'left' answers left 200 'motors at (-1.0, 1.0)'
ok 'right' answers right 200 'motors at (1.0, -1.0)'
ok 'an argument that makes no sense is an error' \
    answers 'forward&arg=fast' 500 "could not convert string to float: 'fast'"
ok 'and one that is too much' answers 'forward&arg=2' 500 'forward speed must be between 0 and 1'
ok 'stop' answers stop 200 'motors at (0.0, 0.0)'
ok 'all of it was one process' [ "$(tail -n 1 "$FAKE/python")" = "$python" ]

# --- its death
stopped() { [ "$(tail -n 1 "$FAKE/pinctrl")" = 'set 4,14,17,18 op dl' ]; }
: >"$FAKE/pinctrl"
ok 'the car moves' answers forward 200 'motors at (1.0, 1.0)'
ok 'and nobody stops it' not stopped
kill -KILL "$python"
ok 'a worker that is killed leaves the car to the stop command' eventually stopped
ok 'and is started again' eventually answers stop 200 'motors at (0.0, 0.0)'
ok 'as another process' not [ "$(tail -n 1 "$FAKE/python")" = "$python" ]

# --- the shell
ok 'lights/on' eventually answers lights/on 200 'GPIO 27 is at dh'
ok 'sets the pin' [ "$(tail -n 1 "$FAKE/pinctrl")" = 'set 27 op dh' ]
ok 'lights/off' answers lights/off 200 'GPIO 27 is at dl'
ok 'clears it' [ "$(tail -n 1 "$FAKE/pinctrl")" = 'set 27 op dl' ]
ok 'what stands in an argument is no command' \
    answers 'lights/off&arg=%22command%22:%22lights/on%22,' 200 'GPIO 27 is at dl'
: >"$FAKE/no-pinctrl"
ok 'what fails is an error' answers lights/on 500 "pinctrl has failed: see the log"
rm "$FAKE/no-pinctrl"

# --- the end
python=$(tail -n 1 "$FAKE/python")
kill -TERM "$inner"
wait "$inner" || :
ok 'the worker ends with the inner' gone "$python"
kill -TERM "$router"
wait "$router" || :
ok 'nothing is left' eventually nothing_left
done_testing
