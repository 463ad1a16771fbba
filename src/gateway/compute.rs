//! Runs work that would block an HTTP worker for too long: parsing large bodies, decompressing, counting tokens. A few
//! separate threads run it, one organization after the other, so a long queue of one organization delays the others by
//! one job. A job whose caller no longer waits is not started.

use crate::{
    domain::shares::Owner,
    providers::transport::{NoClient, Transport},
};
use futures_util::future::LocalBoxFuture;
use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    future::Future,
    sync::{Arc, Mutex, Once, PoisonError},
};
use tokio::sync::{Notify, oneshot};

/// Waiting jobs of one organization.
const WAITING_PER_OWNER_MAX: usize = 256;

type Job = Box<dyn FnOnce(Transport) -> LocalBoxFuture<'static, ()> + Send>;
type Connect = dyn Fn() -> Result<Transport, NoClient> + Send + Sync;

/// The queue and its threads. They start with the first job and end with this value.
pub struct ComputeQueue {
    state: Arc<State>,
    threads: usize,
    started: Once,
    connect: Arc<Connect>,
}

/// Why a job has no result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotDone {
    /// The owner has its maximum of waiting jobs.
    Full,
    /// The job failed, or the process is ending.
    Lost,
}

/// The caller's side of a job: whether the caller still waits for the result.
pub struct Wanted<'t, T>(&'t oneshot::Sender<T>);

#[derive(Default)]
struct State {
    jobs: Mutex<Jobs>,
    /// There are jobs, or the queue is closed.
    ready: Notify,
}

#[derive(Default)]
struct Jobs {
    of: HashMap<Owner, VecDeque<Job>>,
    /// Owners that have jobs; the next one is at the front.
    turns: VecDeque<Owner>,
    closed: bool,
}

impl ComputeQueue {
    /// `connect` makes the HTTP clients of one thread.
    pub fn new(
        threads: usize,
        connect: impl Fn() -> Result<Transport, NoClient> + Send + Sync + 'static,
    ) -> Self {
        Self { state: Arc::default(), threads, started: Once::new(), connect: Arc::new(connect) }
    }

    /// Runs a computation. The computation checks from time to time whether its result is still needed.
    pub async fn compute<T: Send + 'static>(
        &self,
        owner: Owner,
        work: impl FnOnce(&Wanted<'_, T>) -> T + Send + 'static,
    ) -> Result<T, NotDone> {
        let (result, awaited) = oneshot::channel();
        self.push(
            owner,
            Box::new(move |_| {
                Box::pin(async move {
                    if !result.is_closed() {
                        let made = work(&Wanted(&result));
                        let _ = result.send(made);
                    }
                })
            }),
        )?;
        awaited.await.map_err(|_| NotDone::Lost)
    }

    /// Runs a request, which may wait for others after its first part. It ends when its caller stops waiting.
    pub async fn run<T, F>(
        &self,
        owner: Owner,
        work: impl FnOnce(Transport) -> F + Send + 'static,
    ) -> Result<T, NotDone>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        let (mut result, awaited) = oneshot::channel();
        self.push(
            owner,
            Box::new(move |transport| {
                Box::pin(async move {
                    let made = tokio::select! {
                        biased;
                        () = result.closed() => return,
                        made = work(transport) => made,
                    };
                    let _ = result.send(made);
                })
            }),
        )?;
        awaited.await.map_err(|_| NotDone::Lost)
    }

    fn push(&self, owner: Owner, job: Job) -> Result<(), NotDone> {
        self.started.call_once(|| {
            for _ in 0..self.threads {
                let (state, connect) = (self.state.clone(), self.connect.clone());
                let thread = std::thread::Builder::new().name("compute".to_owned());
                if let Err(error) = thread.spawn(move || serve(&state, &*connect)) {
                    tracing::error!(error.cause = %error, "a thread for large requests could not be started");
                }
            }
        });
        self.state.push(owner, job)
    }
}

impl Drop for ComputeQueue {
    fn drop(&mut self) {
        self.state.jobs().closed = true;
        // Every thread passes the notice on.
        self.state.ready.notify_one();
    }
}

impl<T> Wanted<'_, T> {
    pub fn is_given_up(&self) -> bool {
        self.0.is_closed()
    }
}

impl State {
    fn jobs(&self) -> std::sync::MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, owner: Owner, job: Job) -> Result<(), NotDone> {
        let mut jobs = self.jobs();
        let Jobs { of, turns, .. } = &mut *jobs;
        match of.entry(owner) {
            Entry::Occupied(mut waiting) if waiting.get().len() < WAITING_PER_OWNER_MAX => {
                waiting.get_mut().push_back(job);
            }
            Entry::Occupied(_) => return Err(NotDone::Full),
            Entry::Vacant(nobody) => {
                nobody.insert(VecDeque::from([job]));
                turns.push_back(owner);
            }
        }
        drop(jobs);
        self.ready.notify_one();
        Ok(())
    }

    /// The next job; `None` at the end.
    async fn next(&self) -> Option<Job> {
        loop {
            {
                let mut jobs = self.jobs();
                if let Some(job) = jobs.pop() {
                    if !jobs.turns.is_empty() {
                        // One notice can stand for several jobs.
                        self.ready.notify_one();
                    }
                    return Some(job);
                }
                if jobs.closed {
                    self.ready.notify_one();
                    return None;
                }
            }
            self.ready.notified().await;
        }
    }
}

