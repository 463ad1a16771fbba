use super::*;
use serde_json::json;

const ID: &str = "req_01a1fb0133f8736bb53e7ce60be93cc4";

fn row() -> TurnRow {
    let mut counts = [0; 17];
    (counts[0], counts[1], counts[6], counts[14]) = (12, 3, 6, 2);
    TurnRow {
        turn: 0,
        byok: false,
        flag: None,
        counts,
        stated: 0,
        // 12 × 0.75 + 3 × 0.075 + 6 × 4.5 per million, and 2 of 0.01 each.
        cost: Some(20_036_225),
        charge: 21_038_037,
        hold: Some(HoldRow {
            is_open: false,
            cost: 20_036_225,
            charge: 21_038_037,
            margin_bps: 500,
            entries_charge: Some(21_038_037),
            entries_cost: Some(20_036_225),
        }),
    }
}

fn receipt() -> serde_json::Value {
    json!({
        "byok": false,
        "usage": { "input": 12, "cache_read": 3, "output": 6, "reasoning": 0, "searches": 2, "basis": "reported" },
        "price": { "catalog_version": "x", "lines": [
            { "bucket": "input", "tokens": 12, "usd_per_million": "0.75" },
            { "bucket": "cache_read", "tokens": 3, "usd_per_million": "0.075" },
            { "bucket": "output", "tokens": 6, "usd_per_million": "4.5" },
            { "bucket": "searches", "quantity": 2, "unit": "web_search_call", "quantity_per_unit": 1, "usd_per_unit": "0.01" },
        ]},
        "margin_bps": 500,
        "charged_nano_usd": 21_038_037,
        "provider_cost_nano_usd": 20_036_225,
    })
}

fn differences(turns: &[TurnRow], receipt: &serde_json::Value) -> Vec<Difference> {
    let text = receipt.to_string();
    check(&RequestRows { id: ID, turns, receipt: Some(&text) })
}

#[test]
fn rows_that_agree_have_no_difference() {
    assert_eq!(differences(&[row()], &receipt()), []);
}

/// Changes one figure of a row.
type Change = fn(&mut TurnRow);

#[test]
fn every_wrong_figure_is_named_with_its_row() {
    let changes: [(&str, Change); 9] = [
        ("usage", |row| row.charge += 1),
        ("usage", |row| row.cost = Some(1)),
        ("usage", |row| row.cost = None),
        ("usage", |row| row.counts[0] += 1),
        ("usage", |row| row.counts[14] -= 1),
        ("hold", |row| row.hold.as_mut().unwrap().margin_bps = 600),
        ("entry", |row| row.hold.as_mut().unwrap().entries_charge = None),
        ("entry", |row| row.hold.as_mut().unwrap().entries_cost = Some(1)),
        ("hold", |row| row.hold = None),
    ];
    for (place, (table, change)) in changes.into_iter().enumerate() {
        let mut changed = row();
        change(&mut changed);
        let found = differences(&[changed], &receipt());
        assert!(found.iter().any(|one| one.table == table && one.row.starts_with(ID)), "{place}: {found:?}");
    }
    for (pointer, value) in [
        ("/charged_nano_usd", json!(1)),
        ("/provider_cost_nano_usd", json!(1)),
        ("/price/lines/0/usd_per_million", json!("0.76")),
        ("/price/lines/1/tokens", json!(4)),
        ("/price/lines/3/quantity_per_unit", json!(7)),
        ("/price/lines", json!([])),
        ("/byok", json!(true)),
        ("/usage/output", json!(7)),
    ] {
        let mut changed = receipt();
        *changed.pointer_mut(pointer).unwrap() = value;
        assert!(!differences(&[row()], &changed).is_empty(), "{pointer}");
    }
    let none = check(&RequestRows { id: ID, turns: &[row()], receipt: None });
    assert_eq!(none[0].to_string(), format!("receipt {ID}: receipt is none, expected a receipt"));
    assert_eq!(check(&RequestRows { id: ID, turns: &[row()], receipt: Some("{") }).len(), 1);
}

