//! Delivers alerts: each process takes some that are due, sends them, and records the result. A failed message is
//! retried after increasing pauses; a receiver recognizes a repeat by `webhook-id`, which stays the same.

use super::{Alerts, find::text, letter, sign};
use crate::{
    domain::ids::{AlertId, WebhookId},
    mail::{Mail, MailError},
    providers::{guard::check_address, resolver::on_behalf},
    store::{
        OrgScope, StoreError,
        alerts::{self, Delivery, Target},
        webhooks::{self, Webhook},
    },
};
use futures_util::future::join_all;
use std::{sync::Arc, time::Duration};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

/// Interval between checks for due alerts and for new occasions.
const STEP: Duration = Duration::from_secs(2);
/// Messages that are sent at a time, and those of one organization among them.
const SENDING_MAX: usize = 16;
const SENDING_PER_ORGANIZATION_MAX: i64 = 4;
/// Time for one message.
const TIME_MAX: Duration = Duration::from_secs(10);
/// Time for one e-mail, over several commands of the mail server.
const MAIL_TIME_MAX: Duration = Duration::from_secs(40);
/// A message that a process has taken and not finished may be taken again after this time.
const TAKEN_FOR: Duration = Duration::from_secs(60);
/// Pauses after failed tries; after the last one the message is given up.
const PAUSES_S: [u64; 8] = [5, 30, 120, 600, 3_600, 10_800, 21_600, 43_200];

/// The outcome of one try.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub status: Option<u16>,
    /// Why the message was not delivered.
    pub error: Option<String>,
}

impl Attempt {
    fn failed(error: impl Into<String>) -> Self {
        Self { status: None, error: Some(error.into()) }
    }
}

