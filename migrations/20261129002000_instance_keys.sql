-- The ids of the master keys that a process holds: a rotation is refused while a live process lacks the new one.
ALTER TABLE instance ADD COLUMN key_ids text[] NOT NULL DEFAULT '{}';
