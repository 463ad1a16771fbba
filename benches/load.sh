#!/usr/bin/env bash
# Builds the gateway in release mode and measures it beside nginx; see docs/performance.md. Brings nginx in from
# the system's packages if it is missing, without starting its service. Arguments go to the measuring program
# (--help lists them).
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
# shellcheck source=tests/setup/system.sh
source tests/setup/system.sh

# Debian's packages start their service on installation unless this file says no.
POLICY=/usr/sbin/policy-rc.d

install_nginx() {
    local policy_is_ours=""
    if command -v apt-get >/dev/null && [ ! -e "$POLICY" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null
        as_root chmod 755 "$POLICY"
        policy_is_ours=1
        trap 'as_root rm -f "$POLICY"' EXIT
    fi
    install_packages "nginx" "nginx-light" "nginx" "nginx"
    if [ -n "$policy_is_ours" ]; then
        as_root rm -f "$POLICY"
        trap - EXIT
    fi
}

need_rust
need_compiler
need_postgres
# Ordinary users do not have the directory that nginx is in.
export PATH="$PATH:/usr/sbin:/sbin"
command -v nginx >/dev/null || install_nginx
exec cargo bench --quiet --locked --bench load -- "$@"
