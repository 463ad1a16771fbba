//! The bounds of the record writer, from the settings.

use crate::{billing::record::RecordLimits, config::Config};

pub fn limits(config: &Config) -> RecordLimits {
    let free_receipts_per_day_max = config.accounts.free_receipts_per_day_max;
    RecordLimits { free_receipts_per_day_max, ..RecordLimits::default() }
}
