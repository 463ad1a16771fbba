//! Small edits of a request whose format stays the same: the model's name, renamed fields, fields that a provider does
//! not support. A hint is removed and listed; a field that changes the answer is never removed: then the request is not
//! sent to this provider.

use super::{
    fields,
    form::{Form, FormWriter},
};
use crate::{
    json::{self, Member, ObjectWriter},
    target::Unsupported,
};
use kairosroute_domain::kind::Kind;
use std::borrow::Cow;

/// Longest name of an unknown field that is listed as dropped.
const NAME_BYTES_MAX: usize = 64;

/// Differences of one provider from the client's format.
pub(super) struct Edits {
    /// The client's name, and the provider's.
    pub renamed: &'static [(&'static str, &'static str)],
    /// Fields that pass; `None`: all that are in no other list.
    pub kept: Option<&'static [&'static str]>,
    /// Hints that are not supported.
    pub dropped: &'static [&'static str],
    /// Stated elsewhere, or the default behaviour.
    pub silent: &'static [&'static str],
    /// Written by the gateway at the end, with these values.
    pub added: &'static [(&'static str, &'static str)],
}

/// Everything passes unchanged.
pub(super) const PLAIN: Edits = Edits { renamed: &[], kept: None, dropped: &[], silent: &[], added: &[] };

/// The result for one field.
pub(super) enum Verdict {
    Keep,
    Rename(&'static str),
    Model,
    Skip,
}

impl Edits {
    pub fn judge(
        &self,
        kind: Kind,
        name: &str,
        dropped: &mut Vec<Cow<'static, str>>,
    ) -> Result<Verdict, Unsupported> {
        if name == "model" {
            return Ok(Verdict::Model);
        }
        if self.silent.contains(&name) {
            return Ok(Verdict::Skip);
        }
        if let Some((_, theirs)) = self.renamed.iter().find(|(ours, _)| *ours == name) {
            return Ok(Verdict::Rename(theirs));
        }
        if let Some(hint) = self.dropped.iter().find(|hint| **hint == name) {
            dropped.push(Cow::Borrowed(hint));
            return Ok(Verdict::Skip);
        }
        match self.kept {
            None => return Ok(Verdict::Keep),
            Some(kept) if kept.contains(&name) => return Ok(Verdict::Keep),
            Some(_) => {}
        }
        if let Some((documented, _)) = fields::find(kind, name) {
            return Err(Unsupported::field(*documented));
        }
        // A header must be able to contain the name.
        let is_plain = name.len() <= NAME_BYTES_MAX
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.[]".contains(&byte));
        dropped.push(if is_plain { Cow::Owned(name.to_owned()) } else { Cow::Borrowed("unknown") });
        Ok(Verdict::Skip)
    }

    pub fn json(
        &self,
        kind: Kind,
        members: &[Member<'_>],
        model: &str,
        dropped: &mut Vec<Cow<'static, str>>,
    ) -> Result<Vec<u8>, Unsupported> {
        let size: usize = members.iter().map(|member| member.raw_key.len() + member.value.len() + 2).sum();
        let mut out = ObjectWriter::with_capacity(size.saturating_add(128));
        let mut named = false;
        for member in members {
            match self.judge(kind, &member.key, dropped)? {
                Verdict::Keep => out.raw_key(member.raw_key).extend(member.value.get().as_bytes()),
                Verdict::Rename(name) => out.raw(name, member.value.get()),
                Verdict::Model => {
                    json::push_text(out.raw_key(member.raw_key), model);
                    named = true;
                }
                Verdict::Skip => {}
            }
        }
        if !named {
            out.text("model", model);
        }
        for (name, value) in self.added {
            out.raw(name, value);
        }
        Ok(out.end())
    }

    /// Files are last: one provider requires that, and the others accept it.
    pub fn form(
        &self,
        kind: Kind,
        form: &Form<'_>,
        model: &str,
        dropped: &mut Vec<Cow<'static, str>>,
    ) -> Result<Vec<u8>, Unsupported> {
        if model.contains(['\r', '\n']) {
            return Err(Unsupported::because("model", ": its name has line ends"));
        }
        let size: usize = form.parts.iter().map(|part| part.content.len() + 512).sum();
        let mut out = FormWriter::new(&form.boundary, size);
        out.text("model", model);
        let mut files = Vec::new();
        for part in &form.parts {
            match self.judge(kind, &part.name, dropped)? {
                Verdict::Keep if part.is_file() => files.push(part),
                Verdict::Keep => out.part(part),
                Verdict::Rename(name) => out.text(name, part.text().unwrap_or_default()),
                Verdict::Model | Verdict::Skip => {}
            }
        }
        for (name, value) in self.added {
            out.text(name, value);
        }
        files.into_iter().for_each(|part| out.part(part));
        Ok(out.end())
    }
}
