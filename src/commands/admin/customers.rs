//! Organizations in the operator's hand: create, list, show, suspend, resume.

use super::{OrganizationAction, account_services, with_schema, with_vault};
use crate::{
    accounts::Accounts,
    config::Config,
    domain::{ambient::Ambient, ids::OrgId},
    store::{
        Db,
        api_keys::{self, KeyScope},
        members,
        operator::{self, OrganizationFilter, OrganizationRow},
    },
    vault::KeyRing,
};
use anyhow::Context;
use time::{Duration, OffsetDateTime};

/// Organizations read at a time, and API keys shown of one.
const PAGE: i64 = 200;

pub async fn run(config: &Config, action: OrganizationAction) -> anyhow::Result<()> {
    match action {
        OrganizationAction::Create { name, owner } => {
            with_vault(config, |db, ring| create(db, ring, config, name, owner)).await
        }
        OrganizationAction::Suspend { organization_id, reason } => {
            with_vault(config, |db, ring| suspend(db, ring, config, organization_id.0, Some(reason))).await
        }
        OrganizationAction::Resume { organization_id } => {
            with_vault(config, |db, ring| suspend(db, ring, config, organization_id.0, None)).await
        }
        OrganizationAction::Show { organization_id } => {
            with_schema(config, |db| show(db, organization_id.0)).await
        }
    }
}

async fn create(db: Db, ring: KeyRing, config: &Config, name: String, owner: String) -> anyhow::Result<()> {
    let accounts: Accounts = account_services(db, ring, config).await?;
    let made = accounts.create_organization("cli".to_owned(), &name, &owner).await?;
    println!("organization {}", made.id);
    println!("invitation {}", made.token.expose());
    if let Some(url) = &config.public_url {
        println!("link {}/invite/{}", url.as_str().trim_end_matches('/'), made.token.expose());
    }
    println!("{} accepts it within 7 days and becomes the owner", made.invitation.email);
    Ok(())
}

async fn suspend(
    db: Db,
    ring: KeyRing,
    config: &Config,
    id: OrgId,
    reason: Option<String>,
) -> anyhow::Result<()> {
    let accounts = account_services(db, ring, config).await?;
    accounts.set_suspension("cli".to_owned(), id, reason.as_deref()).await?;
    let state = if reason.is_some() { "suspended" } else { "resumed" };
    println!("{id} is {state}; running gateways follow within 5 s");
    Ok(())
}

/// The 30 days until now.
fn range() -> (OffsetDateTime, OffsetDateTime) {
    let now = Ambient::system().now();
    (now - Duration::days(30), now + Duration::MILLISECOND)
}

/// `kairosroute admin organizations`.
pub async fn list(db: Db) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let reading = db.clone();
        let filter = OrganizationFilter { after, ..OrganizationFilter::default() };
        let page = db
            .run(async move {
                operator::list_organizations(&mut *reading.acquire().await?, &filter, range(), PAGE).await
            })
            .await?;
        for row in &page {
            println!("{}", line(row));
        }
        match page.last() {
            Some(last) => after = Some(last.scope.org_id()),
            None => return Ok(()),
        }
    }
}

fn line(row: &OrganizationRow) -> String {
    let state = match (row.deleted_at, row.suspended_at) {
        (Some(_), _) => "  deleted",
        (None, Some(_)) => "  suspended",
        (None, None) => "",
    };
    format!(
        "{}  {}  balance {} USD, held {} USD, last 30 days: {} requests, {} USD charged{state}",
        row.scope.org_id(),
        row.name,
        row.posted,
        row.held,
        row.requests,
        row.charged,
    )
}

async fn show(db: Db, id: OrgId) -> anyhow::Result<()> {
    let reading = db.clone();
    let found = db
        .run::<_, crate::store::StoreError, _>(async move {
            let mut connection = reading.acquire().await?;
            let filter = OrganizationFilter { id: Some(id), ..OrganizationFilter::default() };
            let Some(row) = operator::list_organizations(&mut connection, &filter, range(), 1).await?.pop()
            else {
                return Ok(None);
            };
            let members = members::list(&mut connection, row.scope).await?;
            let keys = KeyScope { org: row.scope, made_by: None };
            let keys = api_keys::list(&mut connection, keys, None, PAGE).await?;
            Ok(Some((row, members, keys)))
        })
        .await?;
    let (row, members, keys) = found.with_context(|| format!("no organization {id}"))?;
    println!("{}", line(&row));
    if let Some(reason) = &row.suspended_reason {
        println!("suspended: {reason}");
    }
    for member in members {
        println!("member {}  {}  {}", member.user_id, member.email, member.role.as_str());
    }
    for key in keys {
        let state = if key.revoked_at.is_some() { "  revoked" } else { "" };
        println!("key {}  {}  …{}{state}", key.id, key.name, key.last4);
    }
    Ok(())
}
