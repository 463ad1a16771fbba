//! The top level of a request body that is not chat: one strict pass that sets the gateway's own fields aside and
//! checks the fields of plain kinds. It never reads a field that needs a separate reader.

use crate::{
    json::{Cursor, Kind, Member, Raw},
    openai_chat::{
        fields::{self, GATEWAY_FIELDS, OWN_SUPPORTED, Rule},
        request::{is_absent_or_default, models},
    },
    request::{Invalid, Limits},
};
use std::borrow::Cow;

/// The allowed value of a documented field, in a dialect's table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Takes {
    /// Checked here.
    Plain(Rule),
    /// Read by the dialect.
    Own,
}

/// The members of a body, sorted. Documented fields that are null, and the gateway's own that request nothing, are in
/// neither list.
#[derive(Default)]
pub(crate) struct Members<'a> {
    /// The members for a provider, in the client's order.
    pub kept: Vec<Member<'a>>,
    /// The gateway's own.
    pub own: Vec<Member<'a>>,
    /// In the order in which they are tried. Never empty.
    pub models: Vec<Cow<'a, str>>,
}

/// Reads the members of `body`; `takes` is the dialect's table of documented fields.
pub(crate) fn read<'a>(
    body: &'a [u8],
    limits: &Limits,
    takes: impl Fn(&str) -> Option<Takes>,
) -> Result<Members<'a>, Invalid> {
    let mut cursor = Cursor::new(body, limits.depth_max)?;
    if cursor.kind()? != Kind::Object {
        return Err(Invalid { param: None, message: crate::request::NO_OBJECT.into() });
    }
    let mut members = Members::default();
    let mut later = Vec::new();
    let mut seen: Vec<Cow<'a, str>> = Vec::with_capacity(16);
    cursor.object(|cursor, key| {
        let name = key.decode();
        check_new(&seen, &name, limits)?;
        seen.push(name.clone());
        let member = Member { key: name, raw_key: key.quoted(), value: cursor.value()? };
        match takes(&member.key) {
            Some(_) if member.value.is_null() => Ok(()),
            Some(takes) => members.keep(member, takes, limits),
            None if GATEWAY_FIELDS.contains(&member.key.as_ref()) => {
                members.set_aside(member, limits, &mut later)
            }
            None => {
                members.kept.push(member);
                Ok(())
            }
        }
    })?;
    cursor.end()?;
    members.models.extend(later);
    let most = limits.models_max;
    match members.models.len() {
        0 => Err(Invalid::at("model", crate::request::MODEL_MISSING.into())),
        count if count > most => Err(Invalid::at("model", format!("`model` may name at most {most} models"))),
        _ => Ok(members),
    }
}

impl<'a> Members<'a> {
    fn keep(&mut self, member: Member<'a>, takes: Takes, limits: &Limits) -> Result<(), Invalid> {
        match takes {
            Takes::Plain(Rule::Model) => {
                models(&mut member.value.cursor(), &member.key, limits, &mut self.models)?;
            }
            Takes::Plain(rule) => fields::check(&mut member.value.cursor(), &member.key, rule, limits)?,
            Takes::Own => {}
        }
        self.kept.push(member);
        Ok(())
    }

    fn set_aside(
        &mut self,
        member: Member<'a>,
        limits: &Limits,
        later: &mut Vec<Cow<'a, str>>,
    ) -> Result<(), Invalid> {
        let (name, value) = (&member.key, member.value);
        if name == "models" && !value.is_null() {
            models(&mut value.cursor(), name, limits, later)?;
        }
        if is_absent_or_default(name, value) {
            return Ok(());
        }
        if !OWN_SUPPORTED.contains(&name.as_ref()) {
            return Err(Invalid::at(name, format!("`{name}` is not supported; leave it out")));
        }
        self.own.push(member);
        Ok(())
    }
}

fn check_new(seen: &[Cow<'_, str>], name: &str, limits: &Limits) -> Result<(), Invalid> {
    if seen.iter().any(|other| other == name) {
        return Err(Invalid::at(name, format!("`{name}` occurs twice")));
    }
    if seen.len() >= limits.members_max {
        let most = limits.members_max;
        return Err(Invalid { param: None, message: format!("the body may have at most {most} members") });
    }
    Ok(())
}

/// The value must be of this kind.
pub(crate) fn expect(value: Raw<'_>, kind: Kind, path: &str) -> Result<(), Invalid> {
    let found = value.kind();
    if found == kind { Ok(()) } else { Err(Invalid::kind(path, kind.name().into(), found)) }
}
