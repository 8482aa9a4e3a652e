#!/bin/sh
# Tests the sample commands.
set -eu
. "$(dirname -- "$0")/lib/harness.sh"

commands=$scripts/commands
folder=$work/p2prouter-car-driver
export USER=driver
cd /

answers() { # COMMAND LAST_LINE
    run "$commands/$1"
    [ "$code" = 0 ] && [ "$(tail -n 1 "$out")" = "$2" ]
}

ok 'hello greets from its link' [ "$(P2P_LINK=car "$commands/hello")" = 'hello from car' ]
ok 'or else from this host' [ "$("$commands/hello")" = "hello from $(uname -n)" ]

ok 'the car stands at the start' answers status 'the car stands at 0,0 and faces north'
ok 'forward' answers forward 'the car goes forward, now at 0,1, and faces north'
ok 'right' answers right 'the car goes forward, now at 0,1, and faces east'
ok 'back' answers back 'the car goes back, now at -1,1, and faces east'
ok 'left' answers left 'the car goes back, now at -1,1, and faces north'
ok 'stop' answers stop 'the car stands at -1,1 and faces north'
ok 'stop, once more' answers stop 'the car stands at -1,1 and faces north'
ok 'status' answers status 'the car stands at -1,1 and faces north'
ok 'with a map' [ "$(grep -c '^|.\{21\}|$' "$out")" = 9 ]
ok 'and the car in it' says "$out" '|         ^           |'
ok 'the state is for nobody else' [ "$(stat -c %a "$folder" "$folder/state" | tr '\n' ' ')" = '700 600 ' ]

for corner in '-10 -4 south' '10 4 north'; do
    echo "$corner none" >"$folder/state"
    run "$commands/forward"
    ok "the map ends at $corner" says "$out" 'bump'
    "$commands/right" >"$out" && "$commands/forward" >"$out"
    ok 'on the other side too' says "$out" 'bump'
    run "$commands/status"
    ok 'and keeps its shape' [ "$(grep -c '^|.\{21\}|$' "$out")" = 9 ]
done

# shellcheck disable=SC1003,SC2016
for state in '' garbage '0 0' '0 0 up none' '11 0 north none' '08 0 north none' '0 0 north none more' "$(seq 9999)" '$(reboot) * ` " \'; do
    printf '%s\n' "$state" >"$folder/state"
    ok "stop copes with a spoilt state" answers stop 'the car stands at 0,0 and faces north'
done
head -c 10000 /dev/urandom >"$folder/state"
ok 'and with noise' answers stop 'the car stands at 0,0 and faces north'
rm "$folder/state"
mkdir "$folder/state"
run "$commands/stop"
ok 'and with a folder in its place' [ "$code" = 0 ]
rm -r "$folder"
ln -s "$work" "$folder"
ok 'a link that somebody planted is not followed' answers stop 'the car stands at 0,0 and faces north'
ok 'but reported' says "$out" 'cannot be kept'
ok 'and nothing is written there' [ ! -e "$work/state" ]
rm "$folder"
run env TMPDIR=/nowhere "$commands/stop"
ok 'stop succeeds without a place for its state' [ "$code" = 0 ]

for command in forward back left right stop status forward back left right stop status; do
    "$commands/$command" >>"$work/all" 2>&1 || echo "$command failed" >>"$work/all" &
done
wait
ok 'runs at the same time all succeed' not says "$work/all" failed
ok 'and say nothing odd' [ "$(grep -c '^the car' "$work/all")" = 12 ]
ok 'and leave one whole state' [ "$(ls "$folder")" = state ]

# --- those with pinctrl, which only notes what it is told here

mkdir "$work/bin"
cat >"$work/bin/pinctrl" <<END
#!/bin/sh
echo "\$*" >>"$FAKE/pinctrl"
[ ! -e "$FAKE/no-pinctrl" ]
END
chmod 755 "$work/bin/pinctrl"
PATH=$work/bin:$PATH

pins() { # COMMAND LINES
    : >"$FAKE/pinctrl"
    run "$scripts/examples/pinctrl/$1"
    [ "$code" = 0 ] && [ "$(cat "$FAKE/pinctrl")" = "$2" ]
}

# What turns a motor the other way is off before.
ok 'pinctrl: forward' pins forward "set 14,18 op dl
set 4,17 op dh"
ok 'pinctrl: back' pins back "set 4,17 op dl
set 14,18 op dh"
ok 'pinctrl: left' pins left "set 4,18 op dl
set 14,17 op dh"
ok 'pinctrl: right' pins right "set 14,17 op dl
set 4,18 op dh"
ok 'pinctrl: stop' pins stop 'set 4,14,17,18 op dl'
: >"$FAKE/no-pinctrl"
ok 'a pin that can not be set is an error' not pins forward ''
ok 'and nothing else is set then' [ "$(cat "$FAKE/pinctrl")" = 'set 14,18 op dl' ]
done_testing
