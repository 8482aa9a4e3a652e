# shellcheck shell=sh
# caller.sh: what real programs say in their logs, and what a car answers. After harness.sh.

# Sets answer to what the pattern holds of the first line that matches.
said() { # FILE PATTERN
    answer=$(sed -n "s|.*$2.*|\\1|p" "$1" | head -n 1)
    [ -n "$answer" ]
}

# The car is at url.
answers() { # COMMAND[&arg=...] STATUS TEXT
    status=$(curl -q --noproxy '*' -sS --max-time 60 -o "$work/body" -w '%{http_code}' "${url}cgi?command=$1")
    [ "$status $(cat "$work/body")" = "$2 $3" ]
}
