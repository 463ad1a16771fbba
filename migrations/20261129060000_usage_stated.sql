-- Nano-USD that the provider stated as its bill for the answer; 0 where it stated none. With it a charge can be worked
-- out again from the row.
ALTER TABLE usage ADD COLUMN stated bigint NOT NULL DEFAULT 0 CHECK (stated >= 0);
