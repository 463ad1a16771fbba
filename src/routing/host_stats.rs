//! Recent measurements of hosts: the last calls of each model at each provider, for the order of hosts. In memory,
//! bounded, of this process only. Nothing depends on it, so a sample may be skipped while another thread holds the
//! lock. The calls of all customers determine the order for every customer, so no single organization may dominate:
//! each counts once, however often it calls.

use crate::domain::ids::OrgId;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex},
};

/// Older samples do not count.
const WINDOW_MS: i64 = 300_000;
/// Samples kept of one model, and of one organization among them.
const SAMPLES_MAX: usize = 64;
const SAMPLES_OF_ONE_MAX: usize = 16;
/// Maximum models. The catalogue has fewer.
const MODELS_MAX: usize = 2_048;
/// Fewer samples give no figure.
const SAMPLES_MIN: usize = 3;
/// From this number of organizations on, a single one cannot change the result much.
const ORGANIZATIONS_MIN: usize = 3;

/// One call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sample {
    Answered {
        /// From the call to the first byte of content, if the answer was streamed or its output is not counted in
        /// tokens.
        latency_ms: Option<u64>,
        /// Output tokens, divided by the time from the call to the last byte.
        tokens_per_second: Option<u64>,
    },
    /// The provider failed. An error that the caller's key or request caused is not a sample.
    Failed,
}

/// The figures of the samples; `None` if there are too few.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HostStats {
    /// For half of the organizations, three of four answers began within this time.
    pub latency_ms: Option<u64>,
    /// For half of the organizations, half of the answers were at least this fast.
    pub tokens_per_second: Option<u64>,
    /// The average over organizations. With three or more, the best and the worst do not count.
    pub success_permille: Option<u64>,
}

struct Noted {
    at_ms: i64,
    org: OrgId,
    sample: Sample,
}

/// The samples of every model, by its id with the provider. Times are Unix milliseconds.
#[derive(Default)]
pub struct Measurements {
    models: Mutex<HashMap<Arc<str>, VecDeque<Noted>>>,
}

impl Measurements {
    /// Records a call of an organization. Never waits.
    pub fn note(&self, id: &Arc<str>, org: OrgId, now_ms: i64, sample: Sample) {
        let Ok(mut models) = self.models.try_lock() else { return };
        if models.len() >= MODELS_MAX && !models.contains_key(id) {
            models.retain(|_, samples| samples.back().is_some_and(|noted| is_recent(noted.at_ms, now_ms)));
            if models.len() >= MODELS_MAX {
                return;
            }
        }
        let samples = models.entry(id.clone()).or_default();
        // An organization with many calls takes no room from the others.
        let its_own = samples.iter().filter(|noted| noted.org == org).count();
        if its_own >= SAMPLES_OF_ONE_MAX
            && let Some(oldest) = samples.iter().position(|noted| noted.org == org)
        {
            samples.remove(oldest);
        }
        if samples.len() >= SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back(Noted { at_ms: now_ms, org, sample });
    }

    /// The current figures of a model.
    pub fn of(&self, id: &str, now_ms: i64) -> HostStats {
        let mut organizations: BTreeMap<OrgId, OrgSamples> = BTreeMap::new();
        if let Ok(models) = self.models.lock() {
            let recent = models.get(id).into_iter().flatten().filter(|noted| is_recent(noted.at_ms, now_ms));
            recent.for_each(|noted| organizations.entry(noted.org).or_default().record(noted.sample));
        }
        summed_up(organizations.into_values().collect())
    }
}

/// The figures of the recent calls of one model, over all organizations; `None` if there are too few samples.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Performance {
    pub calls: usize,
    pub failures: usize,
    pub latency_p50_ms: Option<u64>,
    pub latency_p75_ms: Option<u64>,
    pub latency_p95_ms: Option<u64>,
    pub tokens_per_second_p50: Option<u64>,
}

