//! Log-in sessions. Only the keyed hash of a token is stored.

use super::{OrgScope, members::Role};
use crate::domain::ids::{SessionId, UserId};

/// A logged-in member of an organization.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    pub session_id: SessionId,
    pub user_id: UserId,
    pub scope: OrgScope,
    pub role: Role,
}

/// The logged-in operator of the installation, who stands outside organizations.
#[derive(Clone, Copy, Debug)]
pub struct Operator {
    pub session_id: SessionId,
    pub user_id: UserId,
}

/// Whoever is logged in.
#[derive(Clone, Copy, Debug)]
pub enum Person {
    Member(Session),
    Operator(Operator),
}
