//! Documents ordered by how well they answer a query.

use super::{
    super::{json::quoted, request::Asked},
    Amounts, Answer, Verdict, count, in_turn, joined, list, member, number, number_within, refuse_if, text,
};
use serde_json::Value;

pub(super) fn judge(provider: &str, body: &Value) -> Verdict {
    let documents = list(body, "documents");
    refuse_if(documents.len() > 1000, "documents", "at most 1000")?;
    let objects = provider == "together_ai";
    let good = |document: &Value| document.is_string() || (objects && document.is_object());
    refuse_if(!documents.iter().all(good), "documents", "must be texts")?;
    refuse_if(text(body, "query").is_empty(), "query", "must be text")?;
    number_within(body, "top_n", 1..=1000)
}

pub(super) fn answer(asked: &Asked<'_>, body: &Value) -> Answer {
    let script = asked.script;
    let documents = list(body, "documents");
    let mut ranked: Vec<(usize, String)> = (0..documents.len())
        .map(|index| (index, in_turn(&script.kinds.scores, index).cloned().unwrap_or_else(|| falling(index))))
        .collect();
    let relevance = |score: &str| score.parse::<f64>().unwrap_or_default();
    ranked.sort_by(|(_, left), (_, right)| relevance(right).total_cmp(&relevance(left)));
    let wanted = member(body, "top_n").and_then(number).and_then(|n| usize::try_from(n).ok());
    ranked.truncate(wanted.unwrap_or(documents.len()));
    let returned =
        |index: usize| match documents.get(index).filter(|_| super::is_true(body, "return_documents")) {
            Some(Value::String(text)) => format!(r#","document":{{"text":{}}}"#, quoted(text)),
            Some(object) => format!(r#","document":{object}"#),
            None => String::new(),
        };
    let results = ranked.iter().map(|(index, score)| {
        format!(r#"{{"index":{index},"relevance_score":{score}{}}}"#, returned(*index))
    });
    let (results, tokens) = (joined(results), script.prompt_tokens);
    if asked.row.id != "cohere" {
        return Answer::json(format!(
            r#"{{"id":"simulated{}","object":"rerank","model":{},"results":[{results}],"usage":{{"prompt_tokens":{tokens},"completion_tokens":0,"total_tokens":{tokens}}}}}"#,
            asked.serial,
            quoted(&asked.model)
        ))
        .tokens(tokens, 0);
    }
    // From v5 on by the tokens read, before that by the search.
    let by_tokens = asked.model.starts_with("rerank-v5");
    let units = script.kinds.search_units.unwrap_or_else(|| count(documents.len()).div_ceil(100));
    let (billed, queries) = if by_tokens {
        (format!(r#""input_tokens":{tokens}"#), 0)
    } else {
        (format!(r#""search_units":{units}"#), units)
    };
    Answer::json(format!(
        r#"{{"id":"simulated{}","results":[{results}],"meta":{{"api_version":{{"version":"2"}},"billed_units":{{{billed}}}}}}}"#,
        asked.serial
    ))
    .tokens(if by_tokens { tokens } else { 0 }, 0)
    .amounts(Amounts { queries, ..Amounts::default() })
}

fn falling(index: usize) -> String {
    format!("0.{:03}", 999_usize.saturating_sub(index))
}
