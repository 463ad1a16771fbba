use super::*;
use crate::pool::{Pool, WINDOW_MS};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Several processes, one pool, a message that takes some milliseconds each way and may be lost.
struct World {
    kind: Kind,
    limit: i64,
    pool: Pool,
    shares: Vec<Share>,
    /// When it reaches the pool, from whom, and what.
    reports: Vec<(i64, usize, Report)>,
    answers: Vec<(i64, usize, Grant)>,
    delay_ms: i64,
    dead: BTreeSet<usize>,
    asked: u64,
}

impl World {
    fn new(kind: Kind, limit: i64, processes: usize, delay_ms: i64) -> Self {
        let shares = (0..processes).map(|_| Share::new(kind, limit, 0, 0)).collect();
        let (reports, answers, dead) = (Vec::new(), Vec::new(), BTreeSet::new());
        Self { kind, limit, pool: Pool::default(), shares, reports, answers, delay_ms, dead, asked: 0 }
    }

    /// One millisecond of everything that runs beside the requests.
    fn step(&mut self, now: i64) {
        for (index, share) in
            self.shares.iter_mut().enumerate().filter(|(index, _)| !self.dead.contains(index))
        {
            if share.is_due(now) {
                self.asked += 1;
                self.reports.push((now + self.delay_ms, index, share.report(now)));
            }
        }
        let (due, later) = std::mem::take(&mut self.reports).into_iter().partition(|(at, ..)| *at <= now);
        self.reports = later;
        for (_, index, report) in Vec::from_iter::<Vec<_>>(due) {
            let grant = self.pool.renew(self.kind, self.limit, now, index as u128, &report);
            self.answers.push((now + self.delay_ms, index, grant));
        }
        let (due, later) = std::mem::take(&mut self.answers).into_iter().partition(|(at, ..)| *at <= now);
        self.answers = later;
        for (_, index, grant) in Vec::from_iter::<Vec<_>>(due) {
            self.shares[index].granted(&grant, now);
        }
    }
}

/// A request that waits for the pool at the most this long.
const WAIT_MS: i64 = 400;

struct Caller {
    process: usize,
    since: i64,
    waits: bool,
}

impl Caller {
    /// `Some(admitted)` once it is decided.
    fn poll(&mut self, world: &mut World, units: i64, now: i64) -> Option<bool> {
        let share = &mut world.shares[self.process];
        if !self.waits {
            share.note_demand(units, now);
        }
        let take = share.take(units, now);
        let over = now - self.since >= WAIT_MS || matches!(take, Take::Refused { .. });
        if self.waits && (take == Take::Taken || over) {
            share.wait_for(-units);
        }
        match take {
            Take::Taken => Some(true),
            _ if over => Some(false),
            _ => {
                if !self.waits {
                    self.waits = true;
                    share.wait_for(units);
                }
                None
            }
        }
    }
}

/// Lets a caller ask process after process every `interval` and returns when it was admitted.
fn call(world: &mut World, interval: i64, until: i64, kill_at: Option<(i64, usize)>) -> (Vec<i64>, u64) {
    let (mut admitted, mut sent, mut waiting) = (Vec::new(), 0u64, Vec::<Caller>::new());
    for now in 0..until {
        if let Some((at, process)) = kill_at
            && at == now
        {
            world.dead.insert(process);
            waiting.retain(|caller| caller.process != process);
        }
        world.step(now);
        if now % interval == 0 {
            let living: Vec<usize> = (0..world.shares.len()).filter(|n| !world.dead.contains(n)).collect();
            let process = living[usize::try_from(sent).unwrap() % living.len()];
            waiting.push(Caller { process, since: now, waits: false });
            sent += 1;
        }
        waiting.retain_mut(|caller| match caller.poll(world, 1, now) {
            None => true,
            Some(ok) => {
                if ok {
                    world.shares[caller.process].settle(1, 1, now);
                    admitted.push(now);
                }
                false
            }
        });
    }
    (admitted, sent)
}

fn most_in_a_minute(times: &[i64]) -> usize {
    times
        .iter()
        .map(|end| times.iter().filter(|at| **at > end - WINDOW_MS && *at <= end).count())
        .max()
        .unwrap_or(0)
}

#[test]
fn three_processes_let_a_steady_caller_have_its_rate_and_a_flood_no_more() {
    for (limit, interval) in [(60, 1_000), (60, 997), (600, 100), (1_200, 50)] {
        let mut world = World::new(Kind::Rate, limit, 3, 2);
        let (admitted, sent) = call(&mut world, interval, 240_000, None);
        let share = admitted.len() as f64 / sent as f64;
        assert!(share >= 0.95, "{limit}/min, one per {interval} ms: {share}");
        assert!(most_in_a_minute(&admitted) as i64 <= limit);
    }
    for limit in [60, 600] {
        let mut world = World::new(Kind::Rate, limit, 3, 2);
        let (admitted, _) = call(&mut world, 10, 180_000, None);
        assert!(most_in_a_minute(&admitted) as i64 <= limit);
        let full = usize::try_from(limit * 3).unwrap();
        assert!(admitted.len() * 100 >= full * 95, "{} of {full}", admitted.len());
    }
}

#[test]
fn a_killed_process_changes_nothing_but_the_share_it_held() {
    let mut world = World::new(Kind::Rate, 60, 3, 2);
    let (admitted, _) = call(&mut world, 100, 180_000, Some((30_000, 1)));
    assert!(most_in_a_minute(&admitted) <= 60);
    assert!(admitted.len() >= 57 * 3 - 8, "{}", admitted.len());
}

