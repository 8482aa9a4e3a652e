# shellcheck shell=sh
# .car.sh: a simulated car in text, for the commands beside it. No command itself: its name begins with a dot.
#
# The state is one line in a private folder: x y heading motion. Commands may run at the same time: each
# writes a file of its own and renames it, so that a reader sees a whole state. Only the rename starts
# a process, so that a command answers in a few milliseconds.

umask 077
folder=${TMPDIR:-/tmp}/p2prouter-car-${USER:-nobody}
width=10 height=4 # the map goes from -width to width, and from -height to height

# Sets x, y, heading and motion. If the state is missing or makes no sense, the car is at the start.
load() {
    x='' y='' heading='' motion=''
    ! is_ours || { read -r x y heading motion <"$folder/state"; } 2>/dev/null || :
    within "$x" "$width" && within "$y" "$height" || x=''
    case $x,$heading,$motion in
        ?*,north,forward | ?*,north,back | ?*,north,none) ;;
        ?*,east,forward | ?*,east,back | ?*,east,none) ;;
        ?*,south,forward | ?*,south,back | ?*,south,none) ;;
        ?*,west,forward | ?*,west,back | ?*,west,none) ;;
        *) x=0 y=0 heading=north motion=none ;;
    esac
}

within() { # NUMBER LIMIT
    case $1 in [0-9] | [1-9][0-9] | -[1-9] | -[1-9][0-9]) [ "${1#-}" -le "$2" ] ;; *) return 1 ;; esac
}

# Others can write to /tmp as well: a folder of theirs is not used, nor a link.
is_ours() {
    # shellcheck disable=SC3067 # every sh on Linux knows -O
    [ -d "$folder" ] && [ ! -L "$folder" ] && [ -O "$folder" ]
}

# Where the state cannot be kept, the command says so and succeeds all the same.
save() {
    [ -d "$folder" ] || mkdir "$folder" 2>/dev/null || :
    is_ours && { echo "$x $y $heading $motion" >"$folder/state.$$"; } 2>/dev/null &&
        mv -f "$folder/state.$$" "$folder/state" 2>/dev/null || echo "(the car's state cannot be kept in $folder)"
}

move() { # forward | back
    motion=$1
    case $1 in forward) step=1 ;; back) step=-1 ;; esac
    to_x=$x to_y=$y
    case $heading in
        north) to_y=$((y + step)) ;;
        south) to_y=$((y - step)) ;;
        east) to_x=$((x + step)) ;;
        west) to_x=$((x - step)) ;;
    esac
    if within "$to_x" "$width" && within "$to_y" "$height"; then
        x=$to_x y=$to_y
    else
        motion=none
        echo "bump: the map ends here"
    fi
}

turn() { # left | right
    case $heading,$1 in
        north,left | south,right) heading=west ;;
        west,left | east,right) heading=south ;;
        south,left | north,right) heading=east ;;
        east,left | west,right) heading=north ;;
    esac
}

report() {
    case $motion in
        none) echo "the car stands at $x,$y and faces $heading" ;;
        *) echo "the car goes $motion, now at $x,$y, and faces $heading" ;;
    esac
}

draw() {
    case $heading in north) arrow='^' ;; east) arrow='>' ;; south) arrow='v' ;; west) arrow='<' ;; esac
    edge=+---------------------+
    echo "$edge"
    row=$height
    while [ "$row" -ge "-$height" ]; do
        if [ "$row" = "$y" ]; then
            printf "|%$((width + x))s%s%$((width - x))s|\n" '' "$arrow" ''
        else
            echo '|                     |'
        fi
        row=$((row - 1))
    done
    echo "$edge"
}
