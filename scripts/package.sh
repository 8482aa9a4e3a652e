#!/bin/sh
# Makes what a release consists of: programs, Debian packages, tarballs, checksums and a list of parts.
set -eu
here=$(dirname -- "$(readlink -f -- "$0")")
. "$here/lib/process.sh"
. "$here/lib/tools.sh"

usage() {
    cat <<'END'
package.sh [--out DIR] [TARGET…]     builds and packs for these targets, or all of them
package.sh [--out DIR] --pack DIR    packs the programs of this machine that are in DIR; builds nothing

TARGET: x86_64, aarch64 (Raspberry Pi OS of 64 bits), armv6 (of 32 bits, on every Pi).
Makes in DIR (dist): for each program a static one in a .tar.gz, and a .deb; SHA256SUMS, and the list of all
crates in them (p2p-*.cdx.json). DIR/image is for the container: see packaging/Containerfile.

Builds what git has, as root, in a folder with Debian 13 and its Rust, with zig's C compiler from PyPI: the same
commit gives the same bytes on any machine. The folder (2 GB) is kept in target/package.
END
}

# --- the targets: what each is called by rustc and by Debian

triple() { # TARGET
    case $1 in
        x86_64 | aarch64) echo "$1-unknown-linux-musl" ;;
        # ARMv6 with floating point: the first Pi and the Zero have no more, and newer ones run it too.
        armv6) echo arm-unknown-linux-musleabihf ;;
        *) die 2 "no such target: $1 (see --help)" ;;
    esac
}

architecture() { # TARGET
    case $1 in
        x86_64) echo amd64 ;;
        aarch64) echo arm64 ;;
        armv6) echo armhf ;;
    esac
}

# What an image calls it.
image_architecture() { # ARCHITECTURE
    case $1 in
        armhf) echo arm ;;
        *) echo "$1" ;;
    esac
}

programs='p2p-router p2p-inner p2p-console'
start_scripts="scripts/p2p.env.example scripts/p2p-router-server.sh scripts/p2p-router-server-kill.sh
    scripts/p2p-inner-server.sh scripts/p2p-inner-server-kill.sh
    scripts/lib/process.sh scripts/lib/instance.sh scripts/lib/watch.sh scripts/lib/supervise.sh scripts/lib/restart.sh"
zig=0.17.1
zigbuild=0.24.1
cyclonedx=0.5.9

# --- the folder that is built in

# Sets root: Debian 13 with its Rust, whose standard library is built for each target from its source.
open_root() {
    # Another version of a tool gets another folder.
    root=$top/target/package/zig-$zig-zigbuild-$zigbuild-cyclonedx-$cyclonedx
    [ ! -e "$root/ready" ] || return 0
    need mmdebstrap mmdebstrap
    need python3 python3
    python3 -m pip --version >/dev/null 2>&1 || die 1 "pip is missing. On Debian: sudo apt install python3-pip"
    [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] ||
        die 1 "Debian's keys are missing. On Debian and Ubuntu: sudo apt install debian-archive-keyring"
    step "Downloading Debian's Rust and zig"
    rm -rf "$top/target/package"
    mkdir -p "$top/target/package"
    mmdebstrap --quiet --variant=minbase --include=rustc-web,cargo-web,rust-web-src,ca-certificates trixie "$root" ||
        die 1 "Debian's Rust can't be had, see above"
    wheels=$work/wheels
    python3 -m pip download --quiet --no-deps --only-binary :all: --dest "$wheels" "ziglang==$zig" "cargo-zigbuild==$zigbuild" ||
        die 1 "zig can't be had from PyPI, see above"
    for wheel in "$wheels"/*.whl; do
        python3 -m zipfile -e "$wheel" "$root/opt"
    done
    chmod +x "$root/opt/ziglang/zig" "$root"/opt/cargo_zigbuild-*/scripts/cargo-zigbuild
    mkdir "$root/src" "$root/cargo"
    in_root cargo install --quiet --locked --root /opt cargo-cyclonedx --version "$cyclonedx" ||
        die 1 "cargo-cyclonedx can't be had, see above"
    : >"$root/ready"
}

