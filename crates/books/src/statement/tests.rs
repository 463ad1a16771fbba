use super::*;
use proptest::prelude::*;
use time::macros::datetime;

fn movement(id: u32, kind: &str, amount: i64) -> Movement {
    Movement {
        id: format!("ent_{id:032x}"),
        booked_at: datetime!(2026-10-05 12:00 UTC) + time::Duration::minutes(i64::from(id)),
        kind: kind.to_owned(),
        amount_usd: NanoUsd(amount),
        reason: "why, \"really\"".to_owned(),
        actor: "cli".to_owned(),
    }
}

fn charge(model: &str, key: &str, cost: i64, margin: i64) -> ChargeLine {
    ChargeLine {
        model: model.to_owned(),
        provider: "openai".to_owned(),
        api_key_id: key.to_owned(),
        api_key_name: format!("name of {key}"),
        requests: 2,
        input_tokens: 30,
        output_tokens: 10,
        provider_cost_usd: NanoUsd(cost),
        margin_usd: NanoUsd(margin),
        charged_usd: NanoUsd(cost + margin),
    }
}

fn bookings() -> Bookings {
    Bookings {
        organization_id: "org_1".to_owned(),
        organization_name: "Ümläut & Sons".to_owned(),
        month: "2026-10".parse().unwrap(),
        closed: true,
        opening: NanoUsd(1_000),
        movements: vec![
            movement(1, "topup", 25_000_000_000),
            movement(2, "grant", 5),
            movement(3, "promotion", 700),
            movement(4, "expiry", -300),
            movement(5, "refund", 40),
            movement(6, "adjustment", -7),
            movement(7, "dispute", -25_000_000_000),
            movement(8, "dispute_reversal", 25_000_000_000),
        ],
        charges: vec![
            charge("m1", "key_a", 100, 5),
            charge("m2", "key_a", 10, 1),
            charge("m1", "key_b", 1, 1),
        ],
        own_key_usage: vec![OwnKeyLine {
            model: "=m3".to_owned(),
            provider: "groq".to_owned(),
            api_key_id: "key_b".to_owned(),
            api_key_name: String::new(),
            requests: 1,
            input_tokens: 4,
            output_tokens: 5,
            provider_cost_usd: NanoUsd(9_000),
            charged_usd: NanoUsd::ZERO,
        }],
    }
}

/// The amounts of a CSV form's lines, by section.
fn amounts(csv: &str) -> Vec<(String, i64)> {
    let mut reader = csv::ReaderBuilder::new().from_reader(csv.as_bytes());
    assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>(), COLUMNS);
    reader
        .records()
        .map(|row| {
            let row = row.unwrap();
            (row[0].to_owned(), NanoUsd::parse(&row[13]).unwrap().0)
        })
        .collect()
}

#[test]
fn the_closing_balance_is_the_sum_of_all_lines() {
    let statement = Statement::draw_up(bookings()).unwrap();
    assert_eq!(statement.closing_balance_usd, NanoUsd(1_000 + 25_000_000_000 + 5 + 700 - 300 + 40 - 7 - 118));
    assert_eq!(statement.totals.topups_usd, NanoUsd(25_000_000_000));
    assert_eq!(statement.totals.charges_usd, NanoUsd(118));
    assert_eq!(statement.totals.provider_cost_usd.0 + statement.totals.margin_usd.0, 118);
    assert_eq!(statement.totals.adjustments_usd, NanoUsd(33));
    assert_eq!(statement.adjustments.len(), 2);
    assert_eq!(statement.topups.len(), 6);
    let lines = amounts(&statement.to_csv());
    let sum: i64 = lines.iter().filter(|(section, _)| section != "closing").map(|(_, amount)| amount).sum();
    assert_eq!(sum, statement.closing_balance_usd.0);
    assert_eq!(lines.last().unwrap().1, statement.closing_balance_usd.0);
    let model = &statement.charges_by_model[0];
    assert_eq!((model.name.as_str(), model.requests, model.charged_usd), ("m1", 4, NanoUsd(107)));
    assert_eq!(statement.charges_by_api_key[0].charged_usd, NanoUsd(116));
}

#[test]
fn the_hash_is_that_of_the_csv_and_of_no_other_order_of_lines() {
    let statement = Statement::draw_up(bookings()).unwrap();
    let csv = statement.to_csv();
    assert_eq!(statement.sha256, sha256_hex(csv.as_bytes()));
    let mut shuffled = bookings();
    shuffled.movements.reverse();
    shuffled.charges.reverse();
    assert_eq!(Statement::draw_up(shuffled).unwrap(), statement);
    assert!(csv.contains("'=m3"), "a model's name is never a formula");
    assert!(csv.lines().all(|line| !line.is_empty()));
}

#[test]
fn a_statement_survives_its_json_form_and_shows_any_change() {
    let statement = Statement::draw_up(bookings()).unwrap();
    assert!(statement.is_consistent());
    let json = serde_json::to_string(&statement).unwrap();
    let read: Statement = serde_json::from_str(&json).unwrap();
    assert_eq!(read, statement);
    assert_eq!(serde_json::to_string(&read).unwrap(), json, "the same bytes");
    let changes: [fn(&mut Statement); 5] = [
        |s| s.charges[0].charged_usd.0 += 1,
        |s| s.topups[0].amount_usd.0 -= 1,
        |s| s.closing_balance_usd.0 += 1,
        |s| s.adjustments[0].reason.push('x'),
        |s| s.own_key_usage[0].requests += 1,
    ];
    for change in changes {
        let mut changed = statement.clone();
        change(&mut changed);
        assert!(!changed.is_consistent());
    }
}

#[test]
fn an_entry_of_an_unknown_kind_is_an_error_and_never_left_out() {
    for kind in ["charge", "gift", ""] {
        let mut bad = bookings();
        bad.movements.push(movement(9, kind, 1));
        assert!(matches!(Statement::draw_up(bad), Err(StatementError::UnknownKind(_))), "{kind}");
    }
    let mut large = bookings();
    large.opening = NanoUsd(i64::MAX);
    assert_eq!(Statement::draw_up(large), Err(StatementError::Money(MoneyError::Overflow)));
}

proptest! {
    #[test]
    fn any_month_closes_where_its_lines_say(
        opening in -1_000_000_000_000i64..1_000_000_000_000,
        moves in prop::collection::vec((0usize..9, -1_000_000_000i64..1_000_000_000), 0..20),
        costs in prop::collection::vec((0i64..1_000_000_000, 0i64..1_000_000), 0..20),
    ) {
        let kinds: Vec<&str> = EntryKind::ALL.iter().map(|kind| kind.as_str()).filter(|kind| *kind != "charge").collect();
        let statement = Statement::draw_up(Bookings {
            opening: NanoUsd(opening),
            movements: moves.iter().zip(0..).map(|((kind, amount), id)| movement(id, kinds[*kind], *amount)).collect(),
            charges: costs.iter().enumerate().map(|(n, (cost, margin))| charge(&format!("m{}", n % 3), &format!("k{}", n % 2), *cost, *margin)).collect(),
            ..bookings()
        }).unwrap();
        let lines = amounts(&statement.to_csv());
        let sum: i64 = lines.iter().filter(|(section, _)| section != "closing").map(|(_, amount)| amount).sum();
        prop_assert_eq!(sum, statement.closing_balance_usd.0);
        prop_assert!(statement.is_consistent());
    }
}
