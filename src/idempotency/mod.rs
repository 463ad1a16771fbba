//! Requests with an `Idempotency-Key`: the first one runs, and a repeat gets its stored answer. The key is claimed in
//! the database before the request runs, so it works across processes. The claim ends with the answer, with the
//! request's failure, or with the lease of the process. Requests without the header do not use this module.

mod answer;
mod digest;

pub use answer::Answer;
pub use digest::digest;

use crate::{
    accounts::installation::{Installation, KeyedHash},
    domain::{
        ambient::Ambient,
        ids::{InstanceId, OrgId},
    },
    store::{
        Db, StoreError,
        idempotency::{self, Claimed, Holder, NewClaim},
    },
    vault::{self, Binding, VaultError},
};
use moka::future::Cache;
use std::{sync::Arc, time::Duration};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// The largest stored answer.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// How long an answer is stored.
const KEPT: Duration = Duration::from_secs(24 * 3_600);
/// A claim whose end could not be written expires after this time, also in a process that is still running.
const RUNNING_MAX: Duration = Duration::from_secs(3_600);
/// The size of a row in addition to its answer.
const ROW_BYTES: i64 = 1_024;
/// How long a sum of stored bytes is cached: answers that are stored in this time may exceed the limit.
const SUM_AGE_MAX: Duration = Duration::from_secs(5);
const SUMS_MAX: u64 = 100_000;
/// How often a claim is retried that met the release of another one.
const TRIES_MAX: u32 = 4;
/// How often a release is tried, and the first pause between two tries; each further pause is twice as long.
const RELEASES_MAX: u32 = 6;
const RELEASE_PAUSE: Duration = Duration::from_millis(200);

/// The shared state for all requests with a key.
pub struct Idempotency {
    bytes_per_organization_max: i64,
    sums: Cache<Holder, i64>,
}

/// The dependencies of claims.
#[derive(Clone)]
pub struct Tools {
    pub db: Db,
    pub installation: Arc<Installation>,
    pub ambient: Ambient,
    pub instance: InstanceId,
    /// Tracks the tasks that release claims without a waiting caller.
    pub tasks: TaskTracker,
}

/// One request under its key.
pub struct Keyed {
    pub holder: Holder,
    pub key: String,
    /// See [`digest`].
    pub request: [u8; 32],
}

/// The next step for a request.
pub enum Start {
    /// Run it, then end the claim.
    Run(Claim),
    /// Return this answer to the same earlier request.
    Replay(Answer),
    /// The same request is running.
    Running,
    /// The key was used with another request.
    OtherRequest,
}

/// Why a claim was not decided.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the stored answer does not open: {0}")]
    Vault(#[from] VaultError),
    #[error("the stored answer has an unknown form")]
    Form,
}

/// A claim: the holder runs the request and ends it with [`Claim::keep`] or [`Claim::release`]. If it is dropped, it is
/// released.
pub struct Claim {
    tools: Tools,
    holder: Holder,
    id: Uuid,
    is_open: bool,
}

impl Idempotency {
    pub fn new(bytes_per_organization_max: i64) -> Self {
        let sums = Cache::builder().max_capacity(SUMS_MAX).time_to_live(SUM_AGE_MAX).build();
        Self { bytes_per_organization_max, sums }
    }

    /// Claims the key for the request, or states how the key was used.
    pub async fn start(&self, tools: &Tools, keyed: &Keyed) -> Result<Start, ClaimError> {
        // Keyed, because prompts can be guessed and others may read the database.
        let hashes = KeyedHash::new(tools.installation.tokens.of(b"idempotency"));
        let now = tools.ambient.now();
        let new = NewClaim {
            holder: keyed.holder,
            id: tools.ambient.uuid(),
            key_hash: hashes.of(keyed.key.as_bytes()),
            request_hash: hashes.of(&keyed.request),
            instance: tools.instance,
            now,
            expires_at: now + RUNNING_MAX,
        };
        // Registered before the claim is sent: a caller that stops waiting leaves no claimed key.
        let mut claim = Claim { tools: tools.clone(), holder: keyed.holder, id: new.id, is_open: true };
        let claimed = try_claim(&tools.db, new).await;
        if claimed.as_ref().is_ok_and(|claimed| *claimed != Claimed::Held) {
            claim.is_open = false;
        }
        Ok(match claimed? {
            Claimed::Held => Start::Run(claim),
            Claimed::Running => Start::Running,
            Claimed::OtherRequest => Start::OtherRequest,
            Claimed::Answered { id, sealed } => {
                let record = id.to_string();
                let plain = vault::open_bytes(
                    &tools.installation.ring,
                    &binding(keyed.holder.org_id(), &record),
                    &sealed,
                )?;
                Start::Replay(Answer::from_bytes(&plain).ok_or(ClaimError::Form)?)
            }
        })
    }

