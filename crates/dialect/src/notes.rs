//! Members of a client's conversation that no other wire format can express, collected by their paths without numbers,
//! so that a translation can list what it leaves out.

use super::{
    canonical::{Json, Setting, What},
    json::{Member, Raw},
};

/// Maximum names.
const NOTES_MAX: usize = 16;

/// The members, each path once.
#[derive(Default)]
pub(crate) struct Notes<'a> {
    unknown: Vec<(String, Json<'a>)>,
}

impl<'a> Notes<'a> {
    /// Records a member that requests something.
    pub(crate) fn add(&mut self, path: &str, member: &Member<'a>) {
        if member.value.is_idle() || self.unknown.len() >= NOTES_MAX {
            return;
        }
        let plain = member.key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let name = if plain { format!("{path}.{}", member.key) } else { path.to_owned() };
        if !self.unknown.iter().any(|(known, _)| *known == name) {
            self.unknown.push((name, Json::of(member.value)));
        }
    }

    /// Records something that cannot be expressed, under a separate name.
    pub(crate) fn add_named(&mut self, name: &str, value: Raw<'a>) {
        if self.unknown.len() < NOTES_MAX && !self.unknown.iter().any(|(known, _)| *known == name) {
            self.unknown.push((name.to_owned(), Json::of(value)));
        }
    }

    pub(crate) fn into_settings(self) -> impl Iterator<Item = Setting<'a>> {
        let setting = |(name, value): (String, _)| Setting { what: What::Native, name: name.into(), value };
        self.unknown.into_iter().map(setting)
    }
}