/// The body of a message.
pub fn body(kind: &str, id: AlertId, at: OffsetDateTime, data: &str) -> String {
    // Kinds, ids and times contain nothing that JSON would escape; the data is already JSON.
    format!(r#"{{"type":"{kind}","id":"{id}","timestamp":"{}","data":{data}}}"#, text(at))
}

impl Alerts {
    /// Finds and delivers alerts until `stopping`, on a separate thread: a slow receiver delays nothing else.
    pub fn start(self: &Arc<Self>, stopping: CancellationToken) -> std::io::Result<()> {
        let alerts = self.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("alerts".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = stopping.cancelled() => {}
                    () = alerts.run() => {}
                }
            });
        })?;
        Ok(())
    }

    async fn run(&self) {
        loop {
            tokio::time::sleep(STEP).await;
            if let Err(error) = self.find().await {
                tracing::warn!(error.cause = %error, "occasions of alerts could not be looked for");
            }
            loop {
                match self.deliver_due().await {
                    Ok(SENDING_MAX) => {}
                    Ok(_) => break,
                    Err(error) => {
                        tracing::warn!(error.cause = %error, "alerts could not be sent");
                        break;
                    }
                }
            }
        }
    }

    /// Sends the due messages, up to a batch, and returns their number.
    pub async fn deliver_due(&self) -> Result<usize, StoreError> {
        let (db, now) = (self.0.db.clone(), self.0.ambient.now());
        let rows_max = i64::try_from(SENDING_MAX).unwrap_or(i64::MAX);
        let taking = self.0.db.run::<_, StoreError, _>(async move {
            let mut transaction = db.begin().await?;
            let until = now + TAKEN_FOR;
            let most = (rows_max, SENDING_PER_ORGANIZATION_MAX);
            let due = alerts::take_due(&mut transaction, (now, until), most).await?;
            transaction.commit().await?;
            Ok(due)
        });
        let due = taking.await?;
        let count = due.len();
        let outcomes = join_all(due.into_iter().map(|delivery| self.deliver(delivery))).await;
        outcomes.into_iter().collect::<Result<(), StoreError>>()?;
        Ok(count)
    }

    async fn deliver(&self, delivery: Delivery) -> Result<(), StoreError> {
        let attempt = match &delivery.target {
            Target::Webhook(webhook) => {
                let body = body(&delivery.kind, delivery.alert, delivery.created_at, &delivery.document);
                let attempt = self.post(delivery.scope, webhook, delivery.alert, &body).await;
                self.note(delivery.scope, webhook.id, &attempt).await?;
                attempt
            }
            Target::Person { email } => self.mail(&delivery, email).await,
            // Removed in the meantime.
            Target::Gone => Attempt { status: None, error: None },
        };
        let next_at = match &attempt.error {
            None => None,
            Some(_) => next_try(delivery.attempts, self.0.ambient.now()),
        };
        if attempt.error.is_some() && next_at.is_none() {
            tracing::warn!(
                org.id = %delivery.scope.org_id(), alert.id = %delivery.alert, tries = delivery.attempts + 1,
                "an alert could not be delivered and is given up"
            );
        }
        let db = self.0.db.clone();
        let finishing = async move {
            let mut transaction = db.begin().await?;
            alerts::finish_delivery(&mut transaction, &delivery, next_at).await?;
            transaction.commit().await
        };
        self.0.db.run(finishing).await
    }

    async fn mail(&self, delivery: &Delivery, email: &str) -> Attempt {
        let Some(mailer) = &self.0.mailer else { return Attempt::failed("no mail server is configured") };
        let (subject, text) = letter::write(&delivery.kind, &delivery.organization, &delivery.document);
        let id = Some(delivery.alert.to_string());
        let sending = mailer.send(Mail { to: email.to_owned(), subject, text, id });
        match tokio::time::timeout(MAIL_TIME_MAX, sending).await {
            // A message that the mail server refuses permanently is not sent again.
            Ok(Ok(()) | Err(MailError::Refused)) => Attempt { status: None, error: None },
            Ok(Err(error)) => Attempt::failed(error.to_string()),
            Err(_) => Attempt::failed("the mail server did not answer in time"),
        }
    }

    /// Sends one message. The address is checked again, because the allowed addresses may have changed since it was
    /// stored.
    pub(super) async fn post(&self, scope: OrgScope, webhook: &Webhook, id: AlertId, body: &str) -> Attempt {
        let Ok(url) = check_address(&webhook.url, &self.0.nets) else {
            return Attempt::failed("the address may not be reached from here");
        };
        let now = self.0.ambient.now();
        let timestamp = now.unix_timestamp().to_string();
        let message = format!("{id}.{timestamp}.{body}");
        let signature = sign::signatures(&self.0.secrets, scope, webhook, message.as_bytes(), now);
        let request = self
            .0
            .client
            .post(url)
            .timeout(TIME_MAX)
            .header("content-type", "application/json")
            .header("webhook-id", id.to_string())
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(body.to_owned());
        match on_behalf(scope.org_id().0.as_u128(), request.send()).await {
            Ok(response) => {
                let status = response.status();
                let error =
                    (!status.is_success()).then(|| format!("the receiver answered {}", status.as_u16()));
                Attempt { status: Some(status.as_u16()), error }
            }
            Err(error) if error.is_timeout() => Attempt::failed("the receiver did not answer in time"),
            Err(_) => Attempt::failed("the receiver could not be reached"),
        }
    }

    pub(super) async fn note(
        &self,
        scope: OrgScope,
        id: WebhookId,
        attempt: &Attempt,
    ) -> Result<(), StoreError> {
        let (db, attempt, now) = (self.0.db.clone(), attempt.clone(), self.0.ambient.now());
        let noting = async move {
            let mut transaction = db.begin().await?;
            let answer = (attempt.status, attempt.error.as_deref());
            webhooks::note_answer(&mut transaction, scope, id, answer, now).await?;
            transaction.commit().await
        };
        self.0.db.run(noting).await
    }
}

/// When a message with this many failures is retried; `None`: it is given up.
fn next_try(attempts_before: i32, now: OffsetDateTime) -> Option<OffsetDateTime> {
    let index = usize::try_from(attempts_before).ok()?;
    PAUSES_S.get(index).map(|seconds| now + Duration::from_secs(*seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_tried_nine_times_later_and_later() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let pauses: Vec<_> = (0..10).map(|before| next_try(before, now)).collect();
        assert!(pauses.windows(2).take(7).all(|pair| pair[0] < pair[1]));
        assert_eq!((pauses[8], pauses[9]), (None, None));
    }

    #[test]
    fn a_body_is_json() {
        let id = AlertId(uuid::Uuid::nil());
        let body = body("balance.low", id, OffsetDateTime::UNIX_EPOCH, r#"{"balanceUsd":"1.5"}"#);
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&body["type"], &body["data"]["balanceUsd"]), (&"balance.low".into(), &"1.5".into()));
        assert_eq!(body["timestamp"], "1970-01-01T00:00:00Z");
    }
}