    /// Whether the holder's organization may store another answer.
    pub async fn has_room(&self, tools: &Tools, holder: Holder) -> bool {
        let db = tools.db.clone();
        let sum = self.sums.try_get_with(holder, async move {
            let reading = db.clone();
            let sum = db.run::<_, StoreError, _>(async move {
                idempotency::stored_bytes(&mut *reading.acquire().await?, holder, ROW_BYTES).await
            });
            sum.await
        });
        sum.await.is_ok_and(|bytes| bytes < self.bytes_per_organization_max)
    }
}

async fn try_claim(db: &Db, new: NewClaim) -> Result<Claimed, StoreError> {
    for _ in 1..TRIES_MAX {
        match claim_once(db, new).await {
            Err(StoreError::Contention) => {}
            outcome => return outcome,
        }
    }
    claim_once(db, new).await
}

async fn claim_once(db: &Db, new: NewClaim) -> Result<Claimed, StoreError> {
    let pool = db.clone();
    let claimed = db.run::<_, StoreError, _>(async move {
        let mut transaction = pool.begin().await?;
        let claimed = idempotency::claim(&mut transaction, &new).await?;
        transaction.commit().await?;
        Ok(claimed)
    });
    claimed.await
}

impl Claim {
    /// Stores the answer for repeats. If it cannot be stored, the key is freed.
    pub async fn keep(mut self, answer: &Answer) {
        match self.store(answer).await {
            Ok(true) => self.is_open = false,
            // Another request has the key now, for example after a pause longer than the lease.
            Ok(false) => {
                self.is_open = false;
                tracing::warn!("an answer came too late for its idempotency key and is not kept");
            }
            Err(error) => {
                tracing::warn!(error.cause = %error, "the answer of an idempotent request could not be kept");
            }
        }
    }

    async fn store(&self, answer: &Answer) -> Result<bool, ClaimError> {
        let Tools { db, installation, ambient, .. } = &self.tools;
        let record = self.id.to_string();
        let binding = binding(self.holder.org_id(), &record);
        let sealed = vault::seal_bytes(&installation.ring, ambient, &binding, &answer.to_bytes())?;
        let (pool, holder, id, expires_at) = (db.clone(), self.holder, self.id, ambient.now() + KEPT);
        let kept = db.run::<_, StoreError, _>(async move {
            let mut transaction = pool.begin().await?;
            let kept = idempotency::keep(&mut transaction, holder, id, &sealed, expires_at).await?;
            transaction.commit().await?;
            Ok(kept)
        });
        Ok(kept.await?)
    }

    /// Frees the key; returns when it is free, or when the database does not answer.
    pub async fn release(mut self) {
        let released = release(self.tools.db.clone(), self.holder, self.id).await;
        // A failed release is retried when the claim is dropped.
        self.is_open = released.is_err();
    }
}

impl Drop for Claim {
    /// The request was cancelled or panicked, or the end of the claim could not be written.
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        let (db, holder, id) = (self.tools.db.clone(), self.holder, self.id);
        let runtime = db.runtime().clone();
        let releasing = async move {
            let mut pause = RELEASE_PAUSE;
            for _ in 0..RELEASES_MAX {
                if release(db.clone(), holder, id).await.is_ok() {
                    return;
                }
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            tracing::warn!("an idempotency key could not be released; it is free within an hour");
        };
        self.tools.tasks.spawn_on(releasing, &runtime);
    }
}

async fn release(db: Db, holder: Holder, id: Uuid) -> Result<(), StoreError> {
    let pool = db.clone();
    let released = db.run::<_, StoreError, _>(async move {
        let mut transaction = pool.begin().await?;
        idempotency::release(&mut transaction, holder, id).await?;
        transaction.commit().await
    });
    released.await
}

fn binding(org: Option<OrgId>, record: &str) -> Binding<'_> {
    Binding { table: "idempotency", org, api_key: None, provider: "", origin: "", record }
}
