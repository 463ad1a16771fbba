//! How a connection that only runs the ledger's statements is set up.

use crate::store::SessionSettings;

/// Pins the shape of the plans on a connection that only runs the ledger's statements: look-ups by primary key. Without
/// it a plan made while `hold` was still small could scan it all after it has grown. A flush waits only this long for an
/// account that another transaction holds, and the server ends what the writer gives up.
pub const PLANS: SessionSettings = SessionSettings {
    session: "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off; \
              SET enable_mergejoin = off; SET lock_timeout = '500ms'; SET statement_timeout = '2400ms'",
    transaction: "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off; \
                  SET LOCAL enable_bitmapscan = off; SET LOCAL enable_mergejoin = off; \
                  SET LOCAL lock_timeout = '500ms'; SET LOCAL statement_timeout = '2400ms'",
};
