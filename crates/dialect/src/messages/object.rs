//! The members of one JSON object of this wire format, looked up by name: null counts as absent, and of a repeated name
//! the last counts. It does not check the grammar, which was checked before.

use crate::{
    canonical::Cache,
    json::{Cursor, Escaped, Kind, Member, Raw},
    openai_chat::expect,
    request::Invalid,
};
use std::borrow::Cow;

/// Maximum members of an object in a request. No known object has a fifth of this number.
pub(super) const MEMBERS_MAX: usize = 128;

pub(super) struct Object<'a> {
    pub raw: Raw<'a>,
    pub members: Vec<Member<'a>>,
}

impl<'a> Object<'a> {
    /// For a value that was checked before; a value of another kind has no members.
    pub fn of(raw: Raw<'a>) -> Self {
        Self { raw, members: raw.members() }
    }

    /// For a value of a request that was checked before, with at most [`MEMBERS_MAX`] members.
    pub fn bounded(raw: Raw<'a>, path: &dyn Fn(&str) -> String) -> Result<Self, Invalid> {
        match raw.kind() {
            Kind::Object => Self::read(&mut raw.cursor(), path),
            _ => Ok(Self { raw, members: Vec::new() }),
        }
    }

    /// Consumes the next object, with at most [`MEMBERS_MAX`] members.
    pub fn read(cursor: &mut Cursor<'a>, path: &dyn Fn(&str) -> String) -> Result<Self, Invalid> {
        expect(cursor, Kind::Object, || path(""))?;
        let mark = cursor.mark();
        let mut members = Vec::with_capacity(4);
        cursor.object::<Invalid>(|cursor, key| {
            check_members(members.len(), path)?;
            members.push(Member { key: key.decode(), raw_key: key.quoted(), value: cursor.value()? });
            Ok(())
        })?;
        Ok(Self { raw: cursor.taken(mark), members })
    }

    pub fn get(&self, key: &str) -> Option<Raw<'a>> {
        let member = self.members.iter().rev().find(|member| member.key == key)?;
        Some(member.value).filter(|value| !value.is_null())
    }

    pub fn text(&self, key: &str) -> Option<Escaped<'a>> {
        self.get(key).and_then(Escaped::of)
    }

    /// Decoded; empty if it is missing.
    pub fn word(&self, key: &str) -> Cow<'a, str> {
        self.get(key).and_then(Raw::text).unwrap_or_default()
    }

    /// The member, which must have this kind if it is present.
    pub fn checked(
        &self,
        key: &str,
        kind: Kind,
        path: &dyn Fn(&str) -> String,
    ) -> Result<Option<Raw<'a>>, Invalid> {
        let value = self.get(key);
        match value.map(Raw::kind) {
            Some(found) if found != kind => {
                Err(Invalid::kind(&path(&format!(".{key}")), kind.name().into(), found))
            }
            _ => Ok(value),
        }
    }

    /// A string that may be absent.
    pub fn checked_text(
        &self,
        key: &str,
        path: &dyn Fn(&str) -> String,
    ) -> Result<Option<Escaped<'a>>, Invalid> {
        Ok(self.checked(key, Kind::String, path)?.and_then(Escaped::of))
    }

    /// A required string.
    pub fn needed_text(&self, key: &str, path: &dyn Fn(&str) -> String) -> Result<Escaped<'a>, Invalid> {
        self.checked_text(key, path)?.ok_or_else(|| missing(&path(&format!(".{key}"))))
    }

    /// The marker up to which the prompt should be cached.
    pub fn cache(&self, path: &dyn Fn(&str) -> String) -> Result<Option<Cache>, Invalid> {
        let Some(control) = self.checked("cache_control", Kind::Object, path)? else { return Ok(None) };
        let control = Object::bounded(control, &|field| path(&format!(".cache_control{field}")))?;
        let ttl = control.checked("ttl", Kind::String, &|field| path(&format!(".cache_control{field}")))?;
        Ok(Some(match ttl.and_then(Raw::text).as_deref() {
            Some("1h") => Cache::Hour,
            _ => Cache::Short,
        }))
    }
}

/// Refuses an object that already has the maximum of members and is about to get another.
pub(super) fn check_members(have: usize, path: &dyn Fn(&str) -> String) -> Result<(), Invalid> {
    if have < MEMBERS_MAX {
        return Ok(());
    }
    let param = path("");
    Err(Invalid::at(&param, format!("`{param}` may have at most {MEMBERS_MAX} members")))
}

pub(super) fn missing(param: &str) -> Invalid {
    Invalid::at(param, format!("`{param}` is missing"))
}
