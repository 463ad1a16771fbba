-- A year of 100 million usage rows of one organization, as the sums that the job would have made of them:
-- psql -v organization=UUID -f benches/reports/year.sql, on a migrated database that has the organization. 35,040 steps
-- of 15 minutes up to the end of October 2026, 60 groups in each (12 models, 5 API keys; 47.6 rows in a group), and
-- 20,000 rows of the last step, which is not summed yet. Triggers sum the days of time zones that are wanted.
SET synchronous_commit = off;
INSERT INTO usage_rollup (org_id, bucket, api_key_id, member_id, provider, model, byok, category, kind, status, turns,
                          requests, input_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens,
                          output_tokens, reasoning_tokens, audio_input_tokens, image_input_tokens, audio_output_tokens,
                          image_output_tokens, images, input_images, characters, audio_ms, searches, queries, pages, cost,
                          charge)
SELECT :'organization', bucket, ('00000000-0000-0000-0000-00000000000' || k)::uuid, NULL,
       (ARRAY['openai', 'anthropic', 'google', 'groq'])[m % 4 + 1], 'model-' || m, m % 3 = 0, '', 'chat', 'completed',
       48, 48, 48000, 0, 0, 0, 24000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 48000000, 50400000
FROM generate_series(timestamptz '2025-11-01 00:00+00', timestamptz '2026-10-31 23:45+00', interval '15 minutes') bucket,
     generate_series(1, 12) m, generate_series(1, 5) k;
INSERT INTO usage_day
    SELECT org_id, day_of(bucket), api_key_id, min(member_id::text)::uuid, provider, model, byok, category, kind, status,
           sum(turns), sum(requests), sum(input_tokens), 0, 0, 0, sum(output_tokens), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
           sum(cost), sum(charge)
    FROM usage_rollup WHERE org_id = :'organization' GROUP BY 1, 2, 3, 5, 6, 7, 8, 9, 10;
INSERT INTO usage (org_id, request_id, api_key_id, provider, model, byok, status, basis, input_tokens, cache_read_tokens,
                   cache_write_tokens, output_tokens, reasoning_tokens, cost, charge, latency_ms, created_at)
SELECT :'organization',
       (left(first_id_at('2026-10-31 23:45+00')::text, 19) || '8000-' || lpad(to_hex(n), 12, '0'))::uuid,
       '00000000-0000-0000-0000-000000000001', 'openai', 'model-' || n % 12, false, 'completed', 'reported', 1000, 0, 0,
       500, 0, 1000000, 1050000, 1, now()
FROM generate_series(1, 20000) n;
ANALYZE usage_rollup;
ANALYZE usage_day;
ANALYZE usage;
SELECT pg_size_pretty(pg_total_relation_size('usage_rollup')) AS size_of_the_steps, count(*) AS steps FROM usage_rollup;
