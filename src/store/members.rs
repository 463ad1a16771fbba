//! Who belongs to which organization, as what; and invitations.

use serde::{Deserialize, Serialize};

/// A member's role in its organization. What each may do stands in `accounts::roles`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Owner,
    Admin,
    Member,
    Billing,
    Viewer,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Owner => "owner",
            Role::Admin => "admin",
            Role::Member => "member",
            Role::Billing => "billing",
            Role::Viewer => "viewer",
        }
    }

    /// From its stored form.
    pub fn parse(text: &str) -> Option<Role> {
        [Role::Owner, Role::Admin, Role::Member, Role::Billing, Role::Viewer]
            .into_iter()
            .find(|role| role.as_str() == text)
    }
}
