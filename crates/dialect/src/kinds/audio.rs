//! How long audio lasts, read from its frames and heads without decoding it: of a file that was uploaded, and of
//! speech as it streams by. Bounded memory, any split of the bytes, and no panic whatever they are; what is not
//! understood has no length.

mod container;
mod frames;

use frames::Frames;
use kairosroute_domain::usage::Basis;

/// Bytes that are looked at to tell what it is.
const SNIFF_BYTES: usize = 12;
/// 16-bit samples of one channel at 24 kHz: what OpenAI calls pcm.
const PCM_BYTES_PER_SECOND: u64 = 48_000;
/// A recording of unknown form is taken to be coded at 64 kbit/s, and at 5 kbit/s at the least.
const BYTES_PER_SECOND: u64 = 8_000;
const BYTES_PER_SECOND_MIN: u64 = 625;
/// Nothing that is spoken is coded at more than 2 Mbit/s: a head that claims so little time is not believed.
const BYTES_PER_SECOND_MAX: u64 = 250_000;
/// Eleven days: no file that is taken here lasts longer.
const MS_MAX: u64 = 1_000_000_000;
/// Providers round up, one of them to ten seconds.
const ROUNDING_MS: u64 = 10_000;

/// The length of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Measured {
    /// At least 1.
    pub ms: u64,
    /// What a provider may make of it.
    pub most_ms: u64,
    /// `ms`, or more where that is only what a head claims and the rest need not hold to.
    pub slow_ms: u64,
    pub basis: Basis,
}

/// Measures a whole file.
pub fn measure(file: &[u8]) -> Measured {
    let mut clock = Clock::new(None);
    clock.feed(file);
    let bytes = u64::try_from(file.len()).unwrap_or(u64::MAX);
    let at_rate = |rate: u64| bytes.saturating_mul(1_000) / rate;
    let slow_ms = at_rate(BYTES_PER_SECOND_MIN).clamp(1, MS_MAX);
    match clock.ms().or_else(|| container::ms(file)).filter(|ms| *ms > 0) {
        Some(ms) => {
            let ms = ms.max(at_rate(BYTES_PER_SECOND_MAX)).clamp(1, MS_MAX);
            let slow_ms = if clock.counts() { ms } else { slow_ms.max(ms) };
            let most_ms = slow_ms.max(ms + ms / 10).saturating_add(ROUNDING_MS);
            Measured { ms, most_ms, slow_ms, basis: Basis::Counted }
        }
        None => Measured {
            ms: at_rate(BYTES_PER_SECOND).max(1),
            most_ms: slow_ms.saturating_add(ROUNDING_MS),
            slow_ms,
            basis: Basis::Estimated,
        },
    }
}

/// Measures audio as it comes.
pub struct Clock(State);

enum State {
    /// Too little was seen to know.
    Start(Vec<u8>),
    /// Bare samples.
    Pcm(u64),
    Frames(Frames),
    Unknown,
}

impl Clock {
    /// `format` is what was asked for; bare samples cannot be told by looking.
    pub fn new(format: Option<&str>) -> Self {
        Self(if format == Some("pcm") { State::Pcm(0) } else { State::Start(Vec::new()) })
    }

    /// Takes what comes next.
    pub fn feed(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Start(seen) => {
                seen.extend_from_slice(bytes);
                if seen.len() < SNIFF_BYTES {
                    return;
                }
                let seen = std::mem::take(seen);
                self.0 = Frames::of(&seen).map_or(State::Unknown, State::Frames);
                if let State::Frames(frames) = &mut self.0 {
                    frames.feed(&seen);
                }
            }
            State::Pcm(count) => {
                *count = count.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
            State::Frames(frames) => frames.feed(bytes),
            State::Unknown => {}
        }
    }

    /// Whether the length is counted from what is heard, and not what a head or a page claims.
    fn counts(&self) -> bool {
        match &self.0 {
            State::Pcm(_) => true,
            State::Frames(frames) => frames.counts(),
            State::Start(_) | State::Unknown => false,
        }
    }

    /// Milliseconds so far; `None` when the form is not known.
    pub fn ms(&self) -> Option<u64> {
        match &self.0 {
            State::Start(_) | State::Unknown => None,
            State::Pcm(count) => Some(count.saturating_mul(1_000) / PCM_BYTES_PER_SECOND),
            State::Frames(frames) => frames.ms(),
        }
    }
}

/// Bytes as a number, the first the highest; at most eight of them.
fn big(bytes: Option<&[u8]>) -> Option<u64> {
    Some(bytes?.iter().fold(0u64, |number, byte| (number << 8) | u64::from(*byte)))
}

/// Bytes as a number, the first the lowest; at most eight of them.
fn little(bytes: Option<&[u8]>) -> Option<u64> {
    Some(bytes?.iter().rev().fold(0u64, |number, byte| (number << 8) | u64::from(*byte)))
}

#[cfg(test)]
mod tests;
