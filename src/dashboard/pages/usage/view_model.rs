//! What the usage page shows of a report: the chart, the table, and the links that change the question.

use super::{Measure, Question};
use crate::{
    billing::usage_report::{UsageLine, UsageReport},
    dashboard::{
        chart::{Chart, SERIES_MAX},
        form::Form,
        frame::Frame,
        links::{Choice, Link, Preset, change, chips, choices, presets, query_string},
        names::Names,
        view::{self, rfc3339},
    },
    domain::{money::NanoUsd, provider::PROVIDERS},
    store::rollups::GroupBy,
};
use askama::Template;
use std::collections::{BTreeMap, HashMap};
use time::OffsetDateTime;

/// Rows of the table; the CSV has all.
const ROWS_MAX: usize = 400;
const FILTERS: [&str; 8] = ["key", "member", "model", "provider", "byok", "category", "kind", "status"];
/// Fields of the address that are part of the question.
const KEPT: [&str; 14] = [
    "group_by", "by", "measure", "from", "to", "tz", "key", "member", "model", "provider", "byok",
    "category", "kind", "status",
];

#[derive(Template)]
#[template(path = "usage.html")]
pub(super) struct UsagePage<'a> {
    frame: &'a Frame,
    form: &'a Form,
    presets: Vec<Preset>,
    chips: Vec<Link>,
    firsts: Vec<Choice>,
    seconds: Vec<Choice>,
    measures: Vec<Choice>,
    keys: Vec<Choice>,
    providers: Vec<Choice>,
    byok: Vec<Choice>,
    zone: &'a str,
    is_compared: bool,
    tiles: Vec<Tile>,
    chart: Chart,
    heading: String,
    first: &'static str,
    is_by_two: bool,
    columns: Vec<String>,
    matrix: Vec<MatrixRow>,
    rows: Vec<Row>,
    total: Row,
    is_cut: bool,
    csv: String,
    curl: String,
    wider: String,
}

struct Tile {
    label: &'static str,
    value: String,
    exact: String,
    change: String,
}

/// A group with every figure.
#[derive(Default)]
struct Row {
    name: String,
    link: Option<String>,
    requests: String,
    input: String,
    cached: String,
    output: String,
    cost: String,
    charged: String,
    change: String,
    share: i64,
}

/// A group of the first property with a figure for each of the second.
struct MatrixRow {
    name: String,
    cells: Vec<Cell>,
    sum: String,
}

struct Cell {
    label: String,
    text: String,
    link: Option<String>,
}

pub(super) fn value_of(measure: Measure, line: &UsageLine) -> i64 {
    match measure {
        Measure::Charged => line.charged_usd.0,
        Measure::Cost => line.provider_cost_usd.0,
        Measure::Requests => line.requests,
        Measure::Input => line.input_tokens,
        Measure::CacheRead => line.cache_read_tokens,
        Measure::Output => line.output_tokens,
        Measure::Reasoning => line.reasoning_tokens,
        Measure::Tokens => [
            line.input_tokens,
            line.cache_read_tokens,
            line.cache_write_tokens,
            line.cache_write1h_tokens,
            line.audio_input_tokens,
            line.image_input_tokens,
            line.output_tokens,
            line.audio_output_tokens,
            line.image_output_tokens,
        ]
        .into_iter()
        .fold(0_i64, i64::saturating_add),
    }
}

pub(super) fn shown(measure: Measure, value: i64) -> String {
    match measure.is_money() {
        true => view::exact(NanoUsd(value)),
        false => view::count(value),
    }
}

pub(super) fn shortly(measure: Measure, value: i64) -> String {
    match measure.is_money() {
        true => view::short(NanoUsd(value)),
        false => view::count(value),
    }
}

/// A report ready to be shown.
pub(super) struct Presenter<'a> {
    pub question: &'a Question,
    pub report: &'a UsageReport,
    pub names: &'a Names,
    pub home: &'a str,
    form: &'a Form,
    /// The beginning and end of each step of time by its name.
    pub steps: Vec<(OffsetDateTime, String)>,
}

