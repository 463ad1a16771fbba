//! The operators of the installation: the list and the removal of one. One operator always stays.

use super::{AccountError, Accounts, audit_changes, fields};
use crate::{
    credentials::check::{Checked, Target, check},
    domain::{ids::UserId, provider::ProviderId, secret::Secret},
    store::operator::{self, OperatorRow},
};
use serde_json::json;

/// Which operator is meant.
#[derive(Clone, Debug)]
pub enum WhichOperator {
    Id(UserId),
    Email(String),
}

impl Accounts {
    pub async fn list_operators(&self) -> Result<Vec<OperatorRow>, AccountError> {
        let db = self.db.clone();
        self.db
            .run(async move {
                let mut tx = db.begin().await?;
                let operators = operator::lock_operators(&mut tx).await?;
                tx.commit().await?;
                Ok(operators)
            })
            .await
    }

    /// Removes an operator and ends its sessions. The last one stays.
    pub async fn remove_operator(&self, actor: String, which: WhichOperator) -> Result<UserId, AccountError> {
        let which = match which {
            WhichOperator::Email(text) => WhichOperator::Email(fields::email(&text)?),
            id => id,
        };
        self.transact(move |db, ambient| {
            let (actor, which) = (actor.clone(), which.clone());
            async move {
                let mut tx = db.begin().await?;
                let operators = operator::lock_operators(&mut tx).await?;
                let found = operators.iter().find(|one| match &which {
                    WhichOperator::Id(id) => one.id == *id,
                    WhichOperator::Email(email) => one.email == *email,
                });
                let found = found.ok_or(AccountError::NotFound("operator"))?;
                if operators.len() == 1 {
                    return Err(AccountError::Conflict(
                        "The last operator cannot be removed; create another one first",
                    ));
                }
                operator::delete_operator(&mut tx, found.id).await?;
                let changes = json!({ "email": [found.email, null] });
                let done = ("operator.remove", &found.id);
                audit_changes(&mut tx, &ambient, None, &actor, done, Some(changes)).await?;
                tx.commit().await?;
                Ok(found.id)
            }
        })
        .await
    }

    /// Makes the free call of a provider with the operator's key, at the operator's address.
    pub async fn test_platform_key(&self, provider: ProviderId, secret: &Secret) -> Checked {
        let base = self.rules.provider_urls.get(&provider).map_or(provider.row().base_url, String::as_str);
        check(&self.check_clients.operator, provider, Target::Operator(base), secret).await
    }
}
