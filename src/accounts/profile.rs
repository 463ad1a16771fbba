//! The address and organization of the signed-in person, shown at the head of every dashboard page.

use super::{AccountError, Accounts};
use crate::store::{organizations, sessions::Person, users};

/// A signed-in person's address and the name of the organization it acts in.
#[derive(Clone, Debug)]
pub struct Profile {
    pub email: String,
    /// `None` for the operator.
    pub organization: Option<String>,
}

impl Accounts {
    pub async fn profile(&self, who: Person) -> Result<Profile, AccountError> {
        let db = self.db.clone();
        self.db
            .run(async move {
                let mut connection = db.acquire().await?;
                let email = users::get_email(&mut connection, who.user_id()).await?.unwrap_or_default();
                let organization = match who {
                    Person::Member(session) => {
                        organizations::get_name(&mut connection, session.scope).await?
                    }
                    Person::Operator(_) => None,
                };
                Ok(Profile { email, organization })
            })
            .await
    }
}
