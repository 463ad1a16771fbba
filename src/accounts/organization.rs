//! The rules and the budget of an organization: read by people who may read money, changed by people who manage it.

use super::{
    AccountError, Accounts, audit,
    patch::rules::{OrganizationBody, OrganizationChange},
};
use crate::{
    domain::policy::{BudgetRule, OrganizationRules},
    store::{
        OrgScope, StoreError,
        budgets::{self, Budget},
        organizations,
        sessions::Session,
    },
};
use sqlx::PgConnection;
use std::sync::Arc;
use time::OffsetDateTime;
use uuid::Uuid;

/// An organization as its people see it.
pub struct OrganizationDetails {
    pub name: String,
    pub rules: OrganizationRules,
    pub budget: Option<Budget>,
    /// For the periods of the budgets.
    pub now: OffsetDateTime,
}

impl Accounts {
    pub async fn get_organization(&self, session: Session) -> Result<OrganizationDetails, AccountError> {
        let (db, scope, now) = (self.db.clone(), session.scope, self.ambient.now());
        self.db.run(async move { details(&mut *db.acquire().await?, scope, now).await }).await
    }

    /// Applies a merge patch. A changed time zone changes the periods of all budgets of the organization.
    pub async fn change_organization(
        &self,
        session: Session,
        body: OrganizationBody,
    ) -> Result<OrganizationDetails, AccountError> {
        let (scope, change) = (session.scope, Arc::new(body.judge()?));
        let details = self
            .transact(move |db, ambient| {
                let change = change.clone();
                async move {
                    let mut tx = db.begin().await?;
                    let now = ambient.now();
                    apply(&mut tx, scope, &change, now).await?;
                    let subject = ("organization.change", &scope.org_id());
                    audit(&mut tx, &ambient, Some(scope), &session.user_id, subject).await?;
                    let details = details(&mut tx, scope, now).await?;
                    tx.commit().await?;
                    Ok(details)
                }
            })
            .await?;
        self.authenticator.forget_organization(scope.org_id());
        Ok(details)
    }
}

async fn apply(
    tx: &mut PgConnection,
    scope: OrgScope,
    change: &OrganizationChange,
    now: OffsetDateTime,
) -> Result<(), AccountError> {
    let before = budgets::lock_organization_rules(tx, scope).await?;
    let mut rules = before.clone();
    change.apply(&mut rules);
    budgets::set_organization_rules(tx, scope, &rules).await?;
    let zone = rules.zone();
    if before.zone() != zone {
        for budget in budgets::list(tx, scope, None).await? {
            budgets::set(tx, scope, budget.subject, &budget.rule, budget.rule.current(&zone, now)).await?;
        }
    }
    let subject = scope.org_id().0;
    let known = budgets::list(tx, scope, Some(subject)).await?.first().map(|budget| budget.rule);
    change_budget(tx, scope, subject, (known, change.budget.apply(known)?), &rules, now).await
}

/// Changes a budget from one rule to another.
pub(super) async fn change_budget(
    tx: &mut PgConnection,
    scope: OrgScope,
    subject: Uuid,
    (before, after): (Option<BudgetRule>, Option<BudgetRule>),
    rules: &OrganizationRules,
    now: OffsetDateTime,
) -> Result<(), AccountError> {
    match after {
        _ if before == after => {}
        Some(rule) => budgets::set(tx, scope, subject, &rule, rule.current(&rules.zone(), now)).await?,
        None => budgets::clear(tx, scope, subject).await?,
    }
    Ok(())
}

async fn details(
    connection: &mut PgConnection,
    scope: OrgScope,
    now: OffsetDateTime,
) -> Result<OrganizationDetails, AccountError> {
    let name = organizations::get_name(connection, scope).await?;
    let rules = budgets::get_organization_rules(connection, scope).await?;
    let budget = budgets::list(connection, scope, Some(scope.org_id().0)).await?.into_iter().next();
    let name = name.ok_or_else(|| StoreError::Refused("the organization is gone".to_owned()))?;
    Ok(OrganizationDetails { name, rules, budget, now })
}
