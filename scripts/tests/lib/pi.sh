# shellcheck shell=sh
# pi.sh: programs for a Raspberry Pi run on this machine, in QEMU. After harness.sh, as root.

# What such a program starts is started in QEMU, too, as an inner's guardian has to be: the kernel knows how,
# for processes in these namespaces only.
on_pi() { # CPU COMMAND…
    mkdir -p "$work/binfmt"
    # shellcheck disable=SC2016 # for the shell in the namespaces
    QEMU_CPU=$1 unshare --user --map-root-user --mount sh -euc '
        mount -t binfmt_misc binfmt_misc "$1"
        for machine in arm aarch64; do cat "/usr/lib/binfmt.d/qemu-$machine.conf" >"$1/register"; done
        shift 2
        exec "$@"' sh "$work/binfmt" "$@"
}
