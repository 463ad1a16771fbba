//! Determines the length of audio from its frames and headers without decoding: of an uploaded file, and of streamed
//! speech. It uses bounded memory, accepts any split of the bytes, and never panics; a format that it does not know has
//! no length.

mod container;
mod frames;

use frames::Frames;
use kairosroute_domain::usage::Basis;

/// Bytes that are examined to detect the format.
const SNIFF_BYTES: usize = 12;
/// 16-bit samples of one channel at 24 kHz: OpenAI's `pcm`.
const PCM_BYTES_PER_SECOND: u64 = 48_000;
/// A recording of unknown format is assumed to have 64 kbit/s, and at least 5 kbit/s.
const BYTES_PER_SECOND: u64 = 8_000;
const BYTES_PER_SECOND_MIN: u64 = 625;
/// No speech is coded at more than 2 Mbit/s: a shorter length in a header is not accepted.
const BYTES_PER_SECOND_MAX: u64 = 250_000;
/// Eleven days: no accepted file is longer.
const MS_MAX: u64 = 1_000_000_000;
/// Providers round up, one of them to ten seconds.
const ROUNDING_MS: u64 = 10_000;

/// The length of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Measured {
    /// At least 1.
    pub ms: u64,
    /// The maximum that a provider may bill for it.
    pub most_ms: u64,
    /// `ms`, or more if that figure is only stated in a header and the content may be longer.
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

/// Measures audio while it is streamed.
pub struct Clock(State);

enum State {
    /// Not enough bytes to detect the format.
    Start(Vec<u8>),
    /// Samples without a container.
    Pcm(u64),
    Frames(Frames),
    Unknown,
}

impl Clock {
    /// `format` is the requested format; samples without a container cannot be detected.
    pub fn new(format: Option<&str>) -> Self {
        Self(if format == Some("pcm") { State::Pcm(0) } else { State::Start(Vec::new()) })
    }

    /// Takes the next bytes.
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

    /// Whether the length is counted from the audio itself, and not stated in a header or a page.
    fn counts(&self) -> bool {
        match &self.0 {
            State::Pcm(_) => true,
            State::Frames(frames) => frames.counts(),
            State::Start(_) | State::Unknown => false,
        }
    }

    /// Milliseconds so far; `None` if the format is unknown.
    pub fn ms(&self) -> Option<u64> {
        match &self.0 {
            State::Start(_) | State::Unknown => None,
            State::Pcm(count) => Some(count.saturating_mul(1_000) / PCM_BYTES_PER_SECOND),
            State::Frames(frames) => frames.ms(),
        }
    }
}

/// Bytes as a big-endian number; at most eight of them.
fn big(bytes: Option<&[u8]>) -> Option<u64> {
    Some(bytes?.iter().fold(0u64, |number, byte| (number << 8) | u64::from(*byte)))
}

/// Bytes as a little-endian number; at most eight of them.
fn little(bytes: Option<&[u8]>) -> Option<u64> {
    Some(bytes?.iter().rev().fold(0u64, |number, byte| (number << 8) | u64::from(*byte)))
}

#[cfg(test)]
mod tests;
