//! What each role may do, in one table.

pub use crate::store::members::Role;

/// Something a route or a service asks of a role.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Capability {
    /// See API keys, masked. A member sees only its own.
    ReadKeys,
    /// Create, change, revoke API keys and the provider keys in them. A member only its own.
    WriteKeys,
    /// See the other members.
    ReadMembers,
    /// Invite, change roles, remove.
    WriteMembers,
    /// Balance, ledger, statements, usage.
    ReadMoney,
    /// Buy credit.
    SpendMoney,
    /// See requests and their receipts. A member sees those of its own API keys.
    ReadRequests,
    /// See who changed what.
    ReadAudit,
    /// Transfer or delete the organization.
    ManageOrganization,
}

impl Role {
    /// The table: owner everything; admin keys and members; member own keys; billing reads money; viewer reads.
    pub fn can(self, capability: Capability) -> bool {
        use Capability as C;
        match self {
            Role::Owner => true,
            Role::Admin => !matches!(capability, C::SpendMoney | C::ManageOrganization),
            Role::Member => matches!(capability, C::ReadKeys | C::WriteKeys | C::ReadRequests),
            Role::Billing => matches!(capability, C::ReadMoney | C::ReadRequests),
            Role::Viewer => {
                matches!(capability, C::ReadKeys | C::ReadMembers | C::ReadMoney | C::ReadRequests)
            }
        }
    }

    /// Sees and changes every API key of the organization, not only those it made.
    pub fn has_all_keys(self) -> bool {
        matches!(self, Role::Owner | Role::Admin | Role::Viewer)
    }

    /// May give, change or take the role `other`: only owners touch owners.
    pub fn may_assign(self, other: Role) -> bool {
        match self {
            Role::Owner => true,
            Role::Admin => other != Role::Owner,
            Role::Member | Role::Billing | Role::Viewer => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Capability::*, *};

    #[test]
    fn each_role_may_do_exactly_what_is_promised() {
        let all = [
            ReadKeys,
            WriteKeys,
            ReadMembers,
            WriteMembers,
            ReadMoney,
            SpendMoney,
            ReadRequests,
            ReadAudit,
            ManageOrganization,
        ];
        let allowed = |role: Role| all.into_iter().filter(|one| role.can(*one)).collect::<Vec<_>>();
        assert_eq!(allowed(Role::Owner), all);
        assert_eq!(
            allowed(Role::Admin),
            [ReadKeys, WriteKeys, ReadMembers, WriteMembers, ReadMoney, ReadRequests, ReadAudit]
        );
        assert_eq!(allowed(Role::Member), [ReadKeys, WriteKeys, ReadRequests]);
        assert_eq!(allowed(Role::Billing), [ReadMoney, ReadRequests]);
        assert_eq!(allowed(Role::Viewer), [ReadKeys, ReadMembers, ReadMoney, ReadRequests]);
    }

    #[test]
    fn only_owners_touch_owners() {
        for role in Role::ALL {
            assert_eq!(role.may_assign(Role::Owner), role == Role::Owner);
            assert_eq!(role.may_assign(Role::Viewer), matches!(role, Role::Owner | Role::Admin));
        }
    }
}
