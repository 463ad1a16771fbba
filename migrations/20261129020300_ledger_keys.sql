-- Every statement that writes a hold or an entry has locked the account in it, and no account is ever deleted: these
-- keys only cost a look-up for each row. `kairosroute audit` finds a row without an account.
ALTER TABLE hold DROP CONSTRAINT hold_account_fk;
ALTER TABLE entry DROP CONSTRAINT entry_account_fk;
