//! Identifiers: a uuid v7 (sorts by time) shown with a prefix that names what it is, e.g. `org_0190…`.
//! The text form is the only one accepted from outside; a wrong prefix or length is refused.

use std::{fmt, str::FromStr};
use uuid::Uuid;

/// Text that is not an identifier of the expected kind.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected an identifier like {0}_ followed by 32 hexadecimal digits")]
pub struct IdError(pub &'static str);

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!($prefix, "_"))?;
                f.write_str(self.0.simple().encode_lower(&mut [0; 32]))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix(concat!($prefix, "_"))
                    .filter(|hex| hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
                    .and_then(|hex| Uuid::try_parse(hex).ok())
                    .map($name)
                    .ok_or(IdError($prefix))
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    };
}

id!(/** An organization: the tenant. */ OrgId, "org");
id!(/** A person who can log in. */ UserId, "usr");
id!(/** A log-in session. */ SessionId, "ses");
id!(/** An invitation of an e-mail address into an organization. */ InvitationId, "inv");
id!(/** A platform API key (`kr-…`). */ ApiKeyId, "key");
id!(/** A customer's stored provider key. */ ProviderKeyId, "pk");
id!(/** The operator's own provider key. */ PlatformKeyId, "plk");
id!(/** One inference request; its receipt carries the same uuid. */ RequestId, "req");
id!(/** The receipt of one request. */ ReceiptId, "rcpt");
id!(/** Credit set aside for one turn of one request. */ HoldId, "hold");
id!(/** One posting in the ledger. */ EntryId, "ent");
id!(/** An address that alerts are sent to. */ WebhookId, "whk");
id!(/** One alert; the id of its messages, too. */ AlertId, "msg");
id!(/** One running gateway process. */ InstanceId, "ins");

impl RequestId {
    /// The receipt of this request: the same uuid under the receipt's prefix.
    pub fn receipt(self) -> ReceiptId {
        ReceiptId(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_form_and_refuses_another_prefix() {
        let id = OrgId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().parse::<UserId>(), Err(IdError("usr")));
        assert!("org_0190".parse::<OrgId>().is_err());
        assert!("org_{01900000000070008000000000000001}".parse::<OrgId>().is_err());
    }
}
