//! The operator's pages: customers, platform keys, revenue, operators, the audit log, the state of the installation.

pub mod audit_log;
pub mod customers;
pub mod operators;
pub mod providers;
pub mod system;
