#!/usr/bin/env bash
# Counts the instructions of a request under valgrind and compares them with benches/instructions.txt; see
# docs/performance.md. `--write` writes the counts of this build there.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
# shellcheck source=tests/setup/system.sh
source tests/setup/system.sh

need_rust
need_compiler
need_postgres
command -v valgrind >/dev/null || install_packages "valgrind" "valgrind" "valgrind" "valgrind"
exec cargo bench --quiet --locked --profile profiling --bench load -- --instructions benches/instructions.txt "$@"
