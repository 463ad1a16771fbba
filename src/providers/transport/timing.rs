//! Records when the bytes of one answer arrived. A stream is read only as fast as its client accepts it, so the last
//! byte may be late without any fault of the provider: the time in which the gateway did not read is counted
//! separately.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

/// The times of one call, shared between the reader of its answer and the code that measures it.
#[derive(Default)]
pub struct ResponseTiming(Mutex<Times>);

#[derive(Default)]
struct Times {
    called: Option<Instant>,
    first: Option<Instant>,
    content: Option<Instant>,
    last: Option<Instant>,
    /// Since when the gateway has not been reading.
    left: Option<Instant>,
    /// For how long it had not been reading, since the last bytes arrived and before they did.
    idle: Duration,
    held: Duration,
}

/// The resulting times, each since the call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimedResponse {
    /// The first byte of the body.
    pub first: Duration,
    /// Of a stream: the first byte with content.
    pub content: Option<Duration>,
    /// The last byte so far.
    pub last: Duration,
    /// The part of the time until the last byte in which the gateway was not reading.
    pub held: Duration,
}

/// The share of an answer's time, and the absolute time, in which the gateway may not be reading without an effect on
/// the measurement.
const HELD_SHARE: u32 = 8;
const HELD_MIN: Duration = Duration::from_millis(5);

impl ResponseTiming {
    /// The call is being made.
    pub fn call(&self, now: Instant) {
        self.note(|times| times.called = Some(now));
    }

    /// The gateway waits for bytes.
    pub fn wait(&self, now: Instant) {
        self.note(|times| {
            times.idle +=
                times.left.take().map_or(Duration::ZERO, |left| now.saturating_duration_since(left));
        });
    }

    /// Bytes have arrived, and the gateway no longer waits. A reader that did not have to wait need not report it.
    pub fn on_data(&self, now: Instant) {
        self.note(|times| {
            let away =
                times.left.replace(now).map_or(Duration::ZERO, |left| now.saturating_duration_since(left));
            times.first.get_or_insert(now);
            times.last = Some(now);
            times.held += std::mem::take(&mut times.idle) + away;
        });
    }

    /// The gateway no longer waits.
    pub fn pause(&self, now: Instant) {
        self.note(|times| times.left = Some(now));
    }

    /// The last bytes are the first ones with content.
    pub fn has_content(&self) {
        self.note(|times| times.content = times.last);
    }

    /// `None` before the first byte.
    pub fn so_far(&self) -> Option<TimedResponse> {
        let times = self.0.lock().ok()?;
        let called = times.called?;
        let since = |at: Instant| at.saturating_duration_since(called);
        Some(TimedResponse {
            first: since(times.first?),
            content: times.content.map(since),
            last: since(times.last?),
            held: times.held,
        })
    }

    fn note(&self, note: impl FnOnce(&mut Times)) {
        if let Ok(mut times) = self.0.lock() {
            note(&mut times);
        }
    }
}

impl TimedResponse {
    /// The gateway was reading when the bytes arrived, except for moments: the time is the provider's.
    pub fn is_the_providers(&self) -> bool {
        self.held <= HELD_MIN.max(self.last / HELD_SHARE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call whose bytes arrive at these times, each followed by this much time without reading.
    fn paced(bytes: &[(u64, u64)]) -> TimedResponse {
        let (timing, start) = (ResponseTiming::default(), Instant::now());
        timing.call(start);
        assert_eq!(timing.so_far(), None);
        let mut now = start;
        for (index, (at_ms, away_ms)) in bytes.iter().enumerate() {
            timing.wait(now);
            now = now.max(start + Duration::from_millis(*at_ms));
            timing.on_data(now);
            timing.pause(now);
            if index == 1 {
                timing.has_content();
            }
            now += Duration::from_millis(*away_ms);
        }
        // A wait that is cancelled, and the end, change nothing.
        timing.wait(now);
        timing.pause(now + Duration::from_secs(9));
        timing.so_far().unwrap()
    }

    #[test]
    fn bytes_are_timed_from_the_call_and_what_the_client_takes_is_apart() {
        let ms = Duration::from_millis;
        let read = paced(&[(100, 1), (150, 1), (900, 5_000)]);
        assert_eq!(
            read,
            TimedResponse { first: ms(100), content: Some(ms(150)), last: ms(900), held: ms(2) }
        );
        assert!(read.is_the_providers());
        // The same answer with a slow client.
        let held = paced(&[(100, 1), (150, 2_000), (900, 0)]);
        assert_eq!(held, TimedResponse { last: ms(2_150), held: ms(2_001), ..read });
        assert!(!held.is_the_providers());
        // It ended before it could have an effect.
        assert!(paced(&[(1, 2), (2, 3), (3, 0)]).is_the_providers());
        assert_eq!(paced(&[(7, 0)]).content, None);
    }

    #[test]
    fn a_wait_that_is_given_up_is_no_time_of_the_clients() {
        let (timing, start) = (ResponseTiming::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        timing.call(start);
        for (from, to) in [(0, 100), (110, 15_000), (15_001, 30_000)] {
            timing.wait(at(from));
            if from == 0 {
                timing.on_data(at(to));
            }
            timing.pause(at(to));
        }
        timing.wait(at(30_002));
        timing.on_data(at(31_000));
        assert_eq!(timing.so_far().unwrap().held, Duration::from_millis(10 + 1 + 2));
    }
}
