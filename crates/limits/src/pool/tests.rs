use super::*;
use proptest::prelude::*;

fn report(sequence: u64, spent: &[(i64, i64)], held: i64, wanted: i64) -> Report {
    Report { sequence, spent: spent.to_vec(), held, spare: held, wanted }
}

#[test]
fn units_are_leased_until_none_is_left_and_come_back_a_minute_after_they_were_spent() {
    let mut pool = Pool::default();
    let first = pool.renew(Kind::Rate, 60, 1_000, 1, &report(0, &[], 0, 50));
    assert_eq!((first.units, first.free), (50, 10));
    let second = pool.renew(Kind::Rate, 60, 1_100, 2, &report(0, &[], 0, 50));
    assert_eq!((second.units, second.free, second.others_spare), (10, 0, 0));
    // The first spent all of it, the second half of its share.
    pool.renew(Kind::Rate, 60, 2_000, 1, &report(1, &[(0, 50)], 0, 0));
    let back = pool.renew(Kind::Rate, 60, 2_000, 2, &report(1, &[(0, 5)], 0, 10));
    assert_eq!((back.units, back.free, back.next_free_ms), (5, 0, Some(60_250)));
    assert_eq!(pool.renew(Kind::Rate, 60, 62_249, 1, &report(1, &[], 0, 60)).units, 0);
    assert_eq!(pool.renew(Kind::Rate, 60, 62_250, 1, &report(1, &[], 0, 60)).units, 55);
}

#[test]
fn a_report_that_is_sent_again_counts_once_and_a_lost_grant_is_not_lost_for_the_others() {
    let mut pool = Pool::default();
    pool.renew(Kind::Rate, 10, 0, 1, &report(0, &[], 0, 10));
    let lost = pool.renew(Kind::Rate, 10, 100, 1, &report(1, &[(0, 4)], 0, 6));
    assert_eq!((lost.units, lost.free), (6, 0));
    // The answer did not arrive: the process still holds nothing.
    let again = pool.renew(Kind::Rate, 10, 200, 1, &report(1, &[(100, 4)], 0, 2));
    assert_eq!((again.units, again.free), (2, 4));
}

#[test]
fn a_gone_process_loses_what_it_held_and_nothing_else() {
    let mut pool = Pool::default();
    pool.renew(Kind::Rate, 10, 0, 1, &report(0, &[], 0, 6));
    let before = pool.renew(Kind::Rate, 10, LAPSE_MS - 1, 2, &report(0, &[], 0, 10));
    assert_eq!(before.units, 4);
    // It may have spent its share up to the end of its lease.
    let after = pool.renew(Kind::Rate, 10, LAPSE_MS, 2, &report(0, &[], 4, 10));
    assert_eq!(after.units, 0);
    let later = LEASE_MS + SLOT_MS + WINDOW_MS;
    assert_eq!(pool.renew(Kind::Rate, 10, later, 2, &report(0, &[], 0, 10)).units, 6);
    let mut running = Pool::default();
    running.renew(Kind::Concurrency, 5, 0, 1, &report(0, &[], 0, 5));
    assert_eq!(running.renew(Kind::Concurrency, 5, LAPSE_MS - 1, 2, &report(0, &[], 0, 5)).units, 0);
    assert_eq!(running.renew(Kind::Concurrency, 5, LAPSE_MS, 2, &report(0, &[], 0, 5)).units, 5);
}

#[test]
fn what_was_used_beyond_the_estimate_is_free_only_when_it_was_made_up_for() {
    let mut pool = Pool::default();
    pool.renew(Kind::Rate, 100, 0, 1, &report(0, &[], 0, 60));
    let over = pool.renew(Kind::Rate, 100, 100, 1, &report(1, &[(0, 150)], 0, 10));
    assert_eq!((over.units, over.free), (0, -50));
}

#[test]
fn the_stored_form_is_small_and_reads_back() {
    let mut pool = Pool::default();
    for second in 0..240 {
        pool.renew(
            Kind::Rate,
            1_000_000,
            1_000_000 + second * 250,
            7,
            &report(second as u64 + 1, &[(0, 99)], 5, 1),
        );
    }
    let text = serde_json::to_string(&pool).unwrap();
    assert!(text.len() < 2_500, "{}", text.len());
    assert_eq!(serde_json::from_str::<Pool>(&text).unwrap(), pool);
    assert_eq!(serde_json::from_str::<Pool>("{}").unwrap(), Pool::default());
    assert!(!pool.is_unused(Kind::Rate, 1_060_000) && pool.is_unused(Kind::Rate, 1_130_000));
}

proptest! {
    /// Whatever processes report and ask: free, held and spent units together are the limit.
    #[test]
    fn no_unit_is_made_or_lost(
        limit in 1i64..200,
        steps in prop::collection::vec((0u128..4, 0i64..2_000, 0i64..40, 0i64..40), 1..150),
    ) {
        let mut pool = Pool::default();
        let mut held = [0i64; 4];
        let mut seen = [0i64; 4];
        let mut spent: Vec<(i64, i64)> = Vec::new();
        let (mut now, mut sequence) = (0, 0);
        for (who, pause, used, wanted) in steps {
            now += pause;
            let index = usize::try_from(who).unwrap();
            if now - seen[index] >= LAPSE_MS && held[index] > 0 {
                // It counts as spent when its lease ended.
                spent.push((seen[index] + LEASE_MS, held[index]));
                held[index] = 0;
            }
            for other in 0..4 {
                if now - seen[other] >= LAPSE_MS && held[other] > 0 {
                    spent.push((seen[other] + LEASE_MS, held[other]));
                    held[other] = 0;
                }
            }
            let used = used.min(held[index]);
            held[index] -= used;
            sequence += 1;
            let answer = pool.renew(Kind::Rate, limit, now, who, &report(sequence, &[(0, used)], held[index], wanted));
            spent.push((now, used));
            held[index] += answer.units;
            seen[index] = now;
            let counted: i64 =
                spent.iter().filter(|(at, _)| freed_at_ms(at.div_euclid(SLOT_MS)) > now).map(|(_, units)| units).sum();
            prop_assert_eq!(answer.free + counted + held.iter().sum::<i64>(), limit);
            prop_assert!(answer.free >= 0);
            // No rolling minute has more than the limit.
            for (end, _) in &spent {
                let sum: i64 = spent.iter().filter(|(at, _)| *at > end - WINDOW_MS && at <= end).map(|(_, n)| n).sum();
                prop_assert!(sum <= limit, "{sum} of {limit} in the minute before {end}");
            }
        }
    }
}