pub(super) fn usage_page<'a>(
    frame: &'a Frame,
    form: &'a Form,
    question: &'a Question,
    (report, names): (&UsageReport, &Names),
    now: OffsetDateTime,
    base: &str,
) -> UsagePage<'a> {
    let presenter = Presenter { question, report, names, home: &frame.home, form, steps: question.steps() };
    let (first, second) = (question.first.as_str(), question.second.map_or("", GroupBy::as_str));
    let mut kept: Vec<(&str, String)> =
        KEPT.iter().filter_map(|name| Some((*name, form.given(name)?.to_owned()))).collect();
    kept.retain(|(name, _)| !["group_by", "by", "measure"].contains(name));
    let groups = if second.is_empty() { first.to_owned() } else { format!("{first},{second}") };
    kept.insert(0, ("group_by", groups));
    let data = query_string(&kept);
    let groups = || GroupBy::ALL.map(|group| (group.as_str().to_owned(), in_words(group).to_owned()));
    let (columns, matrix) = presenter.matrix();
    let rows = if question.second.is_some() { Vec::new() } else { presenter.rows() };
    UsagePage {
        presets: presets(form, now, "30 days"),
        chips: chips(form, &FILTERS, |name, value| presenter.chip(name, value)),
        firsts: choices(groups(), first),
        seconds: choices([(String::new(), "nothing else".to_owned())].into_iter().chain(groups()), second),
        measures: choices(
            Measure::ALL.map(|(_, name, words)| (name.to_owned(), words.to_owned())),
            question.measure.name(),
        ),
        keys: choices(names.keys().iter().cloned(), form.get("key")),
        providers: choices(
            PROVIDERS.iter().map(|provider| (provider.name.to_owned(), provider.name.to_owned())),
            form.get("provider"),
        ),
        byok: choices(
            [("true", "own key"), ("false", "platform's key")].map(|(a, b)| (a.to_owned(), b.to_owned())),
            form.get("byok"),
        ),
        zone: &question.zone_name,
        is_compared: question.is_compared,
        tiles: presenter.tiles(),
        chart: presenter.chart(),
        heading: presenter.heading(),
        first: in_words(question.first),
        is_by_two: question.second.is_some(),
        columns,
        is_cut: report.truncated || rows.len() > ROWS_MAX || matrix.len() > ROWS_MAX,
        matrix: matrix.into_iter().take(ROWS_MAX).collect(),
        rows: rows.into_iter().take(ROWS_MAX).collect(),
        total: presenter.total(),
        csv: format!("{}/usage.csv?{data}", frame.home),
        curl: format!(
            "curl -H \"Authorization: Bearer $KAIROSROUTE_SESSION\" \\\n  '{base}/api/usage?{data}'"
        ),
        wider: format!(
            "?{}",
            change(
                form,
                &[("from", Some(&(now - time::Duration::days(365)).date().to_string())), ("to", None)]
            )
        ),
        frame,
        form,
    }
}

/// A property in words.
pub(super) fn in_words(group: GroupBy) -> &'static str {
    match group {
        GroupBy::Day => "Day",
        GroupBy::Hour => "Hour",
        GroupBy::Month => "Month",
        GroupBy::Model => "Model",
        GroupBy::Provider => "Provider",
        GroupBy::Key => "API key",
        GroupBy::Member => "Member",
        GroupBy::Byok => "Own or platform's key",
        GroupBy::Category => "Category",
        GroupBy::Kind => "Endpoint",
        GroupBy::Status => "Status",
    }
}