# Runs in the root, with the names and the authorities that this machine knows, and processes of its own.
in_root() { # COMMAND…
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
    # shellcheck disable=SC2016 # for the shell in there
    unshare --mount --pid --fork --kill-child sh -c '
        root=$1
        shift
        mount --bind /dev "$root/dev" && mount -t proc proc "$root/proc" || exit
        exec chroot "$root" "$@"' sh "$root" env -i \
        PATH="/opt/bin:/opt/cargo_zigbuild-$zigbuild.data/scripts:/usr/bin" HOME=/cargo \
        CARGO_HOME=/cargo CARGO_ZIGBUILD_ZIG_PATH=/opt/ziglang/zig SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" "$@"
}

# What git has of these, as it is here.
copy_tracked() { # FOLDER [PATH…]
    into=$1
    shift
    git ls-files -z -- "$@" | tar --create --null --files-from=- | tar --extract --directory "$into"
}

place_source() {
    find "$root/src" -mindepth 1 -maxdepth 1 ! -name target -exec rm -rf {} +
    copy_tracked "$root/src"
}

# Debian's std is of glibc, and its ARM of ARMv7: std is built with the rest, which stable Rust takes only so. Without
# what names the functions of a backtrace: a stripped program has no names. Optimised as a whole, p2p-inner has a fifth
# less bytes, for the minutes that this takes here.
build_for() { # TARGET
    triple=$(triple "$1")
    step "Building for $triple"
    in_root env -C /src RUSTC_BOOTSTRAP=1 CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
        RUSTFLAGS='-C link-self-contained=no -C strip=symbols --remap-path-prefix=/cargo= --remap-path-prefix=/usr/lib/rustlib/src=' \
        cargo-zigbuild zigbuild --release --locked -Zbuild-std=std,panic_unwind -Zbuild-std-features=panic-unwind --target "$triple" \
        --features p2p-router/mesh --bin p2p-router --bin p2p-inner --bin p2p-console ||
        die 1 "the build has failed, see above"
    built=$root/src/target/$triple/release
}

# --- what goes beside the programs

# Manual pages and completions are the same for all targets: the programs of this machine print them. Sets papers.
write_papers() { # FOLDER_OF_PROGRAMS
    papers=$work/papers
    mkdir -p "$papers/man" "$papers/completions/bash" "$papers/completions/zsh" "$papers/completions/fish"
    for program in $programs; do
        "$1/$program" man >"$papers/man/$program.1"
        "$1/$program" completions bash >"$papers/completions/bash/$program"
        "$1/$program" completions zsh >"$papers/completions/zsh/_$program"
        "$1/$program" completions fish >"$papers/completions/fish/$program.fish"
    done
}

# Puts what a package consists of into a folder, with the date of the commit on each file.
place() { # FOLDER FOLDER_OF_PROGRAMS
    mkdir -p "$1/bin"
    for program in $programs; do
        install -m 755 "$2/$program" "$1/bin/$program"
    done
    cp -r "$papers/man" "$papers/completions" "$1"
    # shellcheck disable=SC2086
    copy_tracked "$1" README.md CHANGELOG.md LICENSE scripts/systemd packaging/debian $start_scripts
    mv "$1/scripts/systemd" "$1/packaging/debian" "$1"
    find "$1" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
}

