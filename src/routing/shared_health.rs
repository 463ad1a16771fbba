//! Measurements of hosts that several processes exchange. Each process collects its samples; a job writes them every
//! few seconds and applies those of the others as if they had been taken here, so that one process does not repeat the
//! failed calls of another. Bounded; a sample may be lost, because nothing depends on it.

use super::{
    breaker::Breakers,
    host_stats::{Measurements, Sample},
};
use crate::domain::ids::OrgId;
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use uuid::Uuid;

/// Samples of one batch, and of one organization in it: no organization takes the room of the others.
pub const SAMPLES_MAX: usize = 512;
const SAMPLES_OF_ONE_MAX: usize = 64;
/// Older samples are not used.
const AGE_MAX_MS: i64 = 300_000;

/// One call to a host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostSample {
    /// The model's id with its provider.
    pub model: Arc<str>,
    pub org: OrgId,
    /// Unix milliseconds, by this process's clock.
    pub at_ms: i64,
    pub sample: Sample,
    /// On the platform key: it counts towards pausing the host.
    pub is_platform: bool,
    /// The pause that the provider requested.
    pub retry_after_ms: Option<i64>,
}

/// The stored form: an age instead of a time, because clocks differ.
#[derive(Serialize, Deserialize)]
struct StoredSample<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
    org: String,
    age_ms: i64,
    failed: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    latency_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    tokens_per_second: Option<u64>,
    platform: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    retry_after_ms: Option<i64>,
}

/// The samples of this process that the other processes have not received yet.
#[derive(Default)]
pub struct OutgoingSamples(Mutex<Outgoing>);

#[derive(Default)]
struct Outgoing {
    samples: Vec<HostSample>,
    by_org: HashMap<OrgId, usize>,
}

impl OutgoingSamples {
    /// Adds a sample unless there are too many. Never waits.
    pub fn add(&self, sample: HostSample) {
        let Ok(mut outgoing) = self.0.try_lock() else { return };
        if outgoing.samples.len() >= SAMPLES_MAX {
            return;
        }
        let its_own = outgoing.by_org.entry(sample.org).or_default();
        if *its_own < SAMPLES_OF_ONE_MAX {
            *its_own += 1;
            outgoing.samples.push(sample);
        }
    }

    /// Takes all samples.
    pub fn take(&self) -> Vec<HostSample> {
        let mut outgoing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        outgoing.by_org.clear();
        std::mem::take(&mut outgoing.samples)
    }
}

/// Samples as JSON text, to be written now.
pub fn encode(samples: &[HostSample], now_ms: i64) -> Result<String, serde_json::Error> {
    let stored: Vec<StoredSample<'_>> = samples
        .iter()
        .map(|sample| {
            let (failed, latency_ms, tokens_per_second) = match sample.sample {
                Sample::Answered { latency_ms, tokens_per_second } => (false, latency_ms, tokens_per_second),
                Sample::Failed => (true, None, None),
            };
            StoredSample {
                model: sample.model.as_ref().into(),
                org: sample.org.0.to_string(),
                age_ms: now_ms.saturating_sub(sample.at_ms).max(0),
                failed,
                latency_ms,
                tokens_per_second,
                platform: sample.is_platform,
                retry_after_ms: sample.retry_after_ms,
            }
        })
        .collect();
    serde_json::to_string(&stored)
}

/// The samples of a batch that was written `batch_age_ms` ago. Samples that are too old are left out.
pub fn decode(text: &str, batch_age_ms: i64, now_ms: i64) -> Result<Vec<HostSample>, serde_json::Error> {
    let stored: Vec<StoredSample<'_>> = serde_json::from_str(text)?;
    let samples = stored.into_iter().take(SAMPLES_MAX).filter_map(|stored| {
        let age_ms = batch_age_ms.max(0).saturating_add(stored.age_ms.max(0));
        let (latency_ms, tokens_per_second) = (stored.latency_ms, stored.tokens_per_second);
        let org = OrgId(Uuid::parse_str(&stored.org).ok()?);
        (age_ms < AGE_MAX_MS).then(|| HostSample {
            model: stored.model.as_ref().into(),
            org,
            at_ms: now_ms.saturating_sub(age_ms),
            sample: if stored.failed {
                Sample::Failed
            } else {
                Sample::Answered { latency_ms, tokens_per_second }
            },
            is_platform: stored.platform,
            retry_after_ms: stored.retry_after_ms,
        })
    });
    Ok(samples.collect())
}

