//! Names beside ids: of API keys and of people, as far as a role may see them. Where there is none, the id stands.

use crate::{
    accounts::roles::Capability,
    store::{
        StoreError,
        api_keys::{self, KeyScope},
        members,
        rollups::GroupBy,
        sessions::Session,
    },
};
use sqlx::PgConnection;
use std::collections::HashMap;

/// API keys that are looked up; those beyond are shown by their id.
const KEYS_MAX: i64 = 1_000;

/// The names of one organization.
#[derive(Default)]
pub struct Names {
    /// In the order of the list of API keys: those in use first.
    keys: Vec<(String, String)>,
    /// How many of them are in use.
    live: usize,
    people: HashMap<String, String>,
}

impl Names {
    /// Those that the session's role may see.
    pub async fn read(connection: &mut PgConnection, session: &Session) -> Result<Names, StoreError> {
        let mut names = Names::default();
        if session.role.can(Capability::ReadKeys) {
            let made_by = (!session.role.has_all_keys()).then_some(session.user_id);
            let scope = KeyScope { org: session.scope, made_by };
            let keys = api_keys::list(connection, scope, None, KEYS_MAX).await?;
            names.live = keys.iter().take_while(|key| key.revoked_at.is_none()).count();
            names.keys = keys.into_iter().map(|key| (key.id.to_string(), key.name)).collect();
        }
        if session.role.can(Capability::ReadMembers) {
            let people = members::list(connection, session.scope).await?;
            names.people = people.into_iter().map(|one| (one.user_id.to_string(), one.email)).collect();
        }
        Ok(names)
    }

    /// Ids and names of API keys.
    pub fn keys(&self) -> &[(String, String)] {
        &self.keys
    }

    /// Those that can be used.
    pub fn live_keys(&self) -> &[(String, String)] {
        self.keys.get(..self.live).unwrap_or_default()
    }

    pub fn key(&self, id: &str) -> String {
        let known = self.keys.iter().find(|(known, _)| known == id);
        known.map_or_else(|| id.to_owned(), |(_, name)| name.clone())
    }

    pub fn person(&self, id: &str) -> String {
        self.people.get(id).cloned().unwrap_or_else(|| id.to_owned())
    }

    /// The value of a group of a usage report, for people.
    pub fn of_group(&self, group: GroupBy, value: &str) -> String {
        match (group, value) {
            (GroupBy::Key, id) => self.key(id),
            (GroupBy::Member, "") => "made without a person".to_owned(),
            (GroupBy::Member, id) => self.person(id),
            (GroupBy::Byok, "true") => "own key".to_owned(),
            (GroupBy::Byok, _) => "platform's key".to_owned(),
            (GroupBy::Category, "") => "not classified".to_owned(),
            (_, "") => "none".to_owned(),
            (_, value) => value.to_owned(),
        }
    }
}
