//! Money under load, failures and crashes.