#[test]
fn a_caller_that_is_far_below_its_limit_never_waits_for_the_pool_but_the_first_time() {
    let mut world = World::new(Kind::Rate, 6_000, 1, 20);
    let mut waited = 0;
    for now in 0..30_000 {
        world.step(now);
        if now % 100 == 0 {
            world.shares[0].note_demand(1, now);
            let mut caller = Caller { process: 0, since: now, waits: true };
            world.shares[0].wait_for(0);
            match world.shares[0].take(1, now) {
                Take::Taken => world.shares[0].settle(1, 1, now),
                _ if now < 1_000 => {
                    world.shares[0].wait_for(1);
                    let decided = (now..now + 60).find_map(|at| {
                        world.step(at);
                        caller.poll(&mut world, 1, at)
                    });
                    assert_eq!(decided, Some(true));
                    world.shares[0].settle(1, 1, now);
                    waited += 1;
                }
                other => panic!("{other:?} at {now}"),
            }
        }
    }
    assert!(waited <= 4, "{waited}");
    assert!(world.asked <= 30 * 4, "{} questions in 30 s", world.asked);
}

#[test]
fn an_idle_share_is_back_within_five_seconds() {
    let mut world = World::new(Kind::Rate, 800, 2, 2);
    for now in 0..1_500 {
        world.step(now);
        if now % 10 == 0 {
            world.shares[0].note_demand(1, now);
            if world.shares[0].take(1, now) == Take::Taken {
                world.shares[0].settle(1, 1, now);
            } else {
                world.shares[0].wait_for(1);
            }
        }
    }
    let waiting = world.shares[0].waiting;
    world.shares[0].wait_for(-waiting);
    assert!(world.shares[0].available > 0);
    for now in 1_500..6_500 {
        world.step(now);
    }
    assert_eq!(world.shares[0].available, 0);
    let grant = world.pool.renew(Kind::Rate, 800, 6_500, 9, &Report { wanted: 10_000, ..Report::default() });
    let spent: i64 = 800 - grant.units;
    assert!((1..=150).contains(&spent), "only what was spent is missing: {spent}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Requests run for random times on random processes; there are never more at once than the limit.
    #[test]
    fn never_more_run_at_once_than_the_limit(
        limit in 1i64..8, delay_ms in 0i64..30, seed in prop::collection::vec((0usize..3, 1i64..400, 1i64..40), 200..400),
    ) {
        let mut world = World::new(Kind::Concurrency, limit, 3, delay_ms);
        let mut running: Vec<(i64, usize)> = Vec::new();
        let mut waiting: Vec<(Caller, i64)> = Vec::new();
        let (mut now, mut served) = (0, 0);
        for (process, lasts, pause) in seed {
            waiting.push((Caller { process, since: now, waits: false }, lasts));
            for _ in 0..pause {
                now += 1;
                running.retain(|(until, process)| {
                    let goes_on = *until > now;
                    if !goes_on { world.shares[*process].settle(1, 0, now); }
                    goes_on
                });
                world.step(now);
                waiting.retain_mut(|(caller, lasts)| match caller.poll(&mut world, 1, now) {
                    None => true,
                    Some(ok) => {
                        if ok { running.push((now + *lasts, caller.process)); served += 1; }
                        false
                    }
                });
                prop_assert!(i64::try_from(running.len()).unwrap() <= limit);
            }
        }
        prop_assert!(served > 0);
    }

    /// Estimates are corrected: what is spent in any minute exceeds the limit at the most by what single requests used
    /// beyond their estimates.
    #[test]
    fn tokens_are_taken_by_estimate_and_corrected(
        seed in prop::collection::vec((0usize..3, 100i64..4_000, 0i64..2_000, 1i64..300), 300..500),
    ) {
        let limit = 50_000;
        let mut world = World::new(Kind::Rate, limit, 3, 3);
        let mut running: Vec<(i64, usize, i64, i64)> = Vec::new();
        let mut spent: Vec<(i64, i64)> = Vec::new();
        let mut now = 0;
        for (process, estimate, used, pause) in seed {
            let used = used.min(estimate);
            world.shares[process].note_demand(estimate, now);
            match world.shares[process].take(estimate, now) {
                Take::Taken => running.push((now + 500, process, estimate, used)),
                Take::Ask => {
                    world.shares[process].wait_for(estimate);
                    for _ in 0..10 { now += 1; world.step(now); }
                    if world.shares[process].take(estimate, now) == Take::Taken {
                        running.push((now + 500, process, estimate, used));
                    }
                    world.shares[process].wait_for(-estimate);
                }
                Take::Refused { wait_ms } => prop_assert!(wait_ms > 0),
            }
            for _ in 0..pause {
                now += 1;
                running.retain(|(until, process, estimate, used)| {
                    let goes_on = *until > now;
                    if !goes_on { world.shares[*process].settle(*estimate, *used, now); spent.push((now, *used)); }
                    goes_on
                });
                world.step(now);
            }
        }
        for (end, _) in &spent {
            let sum: i64 = spent.iter().filter(|(at, _)| *at > end - WINDOW_MS && at <= end).map(|(_, n)| n).sum();
            prop_assert!(sum <= limit);
        }
    }
}
