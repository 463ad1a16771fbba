//! Finds occasions of alerts. One process at a time does it; an occasion that already has its alert creates none.

use super::Alerts;
use crate::{
    domain::ids::{AlertId, ApiKeyId, OrgId, ProviderKeyId},
    store::{
        OrgScope, StoreError,
        alerts::{self, NewAlert},
    },
};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

/// New alerts of one kind in one step; the next step creates the rest.
const ALERTS_MAX: i64 = 200;
/// A key fails when its last use within this time failed.
const FAILING_FOR: Duration = Duration::minutes(5);

impl Alerts {
    /// Creates the alerts that are due.
    pub async fn find(&self) -> Result<(), StoreError> {
        let (db, now, ambient) = (self.0.db.clone(), self.0.ambient.now(), self.0.ambient.clone());
        let mails = self.0.mailer.is_some();
        let finding = async move {
            let mut tx = db.begin().await?;
            if !alerts::try_lead(&mut tx).await? {
                return Ok(());
            }
            let mut new = Vec::new();
            for level in alerts::list_budget_levels(&mut tx, mails, now, ALERTS_MAX).await? {
                let of_organization = level.subject == level.scope.org_id().0;
                let subject = match of_organization {
                    true => json!(OrgId(level.subject)),
                    false => json!(ApiKeyId(level.subject)),
                };
                let data = json!({
                    "subject": subject, "apiKeyName": level.api_key_name, "level": level.level,
                    "budgetUsd": level.amount.to_string(), "spentUsd": level.spent.to_string(),
                    "period": level.period, "resetsAt": text(level.resets_at),
                });
                new.push((level.scope, "budget.threshold", level.occasion, data));
            }
            for low in alerts::list_low_balances(&mut tx, mails, now, ALERTS_MAX).await? {
                let data = json!({ "balanceUsd": low.balance.to_string(), "thresholdUsd": low.threshold.to_string() });
                new.push((low.scope, "balance.low", low.occasion, data));
            }
            for key in alerts::list_failing_keys(&mut tx, mails, now - FAILING_FOR, ALERTS_MAX).await? {
                let data = json!({
                    "providerKeyId": ProviderKeyId(key.key), "provider": key.provider, "last4": key.last4,
                    "error": key.error,
                });
                new.push((key.scope, "provider_key.failing", key.occasion, data));
            }
            for jump in alerts::list_spend_jumps(&mut tx, mails, now, ALERTS_MAX).await? {
                let data = json!({ "hourUsd": jump.hour.to_string(), "usualUsd": jump.usual.to_string() });
                new.push((jump.scope, "spend.jump", jump.occasion, data));
            }
            for (scope, kind, occasion, data) in new {
                let alert = alert(AlertId(ambient.uuid()), scope, kind, occasion, &data);
                alerts::insert(&mut tx, &alert, mails, now).await?;
            }
            tx.commit().await
        };
        self.0.db.run(finding).await
    }
}

fn alert(id: AlertId, scope: OrgScope, kind: &'static str, occasion: String, data: &Value) -> NewAlert {
    NewAlert { scope, id, kind, occasion, document: data.to_string() }
}

pub(super) fn text(at: OffsetDateTime) -> String {
    at.to_offset(UtcOffset::UTC).format(&Rfc3339).unwrap_or_default()
}
