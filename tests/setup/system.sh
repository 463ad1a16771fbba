# Sourced by ./run and ./test: brings in from the system's packages what is missing. It must never touch
# what is there already, and a step that fails ends the script: nothing is skipped in silence.
# shellcheck shell=bash

# A clean environment has neither, and a login shell may not have Cargo's directory in PATH.
if [ -z "${HOME:-}" ]; then
    unset HOME
    export HOME=~
fi
export PATH="${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}"
export PATH="$PATH:$HOME/.cargo/bin:/usr/local/cargo/bin"

say() { printf '==> %s\n' "$*"; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Runs a command as root.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "this needs root and there is no sudo; run as root: $*"
    fi
}

# install_packages WHAT DEBIAN-PACKAGES FEDORA-PACKAGES ALPINE-PACKAGES (each list one argument)
install_packages() {
    local packages
    if command -v apt-get >/dev/null; then
        read -ra packages <<<"$2"
        say "installing $1: apt-get install $2"
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
    elif command -v dnf >/dev/null; then
        read -ra packages <<<"$3"
        say "installing $1: dnf install $3"
        as_root dnf install -y -q "${packages[@]}"
    elif command -v apk >/dev/null; then
        read -ra packages <<<"$4"
        say "installing $1: apk add $4"
        as_root apk add --quiet "${packages[@]}"
    else
        fail "$1 is missing and this system has none of apt-get, dnf, apk; install it and start again"
    fi
    hash -r
}

need_rust() {
    command -v cargo >/dev/null || fail "the Rust toolchain is missing; install it from https://rustup.rs"
}

need_compiler() {
    command -v cc >/dev/null || install_packages "a C compiler" "gcc libc6-dev" "gcc" "gcc musl-dev"
    command -v cc >/dev/null || fail "there is still no C compiler named cc; install one and start again"
}

# Prints the directory of PostgreSQL's programs: PATH first, then the newest of the usual places.
postgres_programs() {
    local directory directories=()
    IFS=: read -ra directories <<<"$PATH"
    while read -r directory; do directories+=("$directory"); done < <(
        compgen -G '/usr/lib/postgresql/*/bin' | sort -Vr
        echo /usr/local/pgsql/bin
        compgen -G '/usr/pgsql-*/bin' | sort -Vr
        compgen -G '/usr/libexec/postgresql*' | sort -Vr
    )
    for directory in "${directories[@]}"; do
        [ -x "$directory/pg_ctl" ] || continue
        # A link in PATH may stand alone: the other programs lie beside its target.
        directory="$(dirname "$(readlink -f "$directory/pg_ctl")")"
        if [ -x "$directory/initdb" ] && [ -x "$directory/postgres" ]; then
            echo "$directory"
            return 0
        fi
    done
    return 1
}

# For the test behind a pooler; a system without the package goes without that test.
need_redis() {
    command -v redis-server >/dev/null || install_packages "Redis" "redis-server" "redis" "redis"
    command -v redis-server >/dev/null || fail "the tests of the response cache need redis-server; install it and start again"
}

want_pgbouncer() {
    command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ] && return 0
    (install_packages "PgBouncer" "pgbouncer" "pgbouncer" "pgbouncer") || say "no PgBouncer: its test does not run"
}

# Prints the browser of the dashboard's tests.
find_chromium() {
    local program
    for program in chromium-headless-shell chromium chromium-browser; do
        command -v "$program" && return 0
    done
    return 1
}

need_chromium() {
    find_chromium >/dev/null || install_packages "Chromium" "chromium-headless-shell fonts-dejavu-core" "chromium-headless" "chromium"
    find_chromium >/dev/null || fail "the dashboard's tests need Chromium; install it and start again"
}

need_postgres() {
    postgres_programs >/dev/null && return 0
    if command -v apt-get >/dev/null && ! dpkg -s postgresql-common >/dev/null 2>&1; then
        # Debian's package makes and starts a server of its own unless it is told not to beforehand.
        install_packages "PostgreSQL's common files" "postgresql-common" "" ""
        as_root sed -ri 's/^#?[[:space:]]*create_main_cluster.*/create_main_cluster = false/' \
            /etc/postgresql-common/createcluster.conf
    fi
    install_packages "PostgreSQL" "postgresql" "postgresql-server" "postgresql"
    postgres_programs >/dev/null || fail "PostgreSQL's server programs were not found; install its server package"
}
