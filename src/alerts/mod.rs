//! Alerts of organizations, and the webhooks and people that receive them. Alerts and their deliveries are rows, so
//! none is lost with a process, and one of many processes sends each. No request waits for anything here.

mod deliver;
mod find;
mod letter;
mod sign;

pub use crate::store::webhooks::Webhook;
pub use deliver::Attempt;

use crate::{
    accounts::installation::KeyedHash,
    domain::{
        ambient::Ambient,
        ids::{AlertId, WebhookId},
        secret::Secret,
    },
    mail::Mailer,
    providers::guard::{AllowedNets, check_address},
    store::{
        Db, OrgScope, StoreError,
        audit_log::{self, AuditEntry},
        budgets, webhooks,
    },
};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use time::OffsetDateTime;

/// Every kind of alert.
pub const KINDS: [&str; 4] = ["budget.threshold", "balance.low", "provider_key.failing", "spend.jump"];
/// Longest time for which the previous secret continues to sign.
pub const GRACE_MAX: Duration = Duration::from_secs(30 * 86_400);

/// The parts of the service.
pub struct AlertParts {
    pub db: Db,
    pub ambient: Ambient,
    /// The key from which the secrets of webhooks are derived.
    pub secrets: KeyedHash,
    /// It must refuse addresses that customers may not reach, and follow no redirect.
    pub client: reqwest::Client,
    pub nets: AllowedNets,
    pub webhooks_max: usize,
    /// `None`: no e-mail is sent.
    pub mailer: Option<Mailer>,
}

/// The alert service of one process.
pub struct Alerts(AlertParts);

/// Why a call about webhooks was refused.
#[derive(Debug, thiserror::Error)]
pub enum AlertError {
    #[error("{message}")]
    Invalid { param: &'static str, message: String },
    #[error("No such webhook")]
    NotFound,
    #[error("{0}")]
    Limit(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Alerts {
    pub fn new(parts: AlertParts) -> Arc<Self> {
        Arc::new(Self(parts))
    }

    pub async fn list(&self, scope: OrgScope) -> Result<Vec<Webhook>, AlertError> {
        let db = self.0.db.clone();
        let list = self
            .0
            .db
            .run::<_, StoreError, _>(async move { webhooks::list(&mut *db.acquire().await?, scope).await });
        Ok(list.await?)
    }

    /// Adds a webhook. Its secret is shown only now and after a rotation.
    pub async fn create(
        &self,
        scope: OrgScope,
        actor: &str,
        url: &str,
        events: Vec<String>,
    ) -> Result<(Webhook, Secret), AlertError> {
        let url = check_address(url.trim(), &self.0.nets)
            .map_err(|error| AlertError::Invalid { param: "url", message: format!("`url` {error}") })?;
        let events = check_events(events)?;
        let webhook = Webhook {
            id: WebhookId(self.0.ambient.uuid()),
            url: url.as_str().to_owned(),
            events,
            generation: 1,
            previous_until: None,
            created_at: self.0.ambient.now(),
            last_status: None,
            last_error: None,
            last_sent_at: None,
        };
        let (db, ambient, added) = (self.0.db.clone(), self.0.ambient.clone(), webhook.clone());
        let (actor, most) = (actor.to_owned(), self.0.webhooks_max);
        let adding = async move {
            let mut tx = db.begin().await?;
            // One of two concurrent calls waits here, so that both together do not exceed the limit.
            budgets::lock_organization_rules(&mut tx, scope).await?;
            if webhooks::list(&mut tx, scope).await?.len() >= most {
                let message = format!("The organization has as many webhooks as it may ({most}); remove one");
                return Err(AlertError::Limit(message));
            }
            webhooks::insert(&mut tx, scope, &added).await?;
            audit(&mut tx, &ambient, scope, (&actor, "webhook.create"), added.id).await?;
            Ok(tx.commit().await?)
        };
        self.0.db.run(adding).await?;
        let secret = sign::secret(&self.0.secrets, scope, webhook.id, webhook.generation);
        Ok((webhook, secret))
    }

    /// Gives a webhook a new secret. The previous one also signs until the grace period ends.
    pub async fn rotate(
        &self,
        scope: OrgScope,
        actor: &str,
        id: WebhookId,
        grace: Duration,
    ) -> Result<(Secret, OffsetDateTime), AlertError> {
        let until = self.0.ambient.now() + grace.min(GRACE_MAX);
        let (db, ambient, actor) = (self.0.db.clone(), self.0.ambient.clone(), actor.to_owned());
        let rotated = self.0.db.run::<_, StoreError, _>(async move {
            let mut tx = db.begin().await?;
            let generation = webhooks::rotate(&mut tx, scope, id, until).await?;
            if generation.is_some() {
                audit(&mut tx, &ambient, scope, (&actor, "webhook.rotate"), id).await?;
            }
            tx.commit().await?;
            Ok(generation)
        });
        let generation = rotated.await?.ok_or(AlertError::NotFound)?;
        Ok((sign::secret(&self.0.secrets, scope, id, generation), until))
    }

    pub async fn delete(&self, scope: OrgScope, actor: &str, id: WebhookId) -> Result<(), AlertError> {
        let (db, ambient, actor) = (self.0.db.clone(), self.0.ambient.clone(), actor.to_owned());
        let deleted = self.0.db.run::<_, StoreError, _>(async move {
            let mut tx = db.begin().await?;
            let deleted = webhooks::delete(&mut tx, scope, id).await?;
            if deleted {
                audit(&mut tx, &ambient, scope, (&actor, "webhook.delete"), id).await?;
            }
            tx.commit().await?;
            Ok(deleted)
        });
        if deleted.await? { Ok(()) } else { Err(AlertError::NotFound) }
    }

    /// Sends a message of the kind `test` at once, in one try, and returns the result.
    pub async fn test(&self, scope: OrgScope, id: WebhookId) -> Result<Attempt, AlertError> {
        let db = self.0.db.clone();
        let found = self.0.db.run::<_, StoreError, _>(async move {
            webhooks::get(&mut *db.acquire().await?, scope, id).await
        });
        let webhook = found.await?.ok_or(AlertError::NotFound)?;
        let (now, alert) = (self.0.ambient.now(), AlertId(self.0.ambient.uuid()));
        let data = json!({ "message": "This is a test" }).to_string();
        let body = deliver::body("test", alert, now, &data);
        let attempt = self.post(scope, &webhook, alert, &body).await;
        self.note(scope, id, &attempt).await?;
        Ok(attempt)
    }
}

fn check_events(mut events: Vec<String>) -> Result<Vec<String>, AlertError> {
    if let Some(unknown) = events.iter().find(|event| !KINDS.contains(&event.as_str())) {
        let shown: String = unknown.chars().filter(|character| !character.is_control()).take(50).collect();
        let message = format!("`events`: `{shown}` is not a kind of alert; there are {}", KINDS.join(", "));
        return Err(AlertError::Invalid { param: "events", message });
    }
    events.sort_unstable();
    events.dedup();
    Ok(events)
}

async fn audit(
    connection: &mut sqlx::PgConnection,
    ambient: &Ambient,
    scope: OrgScope,
    (actor, action): (&str, &str),
    id: WebhookId,
) -> Result<(), StoreError> {
    let subject = id.to_string();
    let entry = AuditEntry { org: Some(scope.org_id()), actor, action, subject: &subject };
    audit_log::insert(connection, ambient, &entry).await
}

#[cfg(test)]
mod tests;
