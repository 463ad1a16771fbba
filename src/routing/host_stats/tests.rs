use super::*;
use crate::domain::ids::OrgId;
use uuid::Uuid;

fn org(number: u128) -> OrgId {
    OrgId(Uuid::from_u128(number))
}

fn answered(latency_ms: u64) -> Sample {
    Sample::Answered { latency_ms: Some(latency_ms), tokens_per_second: Some(latency_ms * 10) }
}

#[test]
fn three_samples_say_something_and_fewer_nothing() {
    let (measurements, id) = (Measurements::default(), Arc::from("openai/m"));
    for (index, latency) in [100, 300].into_iter().enumerate() {
        measurements.note(&id, org(index as u128), 1, answered(latency));
    }
    assert_eq!(measurements.of("openai/m", 2), HostStats::default());
    measurements.note(&id, org(0), 1, Sample::Failed);
    let measured = measurements.of("openai/m", 2);
    assert_eq!((measured.latency_ms, measured.success_permille), (None, Some(750)), "a half and a whole");
    measurements.note(&id, org(0), 1, answered(200));
    let measured = measurements.of("openai/m", 2);
    // The first organization's are 100 and 200.
    assert_eq!((measured.latency_ms, measured.tokens_per_second), (Some(200), Some(1_000)));
    assert_eq!(measurements.of("groq/m", 2), HostStats::default());
}

#[test]
fn of_one_organization_the_quartiles_are_those_of_its_calls() {
    let (measurements, id) = (Measurements::default(), Arc::from("a"));
    for latency in [400, 100, 300, 200] {
        measurements.note(&id, org(1), 1, answered(latency));
    }
    let whole = Sample::Answered { latency_ms: None, tokens_per_second: Some(7) };
    (0..2).for_each(|_| measurements.note(&id, org(1), 1, whole));
    let measured = measurements.of("a", 2);
    assert_eq!((measured.latency_ms, measured.tokens_per_second), (Some(300), Some(1_000)));
    assert_eq!(measured.success_permille, Some(1_000));
}

#[test]
fn no_organization_alone_moves_what_three_or_more_come_to() {
    for others in [2, 5, 20] {
        let (measurements, id) = (Measurements::default(), Arc::from("a"));
        let honest = |index: u64| answered(100 + index % 2);
        for index in 0..others {
            (0..4).for_each(|_| measurements.note(&id, org(u128::from(index)), 1, honest(index)));
        }
        let told = |sample: Option<Sample>| {
            let one = (0..1_000).zip(sample.into_iter().cycle());
            one.for_each(|(_, sample)| measurements.note(&id, org(99), 1, sample));
            measurements.of("a", 2)
        };
        for bent in [
            answered(0),
            answered(1_000_000),
            Sample::Failed,
            Sample::Answered { latency_ms: None, tokens_per_second: Some(u64::MAX) },
        ] {
            let measured = told(Some(bent));
            assert!((100..=101).contains(&measured.latency_ms.unwrap()), "{others} {bent:?}: {measured:?}");
            let speed = measured.tokens_per_second.unwrap();
            assert!((1_000..=1_010).contains(&speed), "{others} {bent:?}: {measured:?}");
            assert_eq!(measured.success_permille, Some(1_000), "{others} {bent:?}");
        }
    }
}

#[test]
fn a_host_that_fails_is_found_out_by_organizations_with_a_call_each() {
    let (measurements, id) = (Measurements::default(), Arc::from("a"));
    for index in 0..10 {
        let sample = if index < 4 { Sample::Failed } else { answered(5) };
        measurements.note(&id, org(index), 1, sample);
    }
    assert_eq!(measurements.of("a", 2).success_permille, Some(625), "five of the eight in the middle");
}

#[test]
fn the_window_slides() {
    let (measurements, id) = (Measurements::default(), Arc::from("a"));
    for at in 0..3 {
        measurements.note(&id, org(1), at, answered(5));
    }
    assert_eq!(measurements.of("a", 3).latency_ms, Some(5));
    assert_eq!(measurements.of("a", WINDOW_MS + 1).latency_ms, None);
}

#[test]
fn memory_is_bounded_and_makes_room_for_what_is_new() {
    let measurements = Measurements::default();
    for index in 0..MODELS_MAX + 10 {
        measurements.note(&Arc::from(index.to_string()), org(1), 0, answered(1));
    }
    assert_eq!(measurements.models.lock().unwrap().len(), MODELS_MAX);
    let late: Arc<str> = Arc::from("late");
    for index in 0..1_000 {
        measurements.note(&late, org(1), WINDOW_MS + index, answered(1));
    }
    let kept = || {
        let models = measurements.models.lock().unwrap();
        let samples = models.get("late").unwrap();
        (models.len(), samples.len(), samples.front().unwrap().at_ms - WINDOW_MS)
    };
    assert_eq!(kept(), (1, SAMPLES_OF_ONE_MAX, 1_000 - 16), "its latest");
    for index in 0..1_000 {
        measurements.note(&late, org(index), WINDOW_MS, answered(1));
    }
    assert_eq!(kept().1, SAMPLES_MAX);
}
