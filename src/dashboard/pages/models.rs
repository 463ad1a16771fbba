//! The catalogue: which models there are, what each host asks for them with the operator's margin in it, and how hosts
//! did lately.

use crate::{
    dashboard::{
        explain,
        form::Form,
        frame::{Frame, PageError, page, state},
        links::{Choice, choices, encode},
        routes::Visit,
        view,
    },
    domain::{
        catalog::{Flag, Mode, Model, Status},
        money::{self, Bps, NanoPerMillion, NanoUsd},
        provider::PROVIDERS,
    },
    gateway::Gateway,
    routing::host_stats::Performance,
    store::sessions::Session,
};
use actix_web::HttpResponse;
use askama::Template;

/// Rows on the page; a search narrows what is beyond.
const ROWS_MAX: usize = 200;

#[derive(Template)]
#[template(path = "models.html")]
struct ModelsPage<'a> {
    frame: &'a Frame,
    form: &'a Form,
    rows: Vec<Row>,
    found: usize,
    providers: Vec<Choice>,
    modes: Vec<Choice>,
    abilities: Vec<Choice>,
    sorts: Vec<Choice>,
    margin: String,
}

struct Row {
    id: String,
    link: String,
    mode: String,
    context: String,
    input: String,
    output: String,
    latency: String,
    abilities: String,
    shutdown: Option<String>,
}

/// Abilities that are named on pages.
pub(super) const ABILITIES: [(Flag, &str, &str); 8] = [
    (Flag::Tools, "tools", "tools"),
    (Flag::Vision, "vision", "images"),
    (Flag::JsonSchema, "json_schema", "JSON schema"),
    (Flag::Reasoning, "reasoning", "reasoning"),
    (Flag::Pdf, "pdf", "PDF"),
    (Flag::AudioIn, "audio_in", "audio in"),
    (Flag::AudioOut, "audio_out", "audio out"),
    (Flag::WebSearch, "web_search", "web search"),
];

pub(super) const MODES: [(Mode, &str, &str); 10] = [
    (Mode::Chat, "chat", "chat"),
    (Mode::Responses, "responses", "chat (Responses alone)"),
    (Mode::Completion, "completion", "text completion"),
    (Mode::Embedding, "embedding", "embeddings"),
    (Mode::ImageGeneration, "image_generation", "images"),
    (Mode::AudioSpeech, "audio_speech", "speech"),
    (Mode::AudioTranscription, "audio_transcription", "transcription"),
    (Mode::Rerank, "rerank", "rerank"),
    (Mode::Moderation, "moderation", "moderation"),
    (Mode::Ocr, "ocr", "OCR"),
];

const SORTS: [(&str, &str); 4] = [
    ("name", "name"),
    ("input", "input price"),
    ("output", "output price"),
    ("context", "context, largest first"),
];

