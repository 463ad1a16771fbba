//! What Anthropic's Messages wire format refuses at the top of a request. What it refuses in the conversation is in
//! `turns`. Rules about models apply to Anthropic's own only.

mod turns;

use super::{Posted, Refused, Verdict, list, member, only, refuse_if, text};
use serde_json::Value;

const EXTRA: &str = "Extra inputs are not permitted";

const FIELDS: &[&str] = &[
    "model",
    "messages",
    "max_tokens",
    "stream",
    "system",
    "temperature",
    "top_p",
    "top_k",
    "stop_sequences",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "metadata",
    "service_tier",
    "cache_control",
    "container",
    "context_management",
    "inference_geo",
    "mcp_servers",
    "speed",
];

const COUNT_FIELDS: &[&str] = &[
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "cache_control",
    "context_management",
    "mcp_servers",
    "speed",
];

/// One of Anthropic's models, by its name.
#[derive(Clone, Copy)]
struct Claude<'a> {
    family: &'a str,
    version: (u32, u32),
}

pub(super) fn judge(posted: &Posted<'_>, body: &Value, model: &str) -> Verdict {
    if posted.asked.row.id == "anthropic" {
        let named = posted.headers.iter().any(|(name, _)| name == "anthropic-version");
        refuse_if(!named, "anthropic-version", "header is required")?;
    }
    only(body, if posted.counting { COUNT_FIELDS } else { FIELDS }, "", EXTRA)?;
    refuse_if(model.is_empty(), "model", "Field required")?;
    let max_tokens = member(body, "max_tokens").map(|value| value.as_u64());
    match max_tokens {
        None => refuse_if(!posted.counting, "max_tokens", "Field required")?,
        Some(None) => return Err(Refused::new("max_tokens", "Input should be a valid integer")),
        Some(Some(_)) => {}
    }
    let claude = claude(model);
    sampling(body, claude)?;
    let blank = list(body, "stop_sequences")
        .iter()
        .any(|stop| stop.as_str().is_none_or(|stop| stop.trim().is_empty()));
    refuse_if(blank, "stop_sequences", "each stop sequence must contain non-whitespace")?;
    thinking(body, claude, max_tokens.flatten().filter(|_| !posted.counting))?;
    tools(body, claude)?;
    turns::judge(body, claude)?;
    refuse_if(cache_marks(body) > 4, "cache_control", "A maximum of 4 blocks may be provided.")
}

fn claude(model: &str) -> Option<Claude<'_>> {
    let mut words = model.strip_prefix("claude-")?.split('-');
    // A longer number is a date.
    let number = |word: Option<&str>| word.filter(|word| word.len() < 3).and_then(|word| word.parse().ok());
    let first = words.next()?;
    match first.parse() {
        // The names of the third generation: version, then family.
        Ok(major) => {
            let mut rest = words.peekable();
            let minor = number(rest.peek().copied());
            if minor.is_some() {
                rest.next();
            }
            Some(Claude { family: rest.next()?, version: (major, minor.unwrap_or(0)) })
        }
        Err(_) => {
            let major = number(words.next())?;
            Some(Claude { family: first, version: (major, number(words.next()).unwrap_or(0)) })
        }
    }
}

impl Claude<'_> {
    fn fixes_sampling(self) -> bool {
        self.version >= (5, 0) || (self.family == "opus" && self.version >= (4, 7))
    }

    fn always_thinks(self) -> bool {
        match self.family {
            "opus" | "sonnet" => self.version >= (5, 5),
            "fable" => true,
            _ => false,
        }
    }

    fn refuses_forced_tools(self) -> bool {
        match self.family {
            "opus" | "sonnet" => self.version >= (5, 5),
            "fable" => self.version >= (5, 1),
            _ => false,
        }
    }
}

fn sampling(body: &Value, claude: Option<Claude<'_>>) -> Verdict {
    let temperature = member(body, "temperature");
    let number = temperature.and_then(Value::as_f64);
    let outside = temperature.is_some() && !number.is_some_and(|number| (0.0..=1.0).contains(&number));
    refuse_if(outside, "temperature", "range: 0..1")?;
    let Some(claude) = claude else { return Ok(()) };
    if claude.fixes_sampling() {
        let other = temperature.is_some() && number != Some(1.0);
        refuse_if(other, "temperature", "may only be set to 1 on this model")?;
        for name in ["top_p", "top_k"] {
            refuse_if(member(body, name).is_some(), name, "is not supported on this model")?;
        }
    }
    let both = temperature.is_some() && member(body, "top_p").is_some() && claude.version >= (4, 5);
    refuse_if(both, "temperature", "and `top_p` cannot both be specified for this model")
}

