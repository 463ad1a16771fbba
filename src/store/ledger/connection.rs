//! How a connection that only runs the ledger's statements is set up.

use crate::store::SessionSettings;

/// Pins the shape of the query plans on a connection that runs only the ledger's statements: look-ups by primary key.
/// Without it, a plan that was made while `hold` was small could scan the whole table after it has grown. A flush waits
/// only this long for an account that another transaction has locked, and the server ends a statement that the writer
/// gives up.
pub const PLANS: SessionSettings = SessionSettings {
    session: "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off; \
              SET enable_mergejoin = off; SET lock_timeout = '500ms'; SET statement_timeout = '2400ms'",
    transaction: "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off; \
                  SET LOCAL enable_bitmapscan = off; SET LOCAL enable_mergejoin = off; \
                  SET LOCAL lock_timeout = '500ms'; SET LOCAL statement_timeout = '2400ms'",
};
