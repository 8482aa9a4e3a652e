# shellcheck shell=sh
# debian.sh: a Debian of this machine's release in a folder, which its own systemd runs in namespaces of its own:
# without a network but its own loopback. After harness.sh, as root.

# Sets debian to the folder.
make_debian() { # PACKAGE,…
    debian=$work/debian
    need mmdebstrap mmdebstrap
    release=$(sed -n "s,^VERSION_CODENAME=,,p" /etc/os-release)
    mmdebstrap --quiet --variant=minbase --include="systemd,systemd-sysv,$1" "$release" "$debian" ||
        die 1 "Debian's packages can't be had, see above"
    # Nobody logs in there.
    ln -s /dev/null "$debian/etc/systemd/system/getty.target"
    ln -s /dev/null "$debian/etc/systemd/system/console-getty.service"
}

# Sets init to the process that is 1 in there.
boot_debian() {
    # shellcheck disable=SC2016 # for the shell in the namespaces
    unshare --mount --uts --ipc --net --cgroup --pid --fork --kill-child sh -euc '
        mount --make-rprivate /
        mount --bind "$1" "$1"
        mount -t proc proc "$1/proc"
        mount -t sysfs -o ro sys "$1/sys"
        mount -t cgroup2 cgroup "$1/sys/fs/cgroup"
        mount -t tmpfs dev "$1/dev"
        for device in null zero full random urandom tty; do
            : >"$1/dev/$device"
            mount --bind "/dev/$device" "$1/dev/$device"
        done
        mkdir "$1/dev/pts" "$1/dev/shm"
        mount -t devpts -o newinstance,ptmxmode=0666 pts "$1/dev/pts"
        ln -s pts/ptmx "$1/dev/ptmx"
        ln -s /proc/self/fd "$1/dev/fd"
        mount -t tmpfs -o mode=755 run "$1/run"
        exec env -i container=namespaces PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$1" /lib/systemd/systemd
    ' sh "$debian" >"$work/boot.log" 2>&1 </dev/null &
    unshare=$!
    eventually has_booted
}

has_booted() {
    init=$(pgrep -P "$unshare") && in_debian systemctl is-system-running --quiet 2>/dev/null
}

in_debian() { # COMMAND…
    nsenter --target "$init" --mount --uts --ipc --net --pid --cgroup chroot "$debian" \
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}