fn thinking(body: &Value, claude: Option<Claude<'_>>, max_tokens: Option<u64>) -> Verdict {
    let effort = member(body, "output_config").map(|config| text(config, "effort")).unwrap_or_default();
    let known = ["", "low", "medium", "high", "xhigh", "max"];
    refuse_if(!known.contains(&effort), "output_config.effort", "unknown value")?;
    let Some(thinking) = member(body, "thinking") else { return Ok(()) };
    only(thinking, &["type", "budget_tokens", "display"], "thinking", EXTRA)?;
    let kind = text(thinking, "type");
    let always = claude.is_some_and(Claude::always_thinks);
    let is = |family: &str, version: (u32, u32)| {
        claude.is_none_or(|claude| claude.family == family && claude.version >= version)
    };
    let taken = match kind {
        "enabled" | "disabled" => !always,
        "adaptive" => claude.is_none_or(|claude| claude.version >= (4, 6)),
        "between_tools" => is("sonnet", (5, 5)),
        _ => false,
    };
    refuse_if(!taken, "thinking.type", &format!("\"{kind}\" is not supported for this model"))?;
    let too_much = kind == "between_tools" && ["xhigh", "max"].contains(&effort);
    refuse_if(too_much, "output_config.effort", "at most high with between_tools")?;
    let budget = member(thinking, "budget_tokens").and_then(Value::as_u64);
    if kind == "enabled" {
        let small = budget.is_none_or(|budget| budget < 1024);
        refuse_if(small, "thinking.budget_tokens", "Input should be greater than or equal to 1024")?;
        let large = max_tokens.is_some_and(|max| budget >= Some(max));
        refuse_if(large, "max_tokens", "must be greater than `thinking.budget_tokens`")?;
    } else {
        let extra = member(thinking, "budget_tokens").is_some();
        refuse_if(extra, "thinking.budget_tokens", EXTRA)?;
    }
    if ["enabled", "adaptive"].contains(&kind) {
        let warm = member(body, "temperature").is_some_and(|value| value.as_f64() != Some(1.0));
        refuse_if(warm, "temperature", "may only be set to 1 when thinking is enabled")?;
        let top_k = member(body, "top_k").is_some();
        refuse_if(top_k, "top_k", "must be unset when thinking is enabled")?;
        refuse_if(forces_tool(body), "tool_choice", "Thinking may not be enabled when it forces tool use.")?;
    }
    Ok(())
}

fn forces_tool(body: &Value) -> bool {
    member(body, "tool_choice").is_some_and(|choice| ["any", "tool"].contains(&text(choice, "type")))
}

fn tools(body: &Value, claude: Option<Claude<'_>>) -> Verdict {
    for (index, tool) in list(body, "tools").iter().enumerate() {
        let at = format!("tools.{index}");
        // Tools that the provider runs have types and members of their own.
        if !["", "custom"].contains(&text(tool, "type")) {
            refuse_if(text(tool, "type") == "function", &at, "Input tag 'function' is not known")?;
            continue;
        }
        let own = [
            "type",
            "name",
            "description",
            "input_schema",
            "strict",
            "cache_control",
            "defer_loading",
            "eager_input_streaming",
            "allowed_callers",
            "input_examples",
        ];
        only(tool, &own, &at, EXTRA)?;
        let name = text(tool, "name");
        let long = name.is_empty() || name.len() > 128;
        refuse_if(long || !plain(name), &format!("{at}.name"), "should match '^[a-zA-Z0-9_-]{1,128}$'")?;
        let schema = member(tool, "input_schema").map(|schema| text(schema, "type"));
        refuse_if(schema != Some("object"), &format!("{at}.input_schema.type"), "should be 'object'")?;
    }
    let Some(choice) = member(body, "tool_choice") else { return Ok(()) };
    only(choice, &["type", "name", "disable_parallel_tool_use"], "tool_choice", EXTRA)?;
    let kind = text(choice, "type");
    refuse_if(!["auto", "any", "tool", "none"].contains(&kind), "tool_choice.type", "unknown value")?;
    refuse_if(list(body, "tools").is_empty() && kind != "none", "tool_choice", "needs tools")?;
    let name = text(choice, "name");
    let known = list(body, "tools").iter().any(|tool| text(tool, "name") == name);
    refuse_if(kind == "tool" && !known, "tool_choice.name", "no such tool")?;
    let refused = forces_tool(body) && claude.is_some_and(Claude::refuses_forced_tools);
    refuse_if(refused, "tool_choice", &format!("type \"{kind}\" is not supported for this model"))
}

/// Letters, digits, underscores and hyphens.
fn plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

fn cache_marks(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(cache_marks).sum(),
        Value::Object(members) => members
            .iter()
            // What a tool is called with is the model's own.
            .filter(|(name, _)| !["input", "input_schema"].contains(&name.as_str()))
            .map(|(name, value)| {
                usize::from(name == "cache_control" && !value.is_null()) + cache_marks(value)
            })
            .sum(),
        _ => 0,
    }
}
