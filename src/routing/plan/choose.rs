//! The choice among all models for `auto`: filters, then the order by quality table and floor.

use super::{
    CANDIDATES_MAX, CandidateTrace, CredentialLookup, Outcome, Plan, RouteRequest, RoutingError,
    credential_obstacle,
};
use crate::{
    domain::{
        catalog::{Catalog, Model},
        policy::KeyPolicy,
        provider::ProviderId,
    },
    routing::{
        auto::{self, Automatic, Scored},
        filter,
    },
};

/// Maximum excluded models that the receipt lists by name.
const LINES_MAX: usize = 24;
/// Maximum models that are tried for one name. The hold covers the most expensive of them, so the number is low.
const CHAIN_MAX: usize = 5;

/// Lists the models that may serve an `auto` request, best first.
pub(super) fn choose(
    plan: &mut Plan,
    catalog: &Catalog,
    automatic: &Automatic<'_>,
    request: &RouteRequest<'_>,
    policy: &KeyPolicy,
    keys: &CredentialLookup<'_>,
) -> Result<(), RoutingError> {
    let mut outcome = Outcome { floor_permille: automatic.floor_permille, ..Outcome::default() };
    let mut scored: Vec<Scored> = Vec::new();
    let begun = plan.considered.len();
    let session = (request.session)();
    let today = request.at.date();
    for model in
        catalog.models().filter(|model| request.kind.is_served_by(model.mode) && model.is_live(today))
    {
        if plan.candidates.iter().any(|known| known.id == model.id) {
            continue;
        }
        let candidate = auto::candidate(model);
        let has_own = (keys.own)(candidate.provider, &candidate);
        let filter = pin_obstacle(request, candidate.provider)
            .or(credential_obstacle(&candidate, has_own, keys))
            .or_else(|| filter::obstacle(&candidate, request, policy))
            .or_else(|| auto::obstacle(model, request));
        match filter {
            None => {
                let one = automatic.score(candidate, request, session.as_ref());
                match one.cost {
                    // A model without a price cannot be compared, and is never served on a platform key.
                    None => plan.leave_out(&mut outcome, model, "unpriced"),
                    Some(_) => scored.push(one),
                }
            }
            Some("no_credential") => *outcome.left_out.entry("no_credential").or_default() += 1,
            Some(filter) => plan.leave_out(&mut outcome, model, filter),
        }
    }
    automatic.sort(&mut scored, request);
    outcome.floor_not_met = !scored.first().is_some_and(|best| best.clears);
    let nobody_reaches_it = automatic.is_strict && outcome.floor_not_met && !scored.is_empty();
    plan.append(&mut outcome, scored, begun, keys);
    plan.automatic = Some(outcome);
    if nobody_reaches_it {
        let considered = std::mem::take(&mut plan.considered);
        return Err(RoutingError::BelowFloor { floor_permille: automatic.floor_permille, considered });
    }
    Ok(())
}

fn pin_obstacle(request: &RouteRequest<'_>, provider: ProviderId) -> Option<&'static str> {
    request.pin.filter(|pin| *pin != provider).map(|_| "another_provider_is_pinned")
}

impl Plan {
    /// Takes the best as candidates, and lists the others while there is room.
    fn append(
        &mut self,
        outcome: &mut Outcome,
        scored: Vec<Scored>,
        begun: usize,
        keys: &CredentialLookup<'_>,
    ) {
        let mut lines = Vec::new();
        let room = CHAIN_MAX.min(CANDIDATES_MAX.saturating_sub(self.candidates.len()));
        for (place, one) in scored.into_iter().enumerate() {
            let whose =
                if (keys.own)(one.candidate.provider, &one.candidate) { "own_key" } else { "platform_key" };
            let reason = match (one.clears, one.score) {
                (true, _) => "reaches_the_floor",
                (false, Some(_)) => "below_the_floor",
                (false, None) => "quality_unknown",
            };
            let is_tried = place < room;
            if is_tried || lines.len() < LINES_MAX {
                let mut reasons = vec![whose, reason];
                reasons.extend(one.same_session.then_some("same_session"));
                lines.push(one.line(reasons, (!is_tried).then_some("too_many_candidates")));
            } else {
                *outcome.left_out.entry("too_many_candidates").or_default() += 1;
            }
            if is_tried {
                self.candidates.push(one.candidate);
            }
        }
        // The best first; then the models that the filters excluded.
        self.considered.splice(begun..begun, lines);
    }

    /// Records an excluded model: by name while there is room, else only in a count.
    fn leave_out(&mut self, outcome: &mut Outcome, model: &Model, filter: &'static str) {
        if self.considered.len() < LINES_MAX {
            self.considered.push(CandidateTrace {
                model_id: model.id.clone(),
                provider: Some(model.provider.row().name),
                score: None,
                est_cost_usd: None,
                reasons: Vec::new(),
                filtered_out_by: Some(filter),
            });
        } else {
            *outcome.left_out.entry(filter).or_default() += 1;
        }
    }
}

impl Scored {
    /// Its line in the receipt.
    fn line(&self, reasons: Vec<&'static str>, filter: Option<&'static str>) -> CandidateTrace {
        let share = |permille: i64| f64::from(i32::try_from(permille).unwrap_or(i32::MAX)) / 1_000.0;
        CandidateTrace {
            model_id: self.candidate.id.clone(),
            provider: Some(self.candidate.provider.row().name),
            score: self.score.map(share),
            est_cost_usd: self.cost.map(|cost| cost.to_string()),
            reasons,
            filtered_out_by: filter,
        }
    }
}
