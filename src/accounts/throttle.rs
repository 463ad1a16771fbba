//! Limits attempts per subject, over all processes: a burst, then one attempt per interval. Bounded: under a flood of
//! subjects the least used ones are forgotten, never the limit. The wait that is stated is the true one.

use super::installation::KeyedHash;
use crate::{
    domain::ids::{OrgId, UserId},
    limits::Gcra,
    store::{Db, StoreError, throttles},
};
use moka::future::Cache;
use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use time::OffsetDateTime;

const SUBJECTS_MAX: u64 = 100_000;
/// Longer than any bucket takes to fill up again.
const IDLE: Duration = Duration::from_secs(2 * 3_600);

/// The network that an address is counted as: of IPv4 the address, of IPv6 its /64 network.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Network(Option<IpAddr>);

impl Network {
    pub fn of(address: Option<IpAddr>) -> Self {
        Self(address.map(|ip| match ip.to_canonical() {
            IpAddr::V4(v4) => IpAddr::V4(v4),
            IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        }))
    }

    /// False for calls that do not come over the network, such as those of the command line.
    pub fn is_known(self) -> bool {
        self.0.is_some()
    }
}

/// As stored beside sessions and sign-ups.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("local"),
            Some(IpAddr::V4(v4)) => v4.fmt(f),
            Some(IpAddr::V6(v6)) => write!(f, "{v6}/64"),
        }
    }
}

/// What is counted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Subject {
    /// Failed log-ins to one account from one network. Nobody can use it up for another network.
    Guess(String, Network),
    /// Failed log-ins to one account from all networks: slows guessing from many of them. Networks from which the
    /// person has logged in before are exempt.
    Account(String),
    /// Log-ins from one network.
    Network(Network),
    /// Sign-ups from one network, which a flood of log-ins does not use up.
    SignUps(Network),
    /// Test calls at providers by one organization.
    Checks(OrgId),
    /// Messages asked for by one network.
    Mails(Network),
    /// Messages to one address.
    MailsTo(String),
    /// Codes of the second factor tried by one person who has shown the password.
    Codes(UserId),
    /// Changes by one logged-in person.
    Changes(UserId),
}

impl Subject {
    /// How many attempts are free at once, and after which time each further one is.
    fn rate(&self) -> Gcra {
        let (burst, interval_ms) = match self {
            Self::Guess(..) => (20, 15_000),
            Self::Account(_) => (500, 8_000),
            // People of one office share an address.
            Self::Network(_) => (300, 1_000),
            Self::SignUps(_) => (200, 1_000),
            Self::Checks(_) => (100, 3_000),
            Self::Mails(_) => (20, 30_000),
            Self::MailsTo(_) => (3, 300_000),
            Self::Codes(_) => (5, 60_000),
            Self::Changes(_) => (1_000, 500),
        };
        Gcra { burst, interval_ms }
    }

    /// Whether all processes count it together. Changes are too many and too cheap for a row of their own.
    fn is_shared(&self) -> bool {
        !matches!(self, Self::Changes(_))
    }
}

/// Too many attempts; the next one is admitted after this many seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooMany {
    pub retry_after_s: u32,
}

impl TooMany {
    fn after(wait_ms: i64) -> Self {
        Self { retry_after_s: u32::try_from(wait_ms.unsigned_abs().div_ceil(1_000)).unwrap_or(u32::MAX) }
    }
}

/// Buckets of subjects: when each will be full again. Those of this process refuse without asking the database; an attempt
/// that they admit counts in the shared one, too.
pub struct Throttle {
    full_at: Cache<Subject, Arc<Mutex<i64>>>,
    /// `None`: this process is the only one.
    shared: Option<SharedBuckets>,
}

/// The buckets that all processes share. Their names are keyed hashes.
struct SharedBuckets {
    db: Db,
    names: KeyedHash,
}

impl Default for Throttle {
    fn default() -> Self {
        let full_at = Cache::builder().max_capacity(SUBJECTS_MAX).time_to_idle(IDLE).build();
        Self { full_at, shared: None }
    }
}

impl Throttle {
    /// Counts together with the other processes on this database.
    pub fn shared(db: &Db, names: &KeyedHash) -> Self {
        let shared = SharedBuckets { db: db.clone(), names: names.clone() };
        Self { shared: Some(shared), ..Self::default() }
    }

    /// Counts an attempt before it is made, so that many at once cannot pass the limit together.
    pub async fn check_rate(&self, subject: Subject, now: OffsetDateTime) -> Result<(), TooMany> {
        let rate = subject.rate();
        let bucket = self.full_at.get_with(subject.clone(), async { Arc::new(Mutex::new(0)) }).await;
        let wait_ms = {
            let mut full_at = bucket.lock().unwrap_or_else(PoisonError::into_inner);
            let attempt = rate.attempt(*full_at, millis(now));
            *full_at = attempt.arrival_ms;
            attempt.wait_ms
        };
        if wait_ms > 0 {
            return Err(TooMany::after(wait_ms));
        }
        let Some(shared) = self.shared.as_ref().filter(|_| subject.is_shared()) else { return Ok(()) };
        match shared.attempt(&subject).await {
            Ok(0) => Ok(()),
            Ok(wait_ms) => {
                // It was not made, so that it does not count here either.
                let mut full_at = bucket.lock().unwrap_or_else(PoisonError::into_inner);
                *full_at = rate.refund(*full_at);
                Err(TooMany::after(wait_ms))
            }
            Err(error) => {
                // What follows needs the database anyway.
                tracing::warn!(error.cause = %error, "an attempt was counted in this process alone");
                Ok(())
            }
        }
    }

