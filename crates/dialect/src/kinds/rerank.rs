//! Reranking, in Cohere's format for the client, with any provider's name for the list of results.

use super::{
    At, Edits, Expected, KindRequest, Refused, Wanted, Written,
    answer::{Made, count, tokens},
    edits, no_such_form,
};
use crate::{
    json::{Kind as Json, ObjectWriter, Raw},
    target::Unsupported,
};
use kairosroute_domain::{
    provider::Shape,
    usage::{Basis, Usage},
};

const COHERE: Edits = Edits { silent: &["return_documents"], ..edits::PLAIN };
const TOGETHER: Edits = Edits {
    kept: Some(&["query", "documents", "top_n", "return_documents", "rank_fields"]),
    dropped: &["priority"],
    ..edits::PLAIN
};

pub(super) fn write(request: &KindRequest<'_>, at: &At<'_>) -> Result<Written, Unsupported> {
    match at.serves.shape {
        Shape::Cohere => {
            // Its second version returns no documents; a request for them asks for another answer.
            if request.raw("return_documents").is_some_and(|wish| wish.get() == "true") {
                return Err(Unsupported::field("return_documents"));
            }
            let documents = request.raw("documents").map(Raw::elements).unwrap_or_default();
            if documents.iter().any(|document| document.kind() == Json::Object) {
                return Err(Unsupported::because("documents", ": only text"));
            }
            request.edited(at, &COHERE, Wanted::Object)
        }
        Shape::Together => request.edited(at, &TOGETHER, Wanted::Object),
        shape => Err(no_such_form(shape)),
    }
}

pub(super) fn read(expected: &Expected, answer: Raw<'_>) -> Result<Made, Refused> {
    let is_list = |list: &Raw<'_>| list.kind() == Json::Array;
    let usage = usage(expected, answer);
    if answer.member("results").is_some_and(|list| is_list(&list)) {
        return Ok(Made::passed(usage));
    }
    let results = answer.member("data").filter(is_list).ok_or(Refused::Unreadable)?;
    let mut out = ObjectWriter::with_capacity(answer.len());
    out.raw("results", results.get());
    for member in answer.members() {
        if !matches!(&*member.key, "data" | "object") {
            out.raw_key(member.raw_key).extend_from_slice(member.value.get().as_bytes());
        }
    }
    Ok(Made::object(out.end(), usage))
}

/// Search units, tokens, or both.
fn usage(expected: &Expected, answer: Raw<'_>) -> Option<Usage> {
    let units = answer.member("meta").and_then(|meta| meta.member("billed_units"));
    let queries = units.and_then(|units| count(units, "search_units"));
    let input = units.and_then(|units| count(units, "input_tokens"));
    match (queries, input) {
        (None, None) => tokens(answer).map(|tokens| Usage { queries: expected.measured.queries, ..tokens }),
        (queries, input) => Some(Usage {
            queries: queries.unwrap_or(0),
            input: input.unwrap_or(0),
            basis: Basis::Reported,
            ..Usage::default()
        }),
    }
}
