//! The failure of a request that no target has answered: the error of the last provider, else the reason why no target
//! was tried.

use super::{Failover, UNPRICED_FEES};
use crate::{
    billing::ledger::FullBudget,
    dialect::{Fee, Head, Invalid},
    domain::money::NanoUsd,
    gateway::{
        failure::{Failure, redact_for_customer},
        open_request::OpenRequest,
        receipt::CredentialKind,
        refusals::{Subject, nothing_left},
    },
    providers::error::ErrorClass,
    routing::plan::CandidateTrace,
};

/// Why platform keys may not serve.
pub(super) enum NoFunds {
    Credit { available: NanoUsd },
    Budget(Box<FullBudget>),
}

impl Failover<'_> {
    pub(super) fn failure(mut self, open: &OpenRequest) -> Failure {
        if let Some(failure) = self.guardrail_failure() {
            return failure;
        }
        let no_funds = self.no_funds.take();
        let head = self.head();
        let account_field = head.account_field.clone();
        let needs_account =
            head.needs_state || head.facts.references_stored_objects || account_field.is_some();
        let last = self.last.and_then(|(rejection, at)| {
            let target = self.targets.get(at)?;
            let (provider, credential) = (target.candidate.provider, target.kind());
            if rejection.class == ErrorClass::NotSent {
                // A platform key that cannot be sent is not the fault of the request.
                let is_ours = credential == CredentialKind::Platform && rejection.retry_after.is_none();
                return Some(match is_ours {
                    true => Failure::Unavailable(rejection.message),
                    false => Failure::not_sent(rejection),
                });
            }
            let rejection = Box::new(redact_for_customer(&rejection, provider, credential));
            Some(Failure::Upstream { rejection, provider, credential, tried: open.history.attempts().len() })
        });
        match (last, self.unsupported, no_funds) {
            (Some(failure), _, _) => failure,
            (None, Some(unsupported), _) => Failure::Invalid(Invalid {
                param: Some(unsupported.field.to_string()),
                message: unsupported.to_string(),
            }),
            (None, None, Some(NoFunds::Credit { available })) => Failure::InsufficientCredits { available },
            (None, None, Some(NoFunds::Budget(budget))) => Failure::OverBudget(budget),
            (None, None, None) if self.state.is_own_key_unusable() => Failure::NoModels {
                param: None,
                message: "The stored provider key cannot be read; store it again".to_owned(),
            },
            (None, None, None) if needs_account => Failure::Invalid(Invalid {
                message: account_message(account_field.as_deref()),
                param: account_field,
            }),
            (None, None, None) => match bearing_a_fee(head, open.history.candidates()) {
                Some(invalid) => Failure::Invalid(invalid),
                None => {
                    let text_bytes = head.facts.text_bytes;
                    nothing_left(open.history.candidates(), &Subject { catalog: &open.catalog, text_bytes })
                }
            },
        }
    }
}

/// The first part of the request that has a fee, if this excludes the platform keys.
fn bearing_a_fee(head: &Head<'_>, considered: &[CandidateTrace]) -> Option<Invalid> {
    let refused = considered.iter().any(|line| line.reasons.contains(&UNPRICED_FEES));
    let Fee { path, what } = head.fees.foremost().filter(|_| refused)?;
    let subject = if path == what { format!("`{path}`") } else { format!("`{path}` (type `{what}`)") };
    let message = match (head.fees.are_searches(), head.facts.searches_max) {
        (true, None) => format!(
            "{subject} bears a fee for each search: limit the searches with `max_tool_calls` (Responses) or `max_uses` \
             of the tool (Messages), leave it out, or store your own key of this provider"
        ),
        (true, Some(_)) => format!(
            "{subject} bears a fee for each search, which this gateway cannot bill for the models named: leave it out, \
             name a model whose price in GET /v1/models has `web_search_call`, or store your own key of this provider"
        ),
        (false, _) => format!(
            "{subject} bears a fee that the platform's account cannot bill: leave it out, or store your own key of \
             this provider"
        ),
    };
    Some(Invalid { param: Some(path.clone()), message })
}

/// Why a request is not served on a platform key at a provider.
fn account_message(field: Option<&str>) -> String {
    match field {
        Some(field) => format!(
            "`{field}` refers to what a provider stores for one account or has a fee of its own, and the platform's \
             account is shared: leave it out, or store your own key of this provider"
        ),
        None => {
            "This request refers to what a provider stores in an account (earlier responses, files by id, \
                 containers), and the platform's account is shared: store your own key of this provider"
                .to_owned()
        }
    }
}
