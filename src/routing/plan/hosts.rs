//! The hosts of one name: the suffix of the name, and the preferences of the request among them.

use super::{Host, RouteRequest, estimate};
use crate::{
    domain::{
        catalog::{Catalog, Flag, Resolved},
        money::NanoUsd,
    },
    routing::{session::KnownSession, strategy::Strategy},
};

/// The suffix of a model's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Variant {
    /// `:free`: hosts that are free of charge.
    Free,
    /// `:thinking`: hosts whose model reasons.
    Thinking,
    /// `:extended`: the hosts that take the longest prompt.
    Extended,
    /// `:nitro`: by throughput.
    Nitro,
    /// `:floor`: by price.
    Floor,
}

impl Variant {
    fn by_name(name: &str) -> Option<Variant> {
        Some(match name {
            "free" => Self::Free,
            "thinking" => Self::Thinking,
            "extended" => Self::Extended,
            "nitro" => Self::Nitro,
            "floor" => Self::Floor,
            _ => return None,
        })
    }

    pub fn strategy(self) -> Option<Strategy> {
        match self {
            Self::Nitro => Some(Strategy::Throughput),
            Self::Floor => Some(Strategy::Cheap),
            Self::Free | Self::Thinking | Self::Extended => None,
        }
    }

    /// Removes the hosts without the property of the suffix, and returns them.
    pub fn narrow(self, hosts: &mut Vec<Host>) -> Vec<Host> {
        let context = |host: &Host| host.0.model.as_ref().and_then(|model| model.context_tokens);
        let longest = hosts.iter().filter_map(context).max();
        let fits = |host: &Host| match self {
            Self::Free => host.1 == Some(NanoUsd::ZERO),
            Self::Thinking => host.0.model.as_ref().is_some_and(|model| model.flags.has(Flag::Reasoning)),
            Self::Extended => context(host) == longest,
            Self::Nitro | Self::Floor => true,
        };
        let (left, missed) = std::mem::take(hosts).into_iter().partition(fits);
        *hosts = left;
        missed
    }
}

/// A name without its suffix, and the suffix. A name that is known as a whole has no suffix.
pub fn split_variant<'n>(
    catalog: &Catalog,
    name: &'n str,
    request: &RouteRequest<'_>,
) -> (&'n str, Option<Variant>) {
    let split = name.rsplit_once(':').and_then(|(plain, suffix)| Some((plain, Variant::by_name(suffix)?)));
    match split {
        Some((plain, variant))
            if !matches!(
                catalog.resolve(name, request.at.date()),
                Resolved::Listed(_) | Resolved::Retired { .. }
            ) =>
        {
            (plain, Some(variant))
        }
        _ => (name, None),
    }
}

/// Moves the hosts that the request wants first to the front, and those that do not meet its preferences to the end;
/// the other hosts keep their order.
pub fn prefer(hosts: &mut [Host], request: &RouteRequest<'_>) {
    let asked = request.preferences;
    if asked.max_latency_ms.is_some() || asked.min_tokens_per_second.is_some() {
        hosts.sort_by_cached_key(|(host, _)| {
            let measured = (request.measured)(&host.id);
            let is_slow = measured.latency_ms.zip(asked.max_latency_ms).is_some_and(|(is, most)| is > most);
            let speed = measured.tokens_per_second.zip(asked.min_tokens_per_second);
            is_slow || speed.is_some_and(|(is, least)| is < least)
        });
    }
    if !asked.order.is_empty() {
        let place = |host: &Host| asked.order.iter().position(|provider| *provider == host.0.provider);
        hosts.sort_by_key(|host| place(host).unwrap_or(usize::MAX));
    }
}

/// The cheapest first. A host that has cached the beginning of the prompt costs less for it; among equal costs, the
/// host that served the conversation stays.
pub fn order_by_price(hosts: &mut [Host], session: Option<&KnownSession>, request: &RouteRequest<'_>) {
    let is_known = |host: &Host| session.is_some_and(|session| session.model == host.0.id);
    for host in hosts.iter_mut().filter(|host| is_known(host)) {
        let cached = session.map_or(0, |session| session.cached_tokens);
        host.1 = host.0.model.as_ref().and_then(|model| estimate(model, request, cached));
    }
    hosts.sort_by_key(|host| (host.1.map_or(i64::MAX, |cost| cost.0), !is_known(host)));
}
