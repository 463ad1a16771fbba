//! The provider's logprobs in OpenAI's chat format. Numbers and tokens keep their bytes.

use crate::{
    canonical::Json,
    json::{Escaped, Raw},
};

/// `{"content": […]}` from a `logprobsResult`; nothing if it has no chosen token.
pub(super) fn read(result: Raw<'_>) -> Option<Json<'static>> {
    let chosen = result.member("chosenCandidates")?.elements();
    let tops = result.member("topCandidates").map(Raw::elements).unwrap_or_default();
    let mut tops = tops.into_iter();
    let mut content = String::new();
    for token in chosen {
        let top = tops.next();
        let Some((name, logprob)) = token_of(token) else { continue };
        if !content.is_empty() {
            content.push(',');
        }
        content.push_str(&entry(&name, logprob));
        content.push_str(",\"top_logprobs\":[");
        let others = top.and_then(|top| top.member("candidates")).map(Raw::elements).unwrap_or_default();
        let others: Vec<String> = others
            .into_iter()
            .filter_map(token_of)
            .map(|(name, logprob)| entry(&name, logprob) + "}")
            .collect();
        content.push_str(&others.join(","));
        content.push_str("]}");
    }
    (!content.is_empty()).then(|| Json::trusted(format!("{{\"content\":[{content}]}}")))
}

fn token_of(candidate: Raw<'_>) -> Option<(Escaped<'_>, &str)> {
    let logprob = candidate.member("logProbability")?;
    let is_number = logprob.kind() == crate::json::Kind::Number;
    Some((Escaped::of(candidate.member("token")?)?, logprob.get())).filter(|_| is_number)
}

/// An object that is still open.
fn entry(token: &Escaped<'_>, logprob: &str) -> String {
    format!("{{\"token\":\"{}\",\"logprob\":{logprob},\"bytes\":null", token.inner())
}
