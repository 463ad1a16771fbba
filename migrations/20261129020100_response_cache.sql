-- The response cache: what an API key allows, and what answers from it saved. Only adds.

ALTER TABLE api_key
    ADD COLUMN cache_ttl_seconds integer CONSTRAINT api_key_cache_ttl_ck CHECK (cache_ttl_seconds > 0),
    -- Who may find an answer: NULL where the cache is not used.
    ADD COLUMN cache_scope       text    CONSTRAINT api_key_cache_scope_ck CHECK (cache_scope IN ('organization', 'key'));

-- What the answer would have cost the customer, in nano-USD; NULL for an answer of a provider.
ALTER TABLE usage ADD COLUMN cache_saved bigint CONSTRAINT usage_cache_saved_ck CHECK (cache_saved >= 0);
