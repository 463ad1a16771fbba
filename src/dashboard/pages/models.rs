//! The catalogue: what each host asks for a model, with the operator's margin in it.

use crate::{
    dashboard::{
        form::Form,
        frame::{Frame, PageError, page, state},
        routes::Visit,
        view,
    },
    domain::{
        catalog::{Flag, Model},
        money::{self, NanoPerMillion, NanoUsd},
        provider::PROVIDERS,
    },
    gateway::Gateway,
    store::sessions::Session,
};
use actix_web::HttpResponse;
use askama::Template;

/// Rows on the page; a search narrows what is beyond.
const ROWS_MAX: usize = 300;

#[derive(Template)]
#[template(path = "models.html")]
struct ModelsPage<'a> {
    frame: &'a Frame,
    form: &'a Form,
    rows: Vec<Row>,
    found: usize,
    providers: Vec<&'static str>,
    margin_percent: String,
}

struct Row {
    id: String,
    mode: String,
    context: String,
    input: String,
    output: String,
    abilities: String,
    shutdown: Option<String>,
}

/// `GET /o/{org}/models?q&provider`.
pub async fn list(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let gateway = state::<Gateway>(&visit.call)?;
    let catalog = gateway.catalog.load_full();
    let today = gateway.ambient.now().date();
    let words: Vec<String> =
        visit.form.get("q").to_lowercase().split_whitespace().map(str::to_owned).collect();
    let provider = visit.form.given("provider");
    let mut models: Vec<_> = catalog
        .models()
        .filter(|model| model.is_servable_by_name(today))
        .filter(|model| provider.is_none_or(|name| model.provider.row().name == name))
        .filter(|model| words.iter().all(|word| model.id.contains(word.as_str())))
        .collect();
    models.sort_by(|a, b| a.id.cmp(&b.id));
    let margin = gateway.settings.margin;
    let frame = visit.frame.titled("Models");
    let template = ModelsPage {
        found: models.len(),
        rows: models.iter().take(ROWS_MAX).map(|model| row(model, &gateway)).collect(),
        providers: PROVIDERS.iter().map(|provider| provider.name).collect(),
        margin_percent: format!("{}.{:02}", margin.0 / 100, margin.0 % 100),
        form: &visit.form,
        frame: &frame,
    };
    page(&template)
}

fn row(model: &Model, gateway: &Gateway) -> Row {
    let today = gateway.ambient.now().date();
    let rates = model.prices.as_ref().and_then(|prices| {
        let is_current = |from: Option<time::Date>, until: Option<time::Date>| {
            from.is_none_or(|from| from <= today) && until.is_none_or(|until| today <= until)
        };
        prices.periods.iter().find(|period| is_current(period.valid_from, period.valid_until))?.rates
    });
    // The price of a million tokens with the margin, rounded up as a charge is.
    let asked = |rate: NanoPerMillion| {
        money::charge(NanoUsd(rate.0), gateway.settings.margin).map_or("not priced".to_owned(), view::exact)
    };
    let abilities = [
        (Flag::Tools, "tools"),
        (Flag::Vision, "images"),
        (Flag::JsonSchema, "JSON schema"),
        (Flag::Reasoning, "reasoning"),
    ];
    let can = abilities.iter().filter(|(flag, _)| model.flags.has(*flag)).map(|(_, word)| *word);
    Row {
        id: model.id.to_string(),
        mode: format!("{:?}", model.mode).to_lowercase(),
        context: model.context_tokens.map_or(String::new(), view::count),
        input: rates.map_or("not priced by tokens".to_owned(), |rates| asked(rates.input)),
        output: rates.and_then(|rates| rates.output).map_or(String::new(), asked),
        abilities: can.collect::<Vec<_>>().join(", "),
        shutdown: model.shutdown.map(|day| day.to_string()),
    }
}