impl Measurements {
    /// Every model with enough recent calls, by id.
    pub fn performance(&self, now_ms: i64) -> BTreeMap<Arc<str>, Performance> {
        let Ok(models) = self.models.lock() else { return BTreeMap::new() };
        let rows = models.iter().map(|(id, samples)| {
            let recent = samples.iter().filter(|noted| is_recent(noted.at_ms, now_ms));
            (id.clone(), performance(recent.map(|noted| noted.sample)))
        });
        rows.filter(|(_, row)| row.calls >= SAMPLES_MIN).collect()
    }
}

fn performance(samples: impl Iterator<Item = Sample>) -> Performance {
    let mut found = Performance::default();
    let (mut latencies, mut speeds) = (Vec::new(), Vec::new());
    for sample in samples {
        found.calls += 1;
        match sample {
            Sample::Answered { latency_ms, tokens_per_second } => {
                latencies.extend(latency_ms);
                speeds.extend(tokens_per_second);
            }
            Sample::Failed => found.failures += 1,
        }
    }
    latencies.sort_unstable();
    speeds.sort_unstable();
    let at = |figures: &[u64], percent: usize| {
        let place = (figures.len() * percent).div_ceil(100).checked_sub(1);
        place.and_then(|place| figures.get(place).copied()).filter(|_| figures.len() >= SAMPLES_MIN)
    };
    Performance {
        latency_p50_ms: at(&latencies, 50),
        latency_p75_ms: at(&latencies, 75),
        latency_p95_ms: at(&latencies, 95),
        tokens_per_second_p50: at(&speeds, 50),
        ..found
    }
}

fn is_recent(at_ms: i64, now_ms: i64) -> bool {
    now_ms.saturating_sub(at_ms) < WINDOW_MS
}

/// The calls of one organization.
#[derive(Default)]
struct OrgSamples {
    calls: usize,
    answers: usize,
    latencies: Vec<u64>,
    speeds: Vec<u64>,
}

impl OrgSamples {
    fn record(&mut self, sample: Sample) {
        self.calls += 1;
        if let Sample::Answered { latency_ms, tokens_per_second } = sample {
            self.answers += 1;
            self.latencies.extend(latency_ms);
            self.speeds.extend(tokens_per_second);
        }
    }

    fn success_permille(&self) -> Option<u64> {
        u64::try_from(self.answers.saturating_mul(1_000).checked_div(self.calls)?).ok()
    }
}

fn summed_up(mut organizations: Vec<OrgSamples>) -> HostStats {
    let calls: usize = organizations.iter().map(|samples| samples.calls).sum();
    let shares = organizations.iter().filter_map(OrgSamples::success_permille).collect();
    let mut over_all = |figures: fn(&mut OrgSamples) -> &mut Vec<u64>, quarters| {
        let heard: usize = organizations.iter_mut().map(|samples| figures(samples).len()).sum();
        let each = organizations
            .iter_mut()
            .filter_map(|samples| quartile(std::mem::take(figures(samples)), quarters));
        let each: Vec<u64> = each.collect();
        quartile(each, 2).filter(|_| heard >= SAMPLES_MIN)
    };
    HostStats {
        latency_ms: over_all(|samples| &mut samples.latencies, 3),
        tokens_per_second: over_all(|samples| &mut samples.speeds, 2),
        success_permille: middle_mean(shares).filter(|_| calls >= SAMPLES_MIN),
    }
}

/// The figure that this many quarters of the others do not exceed.
fn quartile(mut figures: Vec<u64>, quarters: usize) -> Option<u64> {
    figures.sort_unstable();
    figures.get((figures.len() * quarters).div_ceil(4).checked_sub(1)?).copied()
}

/// The mean without the lowest and the highest value. A median would be misleading: with one call for each
/// organization, it would report full success when hardly more than half succeeded.
fn middle_mean(mut figures: Vec<u64>) -> Option<u64> {
    figures.sort_unstable();
    let middle = match figures.len() {
        few if few < ORGANIZATIONS_MIN => figures.get(..)?,
        many => figures.get(1..many - 1)?,
    };
    middle.iter().sum::<u64>().checked_div(u64::try_from(middle.len()).ok()?)
}

#[cfg(test)]
mod tests;
