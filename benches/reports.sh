#!/usr/bin/env bash
# Times reports over a year of 100 million usage rows and the recomputation of charges, beside a running gateway; see
# docs/performance.md. Builds the gateway in release mode unless KR_BIN names a program.
#   DATABASE_URL=postgres://… benches/reports.sh [REQUESTS]
# DATABASE_URL is an empty database that it may fill and that it leaves filled; REQUESTS (1,000,000 by default) are
# made for the recomputation.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
: "${DATABASE_URL:?name an empty PostgreSQL database}"
requests="${1:-1000000}"
if [ -z "${KR_BIN:-}" ]; then
    cargo build --release --locked --quiet
    KR_BIN=target/release/kairosroute
fi
KAIROSROUTE_MASTER_KEYS="bench:$(head -c 32 /dev/urandom | base64)"
export DATABASE_URL KAIROSROUTE_MASTER_KEYS KAIROSROUTE_LISTEN=127.0.0.1:18091 KAIROSROUTE_METRICS_LISTEN=127.0.0.1:18092
export KAIROSROUTE_REPORT_TIMEOUT_MS=60000
base="http://$KAIROSROUTE_LISTEN"
log="$(mktemp)"
"$KR_BIN" serve >"$log" 2>&1 &
gateway=$!
trap 'kill "$gateway" 2>/dev/null; wait "$gateway" 2>/dev/null || true; rm -f "$log"' EXIT
until curl -sf "$base/readyz" >/dev/null; do
    kill -0 "$gateway" 2>/dev/null || { cat "$log" >&2; exit 1; }
    sleep 0.2
done
account="$(curl -sf "$base/api/auth/signup" -H 'Content-Type: application/json' \
    -d "{\"email\":\"bench-$$@example.com\",\"password\":\"$(head -c 18 /dev/urandom | base64)\",\"organization\":\"Bench\"}")"
session="$(sed -E 's/.*"sessionToken":"([^"]+)".*/\1/' <<<"$account")"
organization="$(sed -E 's/.*"id":"org_([0-9a-f]{32})".*/\1/' <<<"$account")"

load() { psql -X -q -v ON_ERROR_STOP=1 -v organization="$organization" "$@" "$DATABASE_URL"; }

# Prints the time of each of three answers of a year's report.
report() {
    local times=() at
    for _ in 1 2 3; do
        at="$(curl -s -o "$log.body" -w '%{http_code} %{time_total}' "$base/api/usage?$1" -H "Authorization: Bearer $session")"
        [ "${at%% *}" = 200 ] || { cat "$log.body" >&2; exit 1; }
        times+=("${at##* }")
    done
    printf '%-72s %s s\n' "$1" "${times[*]}"
    rm -f "$log.body"
}

echo "== a year of 100 million rows"
load -f benches/reports/year.sql
year='from=2025-11-01&to=2026-10-31'
report "$year&group_by=model"
report "$year&group_by=day"
report "$year&group_by=day,model"
report "$year&group_by=month,key"
report "$year&group_by=hour"
report "$year&group_by=day&tz=Europe/Berlin"
report "$year&group_by=month,model&tz=Asia/Kathmandu"
echo "   (the days of the zone are summed by a job from its first report on)"
until [ "$(load -Atc "SELECT count(*) FROM usage_zone WHERE NOT is_summed")" = 0 ]; do sleep 1; done
report "$year&group_by=day&tz=Europe/Berlin"
report "$year&group_by=day,model&tz=Europe/Berlin"

echo "== recomputation of $requests requests, beside the gateway"
load -v requests="$requests" -f benches/reports/requests.sql
begin="$(date +%s.%N)"
"$KR_BIN" billing recompute --from 2026-10-01 --to 2026-10-30 >"$log.recompute" 2>&1 &
recompute=$!
peak=0
while kill -0 "$recompute" 2>/dev/null; do
    now="$(awk '/VmHWM/ {print $2}' "/proc/$recompute/status" 2>/dev/null || true)"
    peak="${now:-$peak}"
    sleep 0.5
done
wait "$recompute" || { tail -5 "$log.recompute" >&2; exit 1; }
tail -1 "$log.recompute"
rm -f "$log.recompute"
awk -v begin="$begin" -v end="$(date +%s.%N)" -v requests="$requests" -v peak="$peak" 'BEGIN {
    seconds = end - begin
    printf "%.0f s, %.0f requests a second, %.0f s for 10 million; peak memory %.0f MB\n", seconds, requests / seconds,
        10000000 / requests * seconds, peak / 1024 }'