impl Jobs {
    /// One job of the next owner; its following job comes after those of all other owners.
    fn pop(&mut self) -> Option<Job> {
        let owner = self.turns.pop_front()?;
        let waiting = self.of.get_mut(&owner)?;
        let job = waiting.pop_front();
        if waiting.is_empty() {
            self.of.remove(&owner);
        } else {
            self.turns.push_back(owner);
        }
        job
    }
}

fn serve(state: &Arc<State>, connect: &Connect) {
    let transport = match connect() {
        Ok(transport) => transport,
        Err(error) => {
            tracing::error!(error.cause = %error, "no HTTP clients for large requests");
            return;
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(error.cause = %error, "no runtime for large requests");
            return;
        }
    };
    tokio::task::LocalSet::new().block_on(&runtime, async {
        while let Some(job) = state.next().await {
            tokio::task::spawn_local(job(transport.clone()));
            // The first part of the job takes long: it runs before the next job is taken.
            tokio::task::yield_now().await;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::{guard::AllowedNets, resolver::Names, transport::Connecting};
    use std::{sync::mpsc, time::Duration};
    use tokio::task::JoinHandle;

    fn queue(threads: usize) -> ComputeQueue {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let names = Names::new(tokio::runtime::Handle::current(), Default::default());
        let connect = Connecting::within(Duration::from_secs(1));
        ComputeQueue::new(threads, move || {
            Transport::new(connect.clone(), Arc::new(AllowedNets::default()), names.clone())
        })
    }

    /// Keeps the only thread busy until the sender is used.
    async fn block(queue: &Arc<ComputeQueue>) -> (mpsc::Sender<()>, JoinHandle<Result<(), NotDone>>) {
        let (gate, opened) = mpsc::channel::<()>();
        let (begun, begins) = oneshot::channel();
        let queue = queue.clone();
        let blocked = tokio::spawn(async move {
            let work = move |_: &Wanted<'_, ()>| {
                begun.send(()).unwrap();
                opened.recv().unwrap();
            };
            queue.compute(9, work).await
        });
        begins.await.unwrap();
        (gate, blocked)
    }

    #[tokio::test]
    async fn a_long_queue_of_one_delays_another_by_one_job() {
        let queue = Arc::new(queue(1));
        let order = Arc::new(Mutex::new(Vec::new()));
        let note = |owner: Owner| {
            let order = order.clone();
            move |_: &Wanted<'_, ()>| order.lock().unwrap().push(owner)
        };
        let (gate, blocked) = block(&queue).await;
        let jobs: Vec<_> =
            [1, 1, 1, 2, 1, 3].into_iter().map(|owner| queue.compute(owner, note(owner))).collect();
        let opening = async { gate.send(()).unwrap() };
        let (done, ()) = futures_util::future::join(futures_util::future::join_all(jobs), opening).await;
        assert!(done.iter().all(Result::is_ok));
        blocked.await.unwrap().unwrap();
        assert_eq!(*order.lock().unwrap(), [1, 2, 3, 1, 1, 1]);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_not_begun_and_a_panic_ends_one_job_alone() {
        let queue = Arc::new(queue(1));
        let (gate, blocked) = block(&queue).await;
        let (begun, saw) = mpsc::channel::<&str>();
        let sender = begun.clone();
        let mut left = Box::pin(queue.compute(1, move |_: &Wanted<'_, ()>| sender.send("left").unwrap()));
        assert!(futures_util::poll!(&mut left).is_pending());
        drop(left);
        gate.send(()).unwrap();
        blocked.await.unwrap().unwrap();
        let broken = queue.compute(2, |_: &Wanted<'_, ()>| panic!("planted")).await;
        assert_eq!(broken, Err(NotDone::Lost));
        queue.compute(1, move |_: &Wanted<'_, ()>| begun.send("last").unwrap()).await.unwrap();
        assert_eq!(saw.recv().unwrap(), "last");
    }

    #[tokio::test]
    async fn more_jobs_than_may_wait_are_refused_to_their_owner_alone() {
        let queue = Arc::new(queue(1));
        let (gate, blocked) = block(&queue).await;
        let mut waiting: Vec<_> =
            (0..WAITING_PER_OWNER_MAX).map(|_| Box::pin(queue.compute(1, |_: &Wanted<'_, ()>| ()))).collect();
        for job in &mut waiting {
            assert!(futures_util::poll!(job).is_pending());
        }
        assert_eq!(queue.compute(1, |_: &Wanted<'_, ()>| ()).await, Err(NotDone::Full));
        gate.send(()).unwrap();
        assert_eq!(queue.compute(2, |_: &Wanted<'_, ()>| ()).await, Ok(()));
        blocked.await.unwrap().unwrap();
    }
}