#[test]
fn own_keys_flags_and_several_turns_follow_their_own_rules() {
    let own = TurnRow { byok: true, charge: 0, hold: None, ..row() };
    let mut own_receipt = receipt();
    own_receipt["byok"] = json!(true);
    own_receipt["margin_bps"] = json!(0);
    own_receipt["charged_nano_usd"] = json!(0);
    assert_eq!(differences(std::slice::from_ref(&own), &own_receipt), []);
    let charged = TurnRow { hold: row().hold, ..own };
    assert!(!differences(&[charged], &own_receipt).is_empty(), "the ledger charged an own key");

    let mut lost = TurnRow { flag: Some("undelivered".to_owned()), charge: 0, ..row() };
    lost.hold = Some(HoldRow {
        margin_bps: 500,
        entries_charge: Some(0),
        entries_cost: Some(0),
        ..HoldRow::default()
    });
    let mut lost_receipt = receipt();
    lost_receipt["charged_nano_usd"] = json!(0);
    assert_eq!(differences(&[lost], &lost_receipt), []);

    let mut two = receipt();
    let turn = |number: i16| {
        let mut turn = receipt();
        turn["turn"] = json!(number);
        turn
    };
    two["turns"] = json!([turn(0), turn(1)]);
    two["charged_nano_usd"] = json!(2 * 21_038_037);
    two["price"] = json!(null);
    assert_eq!(differences(&[row(), TurnRow { turn: 1, ..row() }], &two), []);
    two["turns"][1]["charged_nano_usd"] = json!(5);
    let found = differences(&[row(), TurnRow { turn: 1, ..row() }], &two);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].row, format!("{ID} turn 1"));
}

#[test]
fn tokens_of_media_without_a_price_count_as_text() {
    let mut with_audio = row();
    with_audio.counts[4] = 5;
    let mut noted = receipt();
    noted["usage"]["audio_input"] = json!(5);
    noted["price"]["lines"][0]["tokens"] = json!(17);
    let cost = 20_036_225 + 3_750;
    let charge = money::charge(NanoUsd(cost), Bps(500)).unwrap().0;
    (with_audio.cost, with_audio.charge) = (Some(cost), charge);
    with_audio.hold = Some(HoldRow {
        cost,
        charge,
        margin_bps: 500,
        entries_charge: Some(charge),
        entries_cost: Some(cost),
        is_open: false,
    });
    noted["charged_nano_usd"] = json!(charge);
    noted["provider_cost_nano_usd"] = json!(cost);
    assert_eq!(differences(&[with_audio], &noted), []);
}

#[test]
fn a_stated_bill_above_the_counts_is_the_cost_and_each_of_its_figures_is_checked() {
    // The counts come to 20,036,225.
    let stated = 30_000_000;
    let charge = money::charge(NanoUsd(stated), Bps(500)).unwrap().0;
    let hold = HoldRow {
        is_open: false,
        cost: stated,
        charge,
        margin_bps: 500,
        entries_charge: Some(charge),
        entries_cost: Some(stated),
    };
    let billed = TurnRow { stated, cost: Some(stated), charge, hold: Some(hold), ..row() };
    let mut noted = receipt();
    noted["usage"]["stated"] = json!(stated);
    noted["charged_nano_usd"] = json!(charge);
    noted["provider_cost_nano_usd"] = json!(stated);
    let line = |usd: &str| {
        json!({ "bucket": "stated_by_provider", "quantity": 1, "unit": "stated_difference", "quantity_per_unit": 1,
                "usd_per_unit": usd })
    };
    noted["price"]["lines"].as_array_mut().unwrap().push(line("0.009963775"));
    assert_eq!(differences(std::slice::from_ref(&billed), &noted), []);
    let of_table = |found: Vec<Difference>, table: &str| found.iter().any(|one| one.table == table);
    for wrong in [stated + 1, stated - 1, 0] {
        let changed = TurnRow { stated: wrong, ..billed.clone() };
        assert!(of_table(differences(&[changed], &noted), "usage"), "{wrong}");
    }
    let mut changed = noted.clone();
    changed["price"]["lines"][4] = line("0.009963776");
    assert!(of_table(differences(std::slice::from_ref(&billed), &changed), "receipt"));
    let mut missing = noted.clone();
    missing["price"]["lines"].as_array_mut().unwrap().pop();
    assert!(of_table(differences(&[billed], &missing), "receipt"));
    // A reported cost below the computed cost changes nothing, and has no line.
    let below = TurnRow { stated: 1, ..row() };
    let mut noted_below = receipt();
    noted_below["usage"]["stated"] = json!(1);
    assert_eq!(differences(std::slice::from_ref(&below), &noted_below), []);
    noted_below["price"]["lines"].as_array_mut().unwrap().push(line("0.000000001"));
    assert!(of_table(differences(&[below], &noted_below), "receipt"));
}
