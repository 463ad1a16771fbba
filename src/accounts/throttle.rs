//! Counts attempts per key within a fixed window, in this process. Bounded: under a flood of keys the least
//! used counts are forgotten, never the limit.

use moka::future::Cache;
use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use time::OffsetDateTime;

const WINDOW_S: i64 = 300;
const KEYS_MAX: u64 = 100_000;

/// What is counted, and how much of it is allowed in five minutes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Subject {
    /// Failed log-ins of one account, by e-mail address.
    Account(String),
    /// Log-ins and sign-ups from one address (of IPv6 its /64 network).
    Address(Option<IpAddr>),
    /// Test calls at providers by one organization.
    Checks(crate::domain::ids::OrgId),
}

impl Subject {
    /// The address of a client, as it is counted.
    pub fn address(ip: Option<IpAddr>) -> Self {
        Self::Address(ip.map(|ip| match ip.to_canonical() {
            IpAddr::V4(v4) => IpAddr::V4(v4),
            IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        }))
    }

    fn attempts_max(&self) -> u32 {
        match self {
            Self::Account(_) => 20,
            // Many people share an office's address; what one of them costs is bounded by the hashing queue.
            Self::Address(_) => 3_000,
            Self::Checks(_) => 100,
        }
    }
}

struct Window {
    began_at: OffsetDateTime,
    attempts: u32,
}

/// Too many attempts; more are admitted after this many seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooMany {
    pub retry_after_s: u32,
}

/// The counts of this process.
pub struct Throttle {
    windows: Cache<Subject, Arc<Mutex<Window>>>,
}

impl Default for Throttle {
    fn default() -> Self {
        let idle = Duration::from_secs(WINDOW_S.unsigned_abs());
        Self { windows: Cache::builder().max_capacity(KEYS_MAX).time_to_idle(idle).build() }
    }
}

impl Throttle {
    /// Counts an attempt, before it is made: many at once cannot pass the limit together.
    pub async fn admit(&self, subject: Subject, now: OffsetDateTime) -> Result<(), TooMany> {
        let attempts_max = subject.attempts_max();
        let window = self
            .windows
            .get_with(subject, async { Arc::new(Mutex::new(Window { began_at: now, attempts: 0 })) })
            .await;
        let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
        let age_s = (now - window.began_at).whole_seconds();
        if !(0..WINDOW_S).contains(&age_s) {
            *window = Window { began_at: now, attempts: 0 };
        } else if window.attempts >= attempts_max {
            return Err(TooMany { retry_after_s: u32::try_from(WINDOW_S - age_s).unwrap_or(1) });
        }
        window.attempts = window.attempts.saturating_add(1);
        Ok(())
    }

    /// Takes one attempt back: it was a right one.
    pub async fn refund(&self, subject: &Subject) {
        if let Some(window) = self.windows.get(subject).await {
            let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
            window.attempts = window.attempts.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn attempts_past_the_limit_wait_for_the_window_to_end() {
        let (throttle, start) = (Throttle::default(), OffsetDateTime::UNIX_EPOCH);
        let account = || Subject::Account("a@b".into());
        for _ in 0..20 {
            throttle.admit(account(), start).await.unwrap();
        }
        let late = start + Duration::from_secs(100);
        assert_eq!(throttle.admit(account(), late).await, Err(TooMany { retry_after_s: 200 }));
        assert!(throttle.admit(Subject::Account("c@d".into()), late).await.is_ok());
        throttle.refund(&account()).await;
        assert!(throttle.admit(account(), late).await.is_ok());
        assert!(throttle.admit(account(), start + Duration::from_secs(300)).await.is_ok());
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let subject = |ip: &str| Subject::address(Some(ip.parse().unwrap()));
        assert_eq!(subject("2001:db8::1"), subject("2001:db8::ffff"));
        assert_ne!(subject("2001:db8::1"), subject("2001:db8:0:1::1"));
        assert_eq!(subject("::ffff:1.2.3.4"), subject("1.2.3.4"));
    }
}