pack_debs() { # FOLDER ARCHITECTURE
    # By its path: a program in /usr/local/bin that is older would be started in its place.
    for unit in "$1"/systemd/*.service; do
        sed 's,^ExecStart=,&/usr/bin/,' "$unit" >"$1/debian/${unit##*/}"
    done
    printf 'p2prouter (%s) stable; urgency=medium\n\n  * See changelog.gz.\n\n -- %s  %s\n' "$version" \
        "$(sed -n 's/^Maintainer: //p' "$1/debian/control")" "$(date -uR --date "@$SOURCE_DATE_EPOCH")" >"$1/debian/changelog"
    (cd "$1" && DEB_BUILD_OPTIONS=nocheck dpkg-buildpackage --host-arch "$2" --build=binary --unsigned-changes --no-check-builddeps) >"$work/debs.log" 2>&1 || {
        cat "$work/debs.log" >&2
        die 1 "the Debian packages of $2 can't be made, see above"
    }
    mv "$1"/../*.deb "$out"
}

pack_tarballs() { # FOLDER TRIPLE
    for program in $programs; do
        name=$program-$version-$2
        (
            cd "$1"
            set -- LICENSE CHANGELOG.md README.md "man/$program.1" completions/*/*"$program"*
            # For machines without systemd, too.
            # shellcheck disable=SC2086
            [ ! -e "systemd/$program.service" ] || set -- "$@" "systemd/$program.service" $start_scripts
            tar --create --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
                --transform="s,^bin/,," --transform="s,^,$name/," "bin/$program" "$@"
        ) | gzip --no-name --best >"$out/$name.tar.gz"
    done
}

pack() { # FOLDER_OF_PROGRAMS TRIPLE ARCHITECTURE
    step "Packing for $3"
    place "$work/$3/tree" "$1"
    pack_tarballs "$work/$3/tree" "$2"
    pack_debs "$work/$3/tree" "$3"
}

# The crates of each program, as CycloneDX: x86_64 has all that the other targets have.
list_parts() {
    step 'Listing the crates'
    in_root env -C /src cargo-cyclonedx cyclonedx --quiet --format json --target "$(triple x86_64)" --features p2p-router/mesh --no-build-deps ||
        die 1 "the list of crates can't be made, see above"
    for program in $programs; do
        cp "$root/src/crates/${program#p2p-}/$program.cdx.json" "$out"
    done
}

out=dist
given=
while [ "$#" -gt 0 ]; do
    case $1 in
        -h | --help) usage && exit ;;
        --out | --pack)
            [ "$#" -ge 2 ] || die 2 "a folder is missing after $1 (see --help)"
            [ "$1" = --out ] && out=$2 || given=$2
            shift 2
            ;;
        -*) die 2 "no such option: $1 (see --help)" ;;
        *) break ;;
    esac
done
[ -z "$given" ] || [ "$#" = 0 ] || die 2 "what --pack packs is for this machine: no target goes with it (see --help)"
for target; do triple "$target" >/dev/null; done
[ -z "$given" ] || given=$(readlink -e -- "$given") || die 2 "there is no folder $given"

mkdir -p "$out"
out=$(readlink -f -- "$out")
cd "$here/.."
top=$PWD
need git git
need dpkg-buildpackage dpkg-dev
need dh debhelper
version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
open_work package :
rm -rf "$out"/p2p-*.deb "$out"/p2p-*.tar.gz "$out"/p2p-*.cdx.json "$out/SHA256SUMS" "$out"/image/*/p2p-router
if [ -n "$given" ]; then
    write_papers "$given"
    pack "$given" "$(dpkg --print-architecture)-linux" "$(dpkg --print-architecture)"
else
    [ "$(id -u)" = 0 ] || die 1 "building needs root: it mounts /dev and /proc in the folder that it builds in"
    [ "$#" -gt 0 ] || set -- x86_64 aarch64 armv6
    open_root
    place_source
    mkdir -p "$out/image/state"
    # The manual pages come from programs that run here.
    build_for "$(uname -m)"
    write_papers "$built"
    for target; do
        build_for "$target"
        pack "$built" "$triple" "$(architecture "$target")"
        install -D --mode 755 "$built/p2p-router" "$out/image/$(image_architecture "$(architecture "$target")")/p2p-router"
    done
    list_parts
fi
(cd "$out" && sha256sum p2p-* >SHA256SUMS)
step "In $out:"
ls -l "$out"
