#!/usr/bin/env bash
# Makes the archives of a release in target/dist: for each target a static program with its documents, an SBOM
# (CycloneDX), and SHA-256 sums of all. Same commit, same toolchain: same bytes.
#   deploy/release.sh [TARGET …]      x86_64-unknown-linux-musl by default; aarch64-unknown-linux-musl is known, too
# It needs rustup, and for each target a C compiler for musl: musl-gcc (musl-tools) for this machine's own
# architecture, cargo-zigbuild for others.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
# shellcheck source=tests/setup/system.sh
source tests/setup/system.sh
need_rust

cyclonedx=0.5.9
[ $# -gt 0 ] || set -- x86_64-unknown-linux-musl
version="$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)"
[ -n "$version" ] || fail "Cargo.toml states no version"
[ -z "$(git status --porcelain)" ] || fail "the tree has changes: commit them first, so that the commit names what is built"
KAIROSROUTE_BUILD_COMMIT="$(git rev-parse --short=12 HEAD)"
SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)"
export KAIROSROUTE_BUILD_COMMIT SOURCE_DATE_EPOCH
# No path of this machine goes into the program.
export RUSTFLAGS="--remap-path-prefix=$PWD=/kairosroute --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo -C target-feature=+crt-static"

build() {
    local target="$1"
    rustup target add "$target" >/dev/null
    if [ "$target" = "$(uname -m)-unknown-linux-musl" ] && command -v musl-gcc >/dev/null; then
        local name="${target//-/_}"
        export "CC_$name=musl-gcc" "CARGO_TARGET_${name^^}_LINKER=musl-gcc"
        cargo build --release --locked --bin kairosroute --target "$target"
    elif command -v cargo-zigbuild >/dev/null; then
        cargo zigbuild --release --locked --bin kairosroute --target "$target"
    else
        fail "no C compiler for $target: install musl-tools (this architecture) or cargo-zigbuild (any)"
    fi
}

sbom() {
    command -v cargo-cyclonedx >/dev/null || cargo install --quiet --locked "cargo-cyclonedx@$cyclonedx"
    cargo cyclonedx --format json --target "$1" --override-filename bom --manifest-path Cargo.toml
    mv bom.json "$2"
    # The other members of the workspace get files of their own, which say nothing more.
    find crates fuzz -maxdepth 2 -name bom.json -delete
}

dist=target/dist
rm -rf "$dist"
mkdir -p "$dist"
for target in "$@"; do
    name="kairosroute-$version-$target"
    stage="$dist/stage/$name"
    say "building $name"
    build "$target"
    mkdir -p "$stage/deploy"
    install -m 755 "target/$target/release/kairosroute" "$stage/kairosroute"
    ! ldd "$stage/kairosroute" 2>/dev/null | grep -q '=>' || fail "$target: the program is not static"
    cp -r README.md CHANGELOG.md LICENSE .env.example docs "$stage/"
    cp -r deploy/systemd deploy/prometheus deploy/grafana "$stage/deploy/"
    say "listing what $name is made of"
    sbom "$target" "$dist/$name.cdx.json"
    tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -C "$dist/stage" -cf - "$name" |
        gzip -9n >"$dist/$name.tar.gz"
done
rm -rf "$dist/stage"
(cd "$dist" && sha256sum -- *.tar.gz *.cdx.json >SHA256SUMS)
say "made:"
ls -l "$dist"