/// `GET /o/{org}/models?q&provider&mode&ability&sort`.
pub async fn list(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let gateway = state::<Gateway>(&visit.call)?;
    let catalog = gateway.catalog.load_full();
    let now = gateway.ambient.now();
    let form = &visit.form;
    let known = |field: &'static str, names: &[&'static str]| match form.given(field) {
        Some(value) if !names.contains(&value) => {
            Err(PageError::form(field, format!("`{field}` must be one of {}", names.join(", "))))
        }
        value => Ok(value),
    };
    let provider = known("provider", &PROVIDERS.iter().map(|provider| provider.name).collect::<Vec<_>>())?;
    let mode = known("mode", &MODES.map(|(_, name, _)| name))?;
    let mode = MODES.iter().find(|(_, name, _)| Some(*name) == mode).map(|(mode, ..)| *mode);
    let ability = known("ability", &ABILITIES.map(|(_, name, _)| name))?;
    let ability = ABILITIES.iter().find(|(_, name, _)| Some(*name) == ability).map(|(flag, ..)| *flag);
    let sort = known("sort", &SORTS.map(|(name, _)| name))?.unwrap_or("name");
    let words: Vec<String> = form.get("q").to_lowercase().split_whitespace().map(str::to_owned).collect();
    let mut models: Vec<_> = catalog
        .models()
        .filter(|model| model.is_servable_by_name(now.date()))
        .filter(|model| provider.is_none_or(|name| model.provider.row().name == name))
        .filter(|model| mode.is_none_or(|mode| model.mode == mode))
        .filter(|model| ability.is_none_or(|flag| model.flags.has(flag)))
        .filter(|model| words.iter().all(|word| model.id.to_lowercase().contains(word.as_str())))
        .collect();
    let rates = |model: &Model| model.prices.as_ref()?.at(now)?.rates;
    models.sort_by(|a, b| {
        let order = match sort {
            "input" => price_order(rates(a).map(|rates| rates.input), rates(b).map(|rates| rates.input)),
            "output" => {
                price_order(rates(a).and_then(|rates| rates.output), rates(b).and_then(|rates| rates.output))
            }
            "context" => b.context_tokens.cmp(&a.context_tokens),
            _ => std::cmp::Ordering::Equal,
        };
        order.then_with(|| a.id.cmp(&b.id))
    });
    let performance = gateway.measurements.performance(gateway.now_ms());
    let margin = gateway.settings.margin;
    let frame = visit.frame.titled("Models");
    let pairs = |pairs: Vec<(&str, &str)>, chosen: &str| {
        choices(pairs.into_iter().map(|(value, text)| (value.to_owned(), text.to_owned())), chosen)
    };
    let template = ModelsPage {
        found: models.len(),
        rows: models
            .iter()
            .take(ROWS_MAX)
            .map(|model| row(model, rates(model), performance.get(&model.id), (margin, &frame.home)))
            .collect(),
        providers: pairs(PROVIDERS.iter().map(|one| (one.name, one.name)).collect(), form.get("provider")),
        modes: pairs(MODES.iter().map(|(_, name, words)| (*name, *words)).collect(), form.get("mode")),
        abilities: pairs(
            ABILITIES.iter().map(|(_, name, words)| (*name, *words)).collect(),
            form.get("ability"),
        ),
        sorts: pairs(SORTS.to_vec(), sort),
        margin: percent(margin),
        form,
        frame: &frame,
    };
    page(&template)
}

/// Cheap before dear, without a price last.
fn price_order(a: Option<NanoPerMillion>, b: Option<NanoPerMillion>) -> std::cmp::Ordering {
    let key = |price: Option<NanoPerMillion>| price.map_or(i64::MAX, |price| price.0);
    key(a).cmp(&key(b))
}

pub(super) fn percent(margin: Bps) -> String {
    match margin.0 % 100 {
        0 => format!("{} %", margin.0 / 100),
        rest => format!("{}.{rest:02} %", margin.0 / 100),
    }
}

/// The price of a million tokens with the margin, rounded up as a charge is.
pub(super) fn asked(rate: NanoPerMillion, margin: Bps) -> String {
    money::charge(NanoUsd(rate.0), margin).map_or("not priced".to_owned(), view::exact)
}

pub(super) fn abilities(model: &Model) -> String {
    let named = ABILITIES.iter().filter(|(flag, ..)| model.flags.has(*flag)).map(|(_, _, words)| *words);
    named.collect::<Vec<_>>().join(", ")
}

pub(super) fn mode_in_words(mode: Mode) -> &'static str {
    MODES.iter().find(|(known, ..)| *known == mode).map_or("", |(_, _, words)| words)
}

pub(super) fn shutdown(model: &Model) -> Option<String> {
    match (model.shutdown, model.status) {
        (Some(day), _) => Some(format!("shuts down {day}")),
        (None, Status::Deprecated) => Some("deprecated".to_owned()),
        _ => None,
    }
}

fn row(
    model: &Model,
    rates: Option<crate::domain::catalog::Rates>,
    performance: Option<&Performance>,
    (margin, home): (Bps, &str),
) -> Row {
    Row {
        link: format!("{home}/models/view?id={}", encode(&model.id)),
        id: model.id.to_string(),
        mode: mode_in_words(model.mode).to_owned(),
        context: model.context_tokens.map_or(String::new(), view::count),
        input: rates.map_or(unpriced(model), |rates| asked(rates.input, margin)),
        output: rates.and_then(|rates| rates.output).map_or(String::new(), |rate| asked(rate, margin)),
        latency: performance.and_then(|row| row.latency_p50_ms).map_or(String::new(), view::duration),
        abilities: abilities(model),
        shutdown: shutdown(model),
    }
}

/// What stands in the place of a price by tokens.
pub(super) fn unpriced(model: &Model) -> String {
    if model.prices.is_some() { "by other units" } else { explain::NOT_PRICED }.to_owned()
}
