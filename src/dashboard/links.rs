//! Links that change a page's question and keep the rest of it: filters, ranges of time, choices of a form.

use super::form::Form;
use time::{Date, Duration, OffsetDateTime};

/// A text that leads somewhere.
pub struct Link {
    pub text: String,
    pub link: String,
}

/// A range of time to choose.
pub struct Preset {
    pub text: &'static str,
    pub link: String,
    pub is_here: bool,
}

/// One option of a list.
pub struct Choice {
    pub value: String,
    pub text: String,
    pub is_chosen: bool,
}

/// Options with the chosen one marked.
pub fn choices(options: impl IntoIterator<Item = (String, String)>, chosen: &str) -> Vec<Choice> {
    let options = options.into_iter();
    options.map(|(value, text)| Choice { is_chosen: value == chosen, value, text }).collect()
}

/// Fields as a query string.
pub fn query_string(fields: &[(&str, String)]) -> String {
    let pairs = fields.iter().filter(|(_, value)| !value.is_empty());
    pairs.map(|(name, value)| format!("{name}={}", encode(value))).collect::<Vec<_>>().join("&")
}

/// A value in a query string.
pub fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// The page's fields with some replaced or left out. The place in a list is always left out.
pub fn change(form: &Form, changes: &[(&str, Option<&str>)]) -> String {
    let mut fields: Vec<(String, String)> = form
        .fields()
        .filter(|(name, value)| !value.is_empty() && *name != "before")
        .filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let set = changes.iter().filter_map(|(name, value)| Some(((*name).to_owned(), (*value)?.to_owned())));
    fields.extend(set);
    let pairs = fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// A link for each filter that is set, which removes it.
pub fn chips(form: &Form, names: &[&str], text: impl Fn(&str, &str) -> String) -> Vec<Link> {
    let set = names.iter().filter_map(|name| Some((*name, form.given(name)?)));
    set.map(|(name, value)| Link {
        text: text(name, value),
        link: format!("?{}", change(form, &[(name, None)])),
    })
    .collect()
}

/// The usual ranges, in days of UTC; `unset` names the one without a beginning and an end.
pub fn presets(form: &Form, now: OffsetDateTime, unset: &'static str) -> Vec<Preset> {
    let today = now.date();
    let ago = |days: i64| (today - Duration::days(days)).to_string();
    let month = today.replace_day(1).unwrap_or(today);
    let last_month_end = month.previous_day().unwrap_or(month);
    let last_month = last_month_end.replace_day(1).unwrap_or(last_month_end);
    let range = |from: Date, to: Date| (Some(from.to_string()), Some(to.to_string()));
    let ranges = [
        ("Today", range(today, today)),
        ("7 days", (Some(ago(6)), None)),
        (unset, (None, None)),
        ("90 days", (Some(ago(89)), None)),
        ("This month", range(month, today)),
        ("Last month", range(last_month, last_month_end)),
    ];
    ranges
        .into_iter()
        .map(|(text, (from, to))| Preset {
            text,
            is_here: form.given("from") == from.as_deref() && form.given("to") == to.as_deref(),
            link: format!("?{}", change(form, &[("from", from.as_deref()), ("to", to.as_deref())])),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_keeps_what_it_does_not_change_and_forgets_the_place_in_the_list() {
        let form = Form::parse("status=failed&model=a%2Fb&before=rcpt_1&from=2026-11-01").unwrap();
        assert_eq!(change(&form, &[("status", None)]), "model=a%2Fb&from=2026%2D11%2D01");
        assert_eq!(change(&form, &[("from", Some("x"))]), "status=failed&model=a%2Fb&from=x");
        let chips = chips(&form, &["status", "provider", "model"], |name, value| format!("{name} {value}"));
        let texts: Vec<_> = chips.iter().map(|chip| chip.text.as_str()).collect();
        assert_eq!(texts, ["status failed", "model a/b"]);
    }

    #[test]
    fn ranges_end_where_the_calendar_says() {
        let now = time::macros::datetime!(2026-03-01 10:00 UTC);
        let all = presets(&Form::default(), now, "30 days");
        assert!(all.iter().any(|preset| preset.text == "30 days" && preset.is_here));
        let last = all.iter().find(|preset| preset.text == "Last month").unwrap();
        assert_eq!(last.link, "?from=2026%2D02%2D01&to=2026%2D02%2D28");
    }
}