/// Counts samples of other processes as if the calls had been made here.
pub fn apply(samples: &[HostSample], measurements: &Measurements, breakers: &Breakers) {
    for sample in samples {
        measurements.note(&sample.model, sample.org, sample.at_ms, sample.sample);
        if !sample.is_platform {
            continue;
        }
        match sample.sample {
            Sample::Failed => breakers.failed(&sample.model, sample.org, sample.at_ms, sample.retry_after_ms),
            Sample::Answered { .. } => breakers.answered(&sample.model),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(org: u128, at_ms: i64, sample: Sample) -> HostSample {
        HostSample {
            model: "groq/m".into(),
            org: OrgId(Uuid::from_u128(org)),
            at_ms,
            sample,
            is_platform: true,
            retry_after_ms: Some(700),
        }
    }

    #[test]
    fn a_batch_is_read_by_a_process_whose_clock_is_wrong() {
        let answered = Sample::Answered { latency_ms: Some(80), tokens_per_second: None };
        let written = [sample(1, 1_000, answered), sample(2, 4_000, Sample::Failed)];
        let text = encode(&written, 5_000).unwrap();
        // Two seconds later, by a clock that stands at 900,000.
        let read = decode(&text, 2_000, 900_000).unwrap();
        assert_eq!(read.iter().map(|one| one.at_ms).collect::<Vec<_>>(), [894_000, 897_000]);
        assert_eq!(read[0].sample, answered);
        assert_eq!((read[1].sample, read[1].retry_after_ms), (Sample::Failed, Some(700)));
        assert!(decode(&text, AGE_MAX_MS - 2_000, 900_000).unwrap().len() == 1, "one is too old");
        assert!(decode("{}", 0, 0).is_err());
    }

    #[test]
    fn one_organization_leaves_room_for_the_others() {
        let outgoing = OutgoingSamples::default();
        (0..10_000).for_each(|_| outgoing.add(sample(1, 0, Sample::Failed)));
        outgoing.add(sample(2, 0, Sample::Failed));
        let taken = outgoing.take();
        assert_eq!(taken.len(), SAMPLES_OF_ONE_MAX + 1);
        assert!(outgoing.take().is_empty());
        (0..10_000).for_each(|org| outgoing.add(sample(org, 0, Sample::Failed)));
        assert_eq!(outgoing.take().len(), SAMPLES_MAX);
    }

    #[test]
    fn failures_that_others_saw_set_a_host_aside_here_and_an_answer_ends_it() {
        let (measurements, breakers) = (Measurements::default(), Breakers::default());
        let failures: Vec<HostSample> = (0..5).map(|org| sample(org, 1_000, Sample::Failed)).collect();
        apply(&failures, &measurements, &breakers);
        let org = OrgId(Uuid::from_u128(77));
        assert!(breakers.is_set_aside("groq/m", org, 1_001));
        assert_eq!(measurements.of("groq/m", 1_001).success_permille, Some(0));
        let answered = Sample::Answered { latency_ms: Some(1), tokens_per_second: None };
        apply(&[sample(3, 1_500, answered)], &measurements, &breakers);
        assert!(!breakers.is_set_aside("groq/m", org, 1_501));
    }

    #[test]
    fn calls_on_customers_own_keys_set_nobody_aside() {
        let (measurements, breakers) = (Measurements::default(), Breakers::default());
        let own = (0..9).map(|org| HostSample { is_platform: false, ..sample(org, 1_000, Sample::Failed) });
        apply(&own.collect::<Vec<_>>(), &measurements, &breakers);
        assert!(!breakers.is_set_aside("groq/m", OrgId(Uuid::from_u128(77)), 1_001));
    }
}
