-- Requests of one organization as the gateway records them, for the time of a recomputation and the size of a million:
-- psql -v organization=UUID -v requests=1000000 -f benches/reports/requests.sql, on a migrated database that has the
-- organization. Nine of ten run on the platform's key (a hold, a charge, a usage row, a receipt), one on an own key.
-- Spread over the 28 days from 1 October 2026 on.
SET synchronous_commit = off;
CREATE TEMPORARY TABLE made AS
SELECT n,
       (left(id, 13) || '-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid AS id,
       n % 10 = 0 AS byok,
       100 + n % 900 AS input, 50 + n % 400 AS output, at
FROM (SELECT n, at, first_id_at(at)::text AS id
      FROM (SELECT n, timestamptz '2026-10-01 00:00+00' + n * interval '28 days' / :requests AS at
            FROM generate_series(1, :requests) n) t) r;
-- 0.15 and 0.6 USD per million tokens, and 5 % margin.
CREATE TEMPORARY TABLE priced AS
SELECT *, CASE WHEN byok THEN 0 ELSE (cost * 10500 + 9999) / 10000 END AS charge
FROM (SELECT *, (input * 150 + output * 600)::bigint AS cost FROM made) m;

INSERT INTO hold (org_id, id, request_id, turn, api_key_id, instance_id, state, amount, margin_bps, price_version, cost,
                  charge, created_at, resolved_at, provider, model, kind)
SELECT :'organization', id, id, 0, :'organization', :'organization', 'settled', charge * 2, 500, 'bench', cost, charge,
       at, at + interval '1 second', 'openai', 'openai/gpt-4o-mini', 'chat'
FROM priced WHERE NOT byok;
INSERT INTO entry (org_id, id, kind, debit_account, credit_account, amount, cost, margin, hold_id, request_id,
                   created_at, booked_at)
SELECT :'organization', id, 'charge', 'customer', 'revenue', charge, cost, charge - cost, id, id, at, at
FROM priced WHERE NOT byok;
UPDATE credit_account SET posted = posted - (SELECT sum(charge) FROM priced WHERE NOT byok)
WHERE org_id = :'organization';
INSERT INTO usage (org_id, request_id, turn, api_key_id, provider, model, byok, status, basis, input_tokens,
                   cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost, charge, latency_ms,
                   created_at, kind)
SELECT :'organization', id, 0, :'organization', 'openai', 'openai/gpt-4o-mini', byok, 'completed', 'reported', input, 0,
       0, output, 0, cost, charge, 900, at, 'chat'
FROM priced;
INSERT INTO receipt (org_id, id, api_key_id, document, created_at, refused, requested, model, provider, kind, byok,
                     status, charge, cost, latency_ms, attempts)
SELECT :'organization', id, :'organization', json_build_object(
           'receipt_id', 'rcpt_' || replace(id::text, '-', ''),
           'request_id', 'req_' || replace(id::text, '-', ''),
           'kind', 'chat',
           'created_at', at,
           'candidates', json_build_array(json_build_object(
               'model_id', 'openai/gpt-4o-mini', 'provider', 'OpenAI', 'score', 1, 'est_cost_usd', 0.0001,
               'reasons', json_build_array('requested'))),
           'decision', json_build_object('requested', 'openai/gpt-4o-mini', 'model_id', 'openai/gpt-4o-mini',
                                         'provider', 'OpenAI', 'strategy', 'pinned', 'fallback_chain', '[]'::json),
           'attempts', json_build_array(json_build_object(
               'provider', 'OpenAI', 'model_id', 'openai/gpt-4o-mini',
               'credential', CASE WHEN byok THEN 'byok' ELSE 'platform' END, 'credential_id', NULL, 'status', 200,
               'error', NULL, 'start_ms', 3, 'latency_ms', 880)),
           'byok', byok,
           'usage', json_build_object('input', input, 'cache_read', 0, 'cache_write', 0, 'cache_write_1h', 0,
                                      'output', output, 'reasoning', 0, 'basis', 'reported'),
           'price', json_build_object(
               'catalog_version', 'bench',
               'lines', json_build_array(
                   json_build_object('bucket', 'input', 'tokens', input, 'usd_per_million', '0.15'),
                   json_build_object('bucket', 'output', 'tokens', output, 'usd_per_million', '0.6')),
               'variant', json_build_object('service_tier', 'standard')),
           'margin_bps', CASE WHEN byok THEN 0 ELSE 500 END,
           'charged_nano_usd', charge,
           'provider_cost_nano_usd', cost,
           'margin_nano_usd', CASE WHEN byok THEN 0 ELSE charge - cost END,
           'execution', json_build_object('status', 'completed', 'stream', false, 'latency_ms', 900, 'ttft_ms', 400,
                                          'held_ms', 2, 'settled_ms', 899, 'error', NULL)),
       at, false, 'openai/gpt-4o-mini', 'openai/gpt-4o-mini', 'openai', 'chat', byok, 'completed', charge, cost, 900, 1
FROM priced;
ANALYZE hold, entry, usage, receipt;
SELECT name, pg_size_pretty(sum(pg_total_relation_size(c.oid)) * 1000000 / :requests) AS size_of_a_million_requests
FROM (VALUES ('hold'), ('entry'), ('usage'), ('receipt')) AS t (name)
JOIN pg_class c ON c.relname = t.name OR c.oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass(t.name))
WHERE c.relkind IN ('r', 'p') GROUP BY name ORDER BY name;
