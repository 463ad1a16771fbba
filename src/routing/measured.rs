//! How hosts have done lately: the last calls of each model at each provider, for orderings. In memory, bounded, of
//! this process alone; nothing that must not be lost rests on it, so a note may be passed over when another thread is
//! at it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
};

/// Older samples do not count.
const WINDOW_MS: i64 = 300_000;
/// Samples kept of one model.
const SAMPLES_MAX: usize = 64;
/// Models kept.
const MODELS_MAX: usize = 2_048;
/// Fewer samples say nothing.
const SAMPLES_MIN: usize = 3;

/// One call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sample {
    /// Until the first byte of the answer, and how fast it came. No speed where nothing was written in tokens.
    Answered { latency_ms: u64, tokens_per_second: Option<u64> },
    /// The provider failed. What the caller's key or request is to blame for is no sample.
    Failed,
}

/// What the samples amount to; `None` where they are too few.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Measured {
    /// Three answers of four began within this time.
    pub latency_ms: Option<u64>,
    /// Half of the answers came at least as fast.
    pub tokens_per_second: Option<u64>,
    pub success_permille: Option<u64>,
}

/// The latest calls of one model, each with its time.
type Samples = VecDeque<(i64, Sample)>;

/// The samples of every model, by its id with the provider. Times are Unix milliseconds.
#[derive(Default)]
pub struct Measurements {
    models: Mutex<HashMap<Arc<str>, Samples>>,
}

impl Measurements {
    /// Notes a call. Never waits.
    pub fn note(&self, id: &Arc<str>, now_ms: i64, sample: Sample) {
        let Ok(mut models) = self.models.try_lock() else { return };
        if models.len() >= MODELS_MAX && !models.contains_key(id) {
            models.retain(|_, samples| samples.back().is_some_and(|(at, _)| is_recent(*at, now_ms)));
            if models.len() >= MODELS_MAX {
                return;
            }
        }
        let samples = models.entry(id.clone()).or_default();
        if samples.len() >= SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back((now_ms, sample));
    }

    /// What is known of a model now.
    pub fn of(&self, id: &str, now_ms: i64) -> Measured {
        let recent: Vec<Sample> = match self.models.lock() {
            Ok(models) => match models.get(id) {
                Some(samples) => {
                    let recent = samples.iter().filter(|(at, _)| is_recent(*at, now_ms));
                    recent.map(|(_, sample)| *sample).collect()
                }
                None => return Measured::default(),
            },
            Err(_) => return Measured::default(),
        };
        summed_up(&recent)
    }
}

fn is_recent(at_ms: i64, now_ms: i64) -> bool {
    now_ms.saturating_sub(at_ms) < WINDOW_MS
}

fn summed_up(samples: &[Sample]) -> Measured {
    let mut latencies = Vec::with_capacity(samples.len());
    let mut speeds = Vec::with_capacity(samples.len());
    for sample in samples {
        if let Sample::Answered { latency_ms, tokens_per_second } = sample {
            latencies.push(*latency_ms);
            speeds.extend(tokens_per_second);
        }
    }
    let share = latencies.len().saturating_mul(1_000).checked_div(samples.len()).unwrap_or(0);
    Measured {
        success_permille: (samples.len() >= SAMPLES_MIN).then(|| u64::try_from(share).unwrap_or(0)),
        latency_ms: quartile(latencies, 3),
        tokens_per_second: quartile(speeds, 2),
    }
}

/// The figure that so many quarters of the others do not exceed.
fn quartile(mut figures: Vec<u64>, quarters: usize) -> Option<u64> {
    if figures.len() < SAMPLES_MIN {
        return None;
    }
    figures.sort_unstable();
    figures.get((figures.len() * quarters).div_ceil(4).saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(latency_ms: u64) -> Sample {
        Sample::Answered { latency_ms, tokens_per_second: Some(latency_ms * 10) }
    }

    #[test]
    fn three_samples_say_something_and_fewer_nothing() {
        let (measurements, id) = (Measurements::default(), Arc::from("openai/m"));
        for latency in [100, 300] {
            measurements.note(&id, 1, answered(latency));
        }
        assert_eq!(measurements.of("openai/m", 2), Measured::default());
        measurements.note(&id, 1, Sample::Failed);
        let measured = measurements.of("openai/m", 2);
        assert_eq!((measured.latency_ms, measured.success_permille), (None, Some(666)));
        measurements.note(&id, 1, answered(200));
        let measured = measurements.of("openai/m", 2);
        assert_eq!((measured.latency_ms, measured.tokens_per_second), (Some(300), Some(2_000)));
        assert_eq!(measurements.of("groq/m", 2), Measured::default());
    }

    #[test]
    fn the_window_slides() {
        let (measurements, id) = (Measurements::default(), Arc::from("a"));
        for at in 0..3 {
            measurements.note(&id, at, answered(5));
        }
        assert_eq!(measurements.of("a", 3).latency_ms, Some(5));
        assert_eq!(measurements.of("a", WINDOW_MS + 1).latency_ms, None);
    }

    #[test]
    fn memory_is_bounded_and_makes_room_for_what_is_new() {
        let measurements = Measurements::default();
        for index in 0..MODELS_MAX + 10 {
            measurements.note(&Arc::from(index.to_string()), 0, answered(1));
        }
        assert_eq!(measurements.models.lock().unwrap().len(), MODELS_MAX);
        let late: Arc<str> = Arc::from("late");
        for _ in 0..1_000 {
            measurements.note(&late, WINDOW_MS, answered(1));
        }
        let models = measurements.models.lock().unwrap();
        assert_eq!((models.len(), models.get("late").unwrap().len()), (1, SAMPLES_MAX));
    }
}