    /// Gives one attempt back: it was a right one.
    pub async fn refund(&self, subject: &Subject) {
        if let Some(bucket) = self.full_at.get(subject).await {
            let mut full_at = bucket.lock().unwrap_or_else(PoisonError::into_inner);
            *full_at = subject.rate().refund(*full_at);
        }
        if let Some(shared) = self.shared.as_ref().filter(|_| subject.is_shared())
            && let Err(error) = shared.refund(subject).await
        {
            tracing::warn!(error.cause = %error, "an attempt could not be given back");
        }
    }
}

impl SharedBuckets {
    async fn attempt(&self, subject: &Subject) -> Result<i64, StoreError> {
        let (db, name, rate) = (self.db.clone(), self.name(subject), subject.rate());
        let attempt = async move {
            let mut transaction = db.begin().await?;
            let wait_ms = throttles::attempt(&mut transaction, &name, rate).await?;
            transaction.commit().await?;
            Ok(wait_ms)
        };
        self.db.run(attempt).await
    }

    async fn refund(&self, subject: &Subject) -> Result<(), StoreError> {
        let (db, name, rate) = (self.db.clone(), self.name(subject), subject.rate());
        let refund = async move {
            let mut transaction = db.begin().await?;
            throttles::refund(&mut transaction, &name, rate).await?;
            transaction.commit().await
        };
        self.db.run(refund).await
    }

    /// The parts stand apart: no subject has the text of another.
    fn name(&self, subject: &Subject) -> [u8; 32] {
        self.names.of(format!("throttle\0{subject:?}").as_bytes())
    }
}

fn millis(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn network(ip: &str) -> Network {
        Network::of(Some(ip.parse().unwrap()))
    }

    #[tokio::test]
    async fn after_the_burst_one_attempt_per_interval_is_admitted_and_the_wait_is_true() {
        let throttle = Throttle::default();
        let guess = || Subject::Guess("a@b".into(), network("203.0.113.1"));
        for _ in 0..20 {
            throttle.check_rate(guess(), START).await.unwrap();
        }
        let late = START + time::Duration::seconds(5);
        assert_eq!(throttle.check_rate(guess(), late).await, Err(TooMany { retry_after_s: 10 }));
        // The stated wait is enough, and a second attempt needs another one.
        let later = late + time::Duration::seconds(10);
        assert_eq!(throttle.check_rate(guess(), later).await, Ok(()));
        assert_eq!(throttle.check_rate(guess(), later).await, Err(TooMany { retry_after_s: 15 }));
        throttle.refund(&guess()).await;
        assert_eq!(throttle.check_rate(guess(), later).await, Ok(()));
    }

    #[tokio::test]
    async fn guesses_from_one_network_cost_another_network_nothing() {
        let throttle = Throttle::default();
        let guess = |ip| Subject::Guess("a@b".into(), network(ip));
        for _ in 0..20 {
            throttle.check_rate(guess("203.0.113.1"), START).await.unwrap();
        }
        assert!(throttle.check_rate(guess("203.0.113.1"), START).await.is_err());
        assert!(throttle.check_rate(guess("203.0.113.2"), START).await.is_ok());
    }

    #[tokio::test]
    async fn a_clock_that_was_set_back_closes_no_bucket_for_good() {
        let throttle = Throttle::default();
        let checks = || Subject::Checks(OrgId(uuid::Uuid::nil()));
        for _ in 0..100 {
            throttle.check_rate(checks(), START + time::Duration::days(9)).await.unwrap();
        }
        assert_eq!(throttle.check_rate(checks(), START).await, Err(TooMany { retry_after_s: 3 }));
        assert!(throttle.check_rate(checks(), START + time::Duration::seconds(3)).await.is_ok());
    }

    #[tokio::test]
    async fn two_processes_count_attempts_together() {
        let test = crate::store::testing::TestDb::create().await;
        let names = KeyedHash::new([7; 32]);
        let processes =
            [Throttle::shared(&test.db, &names), Throttle::shared(&test.second_process(), &names)];
        let guess = |email: &str| Subject::Guess(email.into(), network("203.0.113.1"));
        let now = test.ambient.now();
        let mut admitted = 0;
        for index in 0..40 {
            admitted += usize::from(processes[index % 2].check_rate(guess("a@b"), now).await.is_ok());
        }
        // One more where the attempts take longer than its interval.
        assert!((20..=21).contains(&admitted), "{admitted}");
        assert!(processes[0].check_rate(guess("b@b"), now).await.is_ok());
        processes[1].refund(&guess("a@b")).await;
        assert!(processes[0].check_rate(guess("a@b"), now).await.is_ok());
        assert_eq!(test.number("SELECT count(*) FROM throttle").await, 2);
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:1.2.3.4"), network("1.2.3.4"));
        assert_eq!(network("2001:db8::1").to_string(), "2001:db8::/64");
    }
}
