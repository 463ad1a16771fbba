//! Moderation, in OpenAI's format for the client. One provider omits the verdict: it is the combination of its
//! categories.

use super::{
    At, Edits, KindRequest, Refused, Wanted, Written,
    answer::{Made, entries, tokens},
    edits, no_such_form,
};
use crate::{
    json::{Kind as Json, ObjectWriter, Raw, with_member},
    target::Unsupported,
};
use kairosroute_domain::provider::Shape;

const MISTRAL: Edits = Edits { kept: Some(&["input", "metadata"]), ..edits::PLAIN };

pub(super) fn write(request: &KindRequest<'_>, at: &At<'_>) -> Result<Written, Unsupported> {
    match at.serves.shape {
        Shape::OpenAi => request.edited(at, &edits::PLAIN, Wanted::Object),
        Shape::Mistral => {
            let parts = request.raw("input").map(Raw::elements).unwrap_or_default();
            if parts.iter().any(|part| part.kind() == Json::Object) {
                return Err(Unsupported::because("input", ": only text"));
            }
            request.edited(at, &MISTRAL, Wanted::Object)
        }
        shape => Err(no_such_form(shape)),
    }
}

pub(super) fn read(answer: Raw<'_>) -> Result<Made, Refused> {
    let results = entries(answer.member("results")).ok_or(Refused::Unreadable)?;
    let usage = tokens(answer);
    if results.iter().all(|result| result.member("flagged").is_some()) {
        return Ok(Made::passed(usage));
    }
    let mut judged = Vec::with_capacity(results.len());
    for result in results {
        let categories = result.member("categories").map(Raw::members).unwrap_or_default();
        let flagged = categories.iter().any(|category| category.value.get() == "true");
        let told = with_member(result.get().as_bytes(), "flagged", if flagged { "true" } else { "false" });
        judged.push(String::from_utf8(told.ok_or(Refused::Unreadable)?).map_err(|_| Refused::Unreadable)?);
    }
    let mut out = ObjectWriter::with_capacity(answer.len());
    for member in answer.members() {
        match &*member.key {
            "results" => out.raw("results", &format!("[{}]", judged.join(","))),
            _ => out.raw_key(member.raw_key).extend_from_slice(member.value.get().as_bytes()),
        }
    }
    Ok(Made::object(out.end(), usage))
}
