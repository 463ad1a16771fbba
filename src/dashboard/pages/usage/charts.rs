//! The chart of the usage page: over time where one property is time, else by groups.

use super::view_model::{Presenter, shortly, shown};
use crate::{
    billing::usage_report::UsageLine,
    dashboard::chart::{self, Chart, SERIES_MAX},
    store::rollups::GroupBy,
};
use std::collections::HashMap;

/// Bars of a chart by groups.
const GROUPS_SHOWN: usize = 10;

impl Presenter<'_> {
    /// Over time where one property is time, else by groups.
    pub(super) fn chart(&self) -> Chart {
        let question = self.question;
        let show = |value: i64| shortly(question.measure, value);
        let label = self.heading();
        let (is_over_time, other) = match (question.first.is_time(), question.second) {
            (true, other) => (true, other),
            (false, Some(second)) if second.is_time() => (true, Some(question.first)),
            (false, second) => (false, second),
        };
        if !is_over_time {
            return self.chart_of_groups(label);
        }
        let time_of = |line: &UsageLine| match question.first.is_time() {
            true => line.key.clone(),
            false => line.second_key.clone().unwrap_or_default(),
        };
        let group_of = |line: &UsageLine| match (question.first.is_time(), &line.second_key) {
            (true, Some(second)) => second.clone(),
            (true, None) => String::new(),
            (false, _) => line.key.clone(),
        };
        let order: Vec<String> = self.largest(group_of).into_iter().map(|(name, _)| name).collect();
        let place = |name: &str| {
            order.iter().position(|known| known == name).unwrap_or(SERIES_MAX).min(SERIES_MAX - 1)
        };
        let width = order.len().clamp(1, SERIES_MAX);
        let mut values: HashMap<String, Vec<i64>> = HashMap::new();
        for line in &self.report.rows {
            let parts = values.entry(time_of(line)).or_insert_with(|| vec![0; width]);
            if let Some(part) = parts.get_mut(place(&group_of(line))) {
                *part = part.saturating_add(self.value(line));
            }
        }
        let steps = self.steps.iter().map(|(_, name)| {
            let parts = values.remove(name).unwrap_or_else(|| vec![0; width]);
            let sum = parts.iter().fold(0_i64, |sum, part| sum.saturating_add(*part));
            chart::Step {
                name: name.clone(),
                title: format!(
                    "{name}: {} {}",
                    question.measure.words().to_lowercase(),
                    shown(question.measure, sum)
                ),
                link: self.link_of_time(name),
                values: parts,
            }
        });
        chart::stacked(label, &self.legend(&order, other), steps.collect(), show)
    }

    fn link_of_time(&self, name: &str) -> String {
        let link = match self.question.first.is_time() {
            true => self.link(name, None),
            false => None,
        };
        link.unwrap_or_else(|| format!("{}/requests", self.home))
    }

    fn legend(&self, order: &[String], group: Option<GroupBy>) -> Vec<String> {
        let Some(group) = group else { return Vec::new() };
        let mut names: Vec<String> =
            order.iter().take(SERIES_MAX).map(|value| self.names.of_group(group, value)).collect();
        if order.len() > SERIES_MAX {
            names.truncate(SERIES_MAX - 1);
            names.push("all others".to_owned());
        }
        names
    }

    /// A bar for each of the largest groups, and one for all others; stacked by the second property where there is one.
    fn chart_of_groups(&self, label: String) -> Chart {
        let question = self.question;
        let second_of = |line: &UsageLine| line.second_key.clone().unwrap_or_default();
        let order: Vec<String> = self.largest(second_of).into_iter().map(|(name, _)| name).collect();
        let series = order.len().clamp(1, SERIES_MAX);
        let sums = self.largest(|line| line.key.clone());
        let bars = sums.len().min(GROUPS_SHOWN + 1);
        let mut values = vec![vec![0_i64; series]; bars];
        for line in &self.report.rows {
            let group = sums.iter().position(|(key, _)| *key == line.key).unwrap_or(GROUPS_SHOWN);
            let part = order.iter().position(|name| *name == second_of(line)).unwrap_or(SERIES_MAX);
            let bar =
                values.get_mut(group.min(GROUPS_SHOWN)).and_then(|bar| bar.get_mut(part.min(SERIES_MAX - 1)));
            if let Some(value) = bar {
                *value = value.saturating_add(self.value(line));
            }
        }
        let step = |(index, values): (usize, Vec<i64>)| {
            let key = sums.get(index).map(|(key, _)| key.as_str()).filter(|_| index < GROUPS_SHOWN);
            let name = key.map_or("all others".to_owned(), |key| self.names.of_group(question.first, key));
            let link = key.and_then(|key| self.link(key, None));
            let sum = values.iter().fold(0_i64, |sum, value| sum.saturating_add(*value));
            chart::Step {
                title: format!("{name}: {}", shown(question.measure, sum)),
                link: link.unwrap_or_else(|| format!("{}/requests", self.home)),
                name,
                values,
            }
        };
        let steps = values.into_iter().enumerate().map(step).collect();
        let legend = self.legend(&order, question.second);
        chart::stacked(label, &legend, steps, |value| shortly(question.measure, value))
    }
}