impl Presenter<'_> {
    pub(super) fn heading(&self) -> String {
        let (from, to) = self.question.range.bounds();
        let by = match self.question.second {
            Some(second) => format!("{} and {}", in_words(self.question.first), in_words(second)),
            None => in_words(self.question.first).to_owned(),
        };
        format!(
            "{} by {}, {} to {}",
            self.question.measure.words(),
            by.to_lowercase().replace("api", "API"),
            view::moment(from).text,
            view::moment(to).text
        )
    }

    fn chip(&self, name: &str, value: &str) -> String {
        match name {
            "key" => format!("API key: {}", self.names.key(value)),
            "member" => format!("Member: {}", self.names.person(value)),
            "byok" => if value == "true" { "own key" } else { "platform's key" }.to_owned(),
            _ => format!("{name}: {value}"),
        }
    }

    fn tiles(&self) -> Vec<Tile> {
        let (now, before) = (self.report.total, self.report.previous.map(|previous| previous.total));
        let tile = |label, value: String, exact: String, figures: (i64, Option<i64>)| Tile {
            label,
            value,
            exact,
            change: figures
                .1
                .map_or(String::new(), |before| view::change_against(figures.0, before, "the period before")),
        };
        vec![
            tile(
                "Charged",
                view::short(now.charged_usd),
                view::exact(now.charged_usd),
                (now.charged_usd.0, before.map(|before| before.charged_usd.0)),
            ),
            tile(
                "Provider cost, own keys included",
                view::short(now.provider_cost_usd),
                view::exact(now.provider_cost_usd),
                (now.provider_cost_usd.0, before.map(|before| before.provider_cost_usd.0)),
            ),
            tile(
                "Answered requests",
                view::count(now.requests),
                view::count(now.requests),
                (now.requests, before.map(|before| before.requests)),
            ),
        ]
    }

    /// The list of requests behind a group; none where the list cannot be asked for it.
    pub(super) fn link(&self, key: &str, second_key: Option<&str>) -> Option<String> {
        let question = self.question;
        if question.filter.category.is_some() {
            return None;
        }
        let (from, to) = question.range.bounds();
        let mut fields: BTreeMap<&str, String> =
            FILTERS.iter().filter_map(|name| Some((*name, self.form.given(name)?.to_owned()))).collect();
        fields.insert("from", rfc3339(from));
        fields.insert("to", rfc3339(to));
        let parts = [(Some(question.first), Some(key)), (question.second, second_key)];
        for (group, value) in parts.into_iter().filter_map(|(group, value)| Some((group?, value?))) {
            match group {
                GroupBy::Category => return None,
                GroupBy::Day | GroupBy::Hour | GroupBy::Month => {
                    let at = self.steps.iter().position(|(_, name)| name == value)?;
                    let begin = self.steps.get(at).map(|(begin, _)| *begin)?;
                    let end = self.steps.get(at + 1).map_or(to, |(begin, _)| *begin);
                    fields.insert("from", rfc3339(begin.max(from)));
                    fields.insert("to", rfc3339(end.min(to)));
                }
                GroupBy::Member if value.is_empty() => return None,
                group => {
                    fields.insert(group.as_str(), value.to_owned());
                }
            }
        }
        let fields: Vec<(&str, String)> = fields.into_iter().collect();
        Some(format!("{}/requests?{}", self.home, query_string(&fields)))
    }

    pub(super) fn value(&self, line: &UsageLine) -> i64 {
        value_of(self.question.measure, line)
    }

    /// The values of the property that makes the series, the largest first.
    pub(super) fn largest(&self, value_of_line: impl Fn(&UsageLine) -> String) -> Vec<(String, i64)> {
        let mut sums: HashMap<String, i64> = HashMap::new();
        for line in &self.report.rows {
            let sum = sums.entry(value_of_line(line)).or_default();
            *sum = sum.saturating_add(self.value(line));
        }
        let mut sums: Vec<(String, i64)> = sums.into_iter().collect();
        sums.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        sums
    }

    fn rows(&self) -> Vec<Row> {
        let most = self.report.rows.iter().map(|line| self.value(line)).max().unwrap_or(0).max(1);
        let mut lines: Vec<&UsageLine> = self.report.rows.iter().collect();
        match self.question.first.is_time() {
            true => lines.reverse(),
            false => lines.sort_by_key(|line| std::cmp::Reverse(self.value(line))),
        }
        let row = |line: &&UsageLine| Row {
            name: self.names.of_group(self.question.first, &line.key),
            link: self.link(&line.key, None),
            requests: view::count(line.requests),
            input: view::count(line.input_tokens),
            cached: view::count(line.cache_read_tokens),
            output: view::count(line.output_tokens),
            cost: view::exact(line.provider_cost_usd),
            charged: view::exact(line.charged_usd),
            change: line
                .previous
                .map_or(String::new(), |before| view::change(line.charged_usd.0, before.charged_usd.0)),
            share: i64::try_from(i128::from(self.value(line).max(0)) * 80 / i128::from(most)).unwrap_or(0),
        };
        lines.iter().map(row).collect()
    }

    fn total(&self) -> Row {
        let sum = |of: fn(&UsageLine) -> i64| {
            view::count(self.report.rows.iter().map(of).fold(0_i64, i64::saturating_add))
        };
        Row {
            name: "Sum".to_owned(),
            requests: view::count(self.report.total.requests),
            input: sum(|line| line.input_tokens),
            cached: sum(|line| line.cache_read_tokens),
            output: sum(|line| line.output_tokens),
            cost: view::exact(self.report.total.provider_cost_usd),
            charged: view::exact(self.report.total.charged_usd),
            ..Row::default()
        }
    }

    /// The columns and rows of a table by two properties.
    fn matrix(&self) -> (Vec<String>, Vec<MatrixRow>) {
        let Some(second) = self.question.second else { return (Vec::new(), Vec::new()) };
        let second_of = |line: &UsageLine| line.second_key.clone().unwrap_or_default();
        let mut columns: Vec<String> = self.largest(second_of).into_iter().map(|(name, _)| name).collect();
        if second.is_time() {
            columns.sort();
        }
        let has_others = columns.len() > SERIES_MAX;
        columns.truncate(if has_others { SERIES_MAX - 1 } else { SERIES_MAX });
        let mut names: Vec<String> = columns.iter().map(|value| self.names.of_group(second, value)).collect();
        if has_others {
            names.push("all others".to_owned());
        }
        let mut keys: Vec<String> =
            self.largest(|line| line.key.clone()).into_iter().map(|(key, _)| key).collect();
        if self.question.first.is_time() {
            keys.sort();
            keys.reverse();
        }
        let rows = keys.iter().map(|key| self.matrix_row(key, &columns, &names)).collect();
        (names, rows)
    }

    fn matrix_row(&self, key: &str, columns: &[String], names: &[String]) -> MatrixRow {
        let mut values = vec![0_i64; names.len()];
        for line in self.report.rows.iter().filter(|line| line.key == *key) {
            let column = columns.iter().position(|name| Some(name) == line.second_key.as_ref());
            if let Some(value) = values.get_mut(column.unwrap_or(columns.len())) {
                *value = value.saturating_add(self.value(line));
            }
        }
        let sum = values.iter().fold(0_i64, |sum, value| sum.saturating_add(*value));
        let cell = |(index, value): (usize, &i64)| Cell {
            label: names.get(index).cloned().unwrap_or_default(),
            text: shown(self.question.measure, *value),
            link: columns.get(index).filter(|_| *value != 0).and_then(|column| self.link(key, Some(column))),
        };
        MatrixRow {
            name: self.names.of_group(self.question.first, key),
            cells: values.iter().enumerate().map(cell).collect(),
            sum: shown(self.question.measure, sum),
        }
    }
}
