//! Every statement that changes an organization's rows names the organization. Those that serve many at once are listed
//! here with the reason; a new one must be put into the list, or confined to one organization.

use serde_json::Value;
use std::{collections::BTreeSet, fs, path::PathBuf};

/// What occurs in a statement that may change rows of several organizations, and why it may.
const OVER_MANY: &[(&str, &str)] = &[
    ("WITH settle AS MATERIALIZED", "the ledger's flush: rows are matched by organization and id"),
    ("AS c (org_id, id, cost, charge, input, output, provider, model)", "checkpoints, matched likewise"),
    ("WITH gone AS MATERIALIZED", "the reaper: holds of processes that are gone"),
    ("AS r (org_id, id, turn)", "records: rows that expired are replaced, matched likewise"),
    ("AS t (org_id, id, used_at, error)", "the last use of provider keys, matched likewise"),
    ("DELETE FROM session WHERE id IN", "prunes ended sessions"),
    ("DELETE FROM session WHERE user_id", "an operator's sessions belong to no organization"),
    ("DELETE FROM api_key", "prunes revoked API keys"),
    ("DELETE FROM idempotency WHERE (org_id, id) IN", "prunes kept answers"),
    ("DELETE FROM receipt WHERE (org_id, id) IN", "prunes receipts of refusals"),
    ("DELETE FROM invitation WHERE (org_id, id) IN", "prunes ended invitations"),
    (
        "a.posted - a.held AS free FROM credit_account a",
        "the ledger's flush of holds alone, matched likewise",
    ),
    ("DELETE FROM alert WHERE (org_id, id) IN", "prunes old alerts"),
    ("FROM alert_delivery WHERE next_at <= $1", "takes alerts that are due"),
    ("DELETE FROM usage_touched", "takes from the queue of sums to be made anew"),
    ("DELETE FROM usage_rollup r", "sums that are made anew, matched by organization and time"),
    ("requested = s.requested, model = s.model", "fills columns of older receipts, matched likewise"),
    ("WITH due AS MATERIALIZED", "automatic payments that are due"),
    ("UPDATE session SET", "a session is a person's: it is named by its id or the person's"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, extension: &str) -> Vec<String> {
    let paths = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| path.extension().is_some_and(|found| found == extension));
    paths.map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// The tables that hold rows of organizations.
fn tenant_tables() -> BTreeSet<String> {
    let mut tables = BTreeSet::new();
    for migration in files("migrations", "sql") {
        for rest in migration.split("CREATE TABLE ").skip(1) {
            // A partition has the columns of its table.
            let Some((name, rest)) = rest.split_once(" (").filter(|(name, _)| !name.contains(' ')) else {
                continue;
            };
            let body = rest.split("\n)").next().unwrap();
            if body.lines().any(|line| line.trim_start().starts_with("org_id ")) {
                tables.insert(name.to_owned());
            }
        }
    }
    tables
}

/// The tables whose rows a statement changes or removes.
fn changed(statement: &str) -> Vec<&str> {
    let words: Vec<&str> = statement.split_whitespace().map(|word| word.trim_start_matches('(')).collect();
    let mut tables = Vec::new();
    for pair in words.windows(2) {
        if let ["UPDATE" | "FROM", table] = pair {
            tables.push((*pair.first().unwrap(), *table));
        }
    }
    // `FROM` counts after DELETE alone.
    let deletes: BTreeSet<&str> = words
        .windows(3)
        .filter_map(|three| if let ["DELETE", "FROM", table] = three { Some(*table) } else { None })
        .collect();
    tables
        .into_iter()
        .filter(|(verb, table)| *verb == "UPDATE" || deletes.contains(table))
        .map(|(_, table)| table)
        .collect()
}

fn names_one_organization(statement: &str) -> bool {
    let dense: String = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    dense.split("org_id = $").count() > 1
}

/// What is wrong with a statement.
fn problem(statement: &str, tables: &BTreeSet<String>) -> Option<String> {
    let table = changed(statement).into_iter().find(|table| tables.contains(*table))?;
    let is_listed = OVER_MANY.iter().any(|(part, _)| statement.contains(part));
    if is_listed || names_one_organization(statement) {
        return None;
    }
    let text: String = statement.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(160).collect();
    Some(format!("{table}: {text}"))
}

#[test]
fn every_statement_that_changes_rows_names_their_organization() {
    let tables = tenant_tables();
    assert!(tables.len() > 10, "{tables:?}");
    let statements: Vec<String> = files(".sqlx", "json")
        .iter()
        .map(|file| serde_json::from_str::<Value>(file).unwrap()["query"].as_str().unwrap().to_owned())
        .collect();
    assert!(statements.len() > 50);
    let problems: Vec<String> =
        statements.iter().filter_map(|statement| problem(statement, &tables)).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    for (part, reason) in OVER_MANY {
        assert!(
            statements.iter().any(|statement| statement.contains(part)),
            "nothing is `{part}` ({reason})"
        );
    }
}

#[test]
fn a_statement_without_an_organization_is_noticed() {
    let tables = tenant_tables();
    for wrong in [
        "UPDATE api_key SET name = $2 WHERE id = $1",
        "DELETE FROM provider_key WHERE id = $1",
        "WITH a AS (DELETE FROM hold WHERE id = $1 RETURNING id) SELECT * FROM a",
    ] {
        assert!(problem(wrong, &tables).is_some(), "{wrong}");
    }
    for right in [
        "UPDATE api_key SET name = $3 WHERE org_id = $1 AND id = $2",
        "SELECT id FROM hold WHERE id = $1",
        "DELETE FROM instance WHERE id = $1",
    ] {
        assert!(problem(right, &tables).is_none(), "{right}");
    }
}
