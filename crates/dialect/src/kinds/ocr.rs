//! Reading documents, in Mistral's format on both sides: bytes pass, and the pages that were read are counted.

use super::{
    At, KindRequest, Refused, Wanted, Written,
    answer::{Made, count, entries},
    edits, no_such_form,
};
use crate::{json::Raw, target::Unsupported};
use kairosroute_domain::{
    provider::Shape,
    usage::{Basis, Usage},
};

pub(super) fn write(request: &KindRequest<'_>, at: &At<'_>) -> Result<Written, Unsupported> {
    match at.serves.shape {
        Shape::Mistral => request.edited(at, &edits::PLAIN, Wanted::Object),
        shape => Err(no_such_form(shape)),
    }
}

pub(super) fn read(answer: Raw<'_>) -> Result<Made, Refused> {
    let list = entries(answer.member("pages")).ok_or(Refused::Unreadable)?;
    let told = answer.member("usage_info").and_then(|usage| count(usage, "pages_processed"));
    let counted = || u64::try_from(list.len()).unwrap_or(u64::MAX);
    let (pages, basis) = told.map_or_else(|| (counted(), Basis::Counted), |pages| (pages, Basis::Reported));
    let usage = Usage { pages, basis, ..Usage::default() };
    Ok(Made::passed(Some(usage)))
}
