//! Hashes passwords with Argon2id on separate threads: the number of threads bounds the memory, the length of the queue
//! is bounded, and the threads have a lower priority than those that serve requests. Networks are served in turn, and
//! each has a share of the queue. An unknown user costs as much time as a wrong password.

use super::{
    AccountError,
    fair_queue::{FairQueue, Refused},
    throttle::Network,
};
use crate::domain::{ambient::Ambient, ids::UserId, secret::Secret};
use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use std::sync::Arc;
use tokio::sync::oneshot;

/// OWASP's first choice for Argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const WAITING_MAX: usize = 256;
/// Places of one lane among these.
const SHARE_MAX: usize = 16;
/// Niceness of the hashing threads.
const NICENESS: i32 = 10;

type Job = Box<dyn FnOnce() + Send>;

/// The person or network for which a password is hashed. Lanes are served in turn.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Lane {
    LogIn(Network),
    SignUp(Network),
    /// A logged-in person.
    Person(UserId),
    /// The command line.
    Command,
}

/// The pool of hashing threads.
pub struct Passwords {
    jobs: Arc<FairQueue<Lane, Job>>,
    ambient: Ambient,
    /// The hash of a password that no account has.
    dummy: Arc<str>,
}

impl Passwords {
    /// Starts `threads` hashing threads; each uses 19 MiB while it works.
    pub fn start(threads: usize, ambient: Ambient) -> anyhow::Result<Self> {
        let jobs = Arc::new(FairQueue::new(WAITING_MAX, SHARE_MAX));
        for number in 0..threads.max(1) {
            let queue = jobs.clone();
            std::thread::Builder::new().name(format!("password-{number}")).spawn(move || work(&queue))?;
        }
        let nobody = ambient.bytes::<32>();
        let dummy = hash(&nobody, &ambient.bytes::<16>())?.into();
        Ok(Self { jobs, ambient, dummy })
    }

    /// The PHC string to store for a new password.
    pub async fn hash(&self, lane: Lane, password: &Secret) -> Result<String, AccountError> {
        let (password, salt) = (password.clone(), self.ambient.bytes::<16>());
        self.run(lane, move || hash(password.expose().as_bytes(), &salt))
            .await?
            .map_err(|error| AccountError::Internal(error.to_string()))
    }

    /// Whether `password` matches `stored`; `None` (no such user) takes the same time and is false.
    pub async fn verify(
        &self,
        lane: Lane,
        password: &Secret,
        stored: Option<&str>,
    ) -> Result<bool, AccountError> {
        let (password, known) = (password.clone(), stored.is_some());
        let expected: Arc<str> = stored.map_or_else(|| self.dummy.clone(), Arc::from);
        let fits = self.run(lane, move || verify(password.expose().as_bytes(), &expected)).await?;
        Ok(fits && known)
    }

    async fn run<T: Send + 'static>(
        &self,
        lane: Lane,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AccountError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move || {
            // A client that has disconnected costs nothing.
            if !answer.is_closed() {
                // It fails if the client has just disconnected; then the result is not needed.
                let _ = answer.send(job());
            }
        });
        self.jobs.push(lane, job).map_err(|refused| match refused {
            Refused::Share => AccountError::Throttled { retry_after_s: 1 },
            Refused::Full => AccountError::Busy,
        })?;
        answered.await.map_err(|_| AccountError::Busy)
    }
}

impl Drop for Passwords {
    fn drop(&mut self) {
        self.jobs.close();
    }
}

fn work(queue: &FairQueue<Lane, Job>) {
    // On Linux this sets the niceness of the calling thread only. Only an unusual sandbox refuses it; then hashing runs
    // at normal priority.
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::warn!(error.cause = %error, "password hashing runs at normal priority");
    }
    while let Some(job) = queue.pop() {
        job();
    }
}

fn argon2() -> Result<Argon2<'static>, argon2::Error> {
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(MEMORY_KIB, PASSES, LANES, None)?))
}

fn hash(password: &[u8], salt: &[u8]) -> anyhow::Result<String> {
    let hashed: PasswordHash = argon2()
        .map_err(|error| anyhow::anyhow!("argon2 parameters: {error}"))?
        .hash_password_with_salt(password, salt)
        .map_err(|error| anyhow::anyhow!("argon2: {error}"))?;
    Ok(hashed.to_string())
}

fn verify(password: &[u8], expected: &str) -> bool {
    let (Ok(argon2), Ok(expected)) = (argon2(), PasswordHash::new(expected)) else { return false };
    argon2.verify_password(password, &expected).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_fits_its_own_hash_and_no_other_and_nobody_fits_the_dummy() {
        let passwords = Passwords::start(1, Ambient::system()).unwrap();
        let password = Secret::new("correct horse".into());
        let stored = passwords.hash(Lane::Command, &password).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(passwords.verify(Lane::Command, &password, Some(&stored)).await.unwrap());
        assert!(!passwords.verify(Lane::Command, &Secret::new("wrong".into()), Some(&stored)).await.unwrap());
        assert!(!passwords.verify(Lane::Command, &password, None).await.unwrap());
        assert!(!passwords.verify(Lane::Command, &password, Some("not a hash")).await.unwrap());
    }
}
