//! The members of a chat request that concern MCP servers, and the request without them. Pure: no server is called
//! here. A request without servers does not use this module.

mod choice;
mod credentials;
mod headers;

use crate::{
    config::McpLimits,
    dialect::{
        self, Invalid,
        json::{Cursor, Kind, Member, ObjectWriter, Raw},
    },
    domain::secret::Secret,
    mcp::{Server, naming, sealed::Opener},
};
use headers::{ServerOwner, is_settable};
use std::borrow::Cow;

/// Turns of a request that states no number.
const TURNS: u32 = 10;
const HEADERS_MAX: usize = 16;
const NAME_BYTES_MAX: usize = 64;

/// Members that are not copied unchanged.
const LIFTED: [&str; 7] = [
    "mcp_servers",
    "max_turns",
    "automatic_tool_execution",
    "messages",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
];

/// The side that calls the tools which the model requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ToolOwner {
    Gateway,
    Client,
}

/// The requested MCP options.
pub struct McpOptions {
    pub servers: Vec<Server>,
    /// The operator's servers among them, by slug: the caller needs a grant for each.
    pub slugs: Vec<String>,
    pub turns_max: u32,
    /// Whether the gateway calls the tools, or the calls are returned to the client.
    pub tool_owner: ToolOwner,
    pub request: Request,
}

/// The request for the providers, in pieces: messages and tools grow from turn to turn.
pub struct Request {
    /// Every other member.
    rest: Vec<(String, String)>,
    /// Arrays, without their brackets.
    pub messages: Option<String>,
    tools: Option<String>,
    /// Members about tools: providers refuse them if there are no tools in the end.
    about_tools: Vec<(String, String)>,
    tool_choice: Option<String>,
    /// The value that replaces it after the first turn.
    later_choice: Option<String>,
    /// Names of the client's own tools; empty for a tool without a name.
    pub own_tools: Vec<String>,
}

/// The operator's limits.
pub struct McpPolicy<'a> {
    pub limits: McpLimits,
    /// By slug.
    pub servers: Vec<(&'a str, &'a str)>,
    pub depth_max: u32,
    /// Opens sealed credentials, if there is a key for them.
    pub opener: Option<&'a Opener>,
}

/// Reads the fields about MCP servers. `None`: there is no server, or the body cannot be read, and the request is
/// treated as one without MCP.
pub fn read(body: &[u8], allowed: &McpPolicy<'_>) -> Result<Option<McpOptions>, Invalid> {
    if !dialect::mentions_mcp_servers(body) {
        return Ok(None);
    }
    let whole = Cursor::new(body, allowed.depth_max).and_then(|mut cursor| {
        let value = cursor.value()?;
        cursor.end().map(|()| value)
    });
    let Ok(whole) = whole else { return Ok(None) };
    let members = whole.members();
    let named = |name: &str| members.iter().filter(|member| member.key == name).collect::<Vec<_>>();
    let Some(servers) = named("mcp_servers").first().map(|member| member.value).filter(|raw| !raw.is_idle())
    else {
        return Ok(None);
    };
    for name in LIFTED {
        if named(name).len() > 1 {
            return Err(invalid(name, format!("`{name}` occurs twice")));
        }
    }
    let one = |name: &str| named(name).first().map(|member| member.value).filter(|raw| !raw.is_null());
    refuse_unfit(&one)?;
    let servers = read_servers(servers, allowed)?;
    let of_operator = |url: &str| servers.iter().any(|server| server.trusted && server.url == url);
    let slugs =
        allowed.servers.iter().filter(|(_, url)| of_operator(url)).map(|(slug, _)| (*slug).to_owned());
    Ok(Some(McpOptions {
        slugs: slugs.collect(),
        servers,
        turns_max: read_turns(one("max_turns"), allowed.limits.turns_max)?,
        tool_owner: match read_flag(one("automatic_tool_execution"))? {
            true => ToolOwner::Gateway,
            false => ToolOwner::Client,
        },
        request: Request::of(&members),
    }))
}

impl Request {
    fn of(members: &[Member<'_>]) -> Self {
        let mut request = Self {
            rest: Vec::with_capacity(members.len()),
            messages: None,
            tools: None,
            about_tools: Vec::new(),
            tool_choice: None,
            later_choice: None,
            own_tools: Vec::new(),
        };
        for member in members {
            let (key, value) = (member.key.as_ref(), member.value);
            match key {
                "mcp_servers" | "max_turns" | "automatic_tool_execution" | "credentials" => {}
                "messages" if value.kind() == Kind::Array => request.messages = Some(inside(value)),
                "tools" if value.kind() == Kind::Array => {
                    request.own_tools = value.elements().into_iter().map(name_of_tool).collect();
                    request.tools = Some(inside(value));
                }
                "tools" | "tool_choice" if value.is_null() => {}
                "tool_choice" if matches!(value.kind(), Kind::String | Kind::Object) => {
                    request.tool_choice = Some(value.get().to_owned());
                    request.later_choice = choice::undemanding(value);
                }
                "parallel_tool_calls" if value.kind() == Kind::Bool => {
                    request.about_tools.push((member.raw_key.to_owned(), value.get().to_owned()));
                }
                // Members of a wrong type are refused where every request is parsed.
                _ => request.rest.push((member.raw_key.to_owned(), value.get().to_owned())),
            }
        }
        request
    }

    /// The body of a turn: with the tools of servers beside the client's own, and the messages since the request.
    pub fn write(&self, tools: &[String], said: &[String], first: bool) -> Vec<u8> {
        let mut out = ObjectWriter::with_capacity(1024);
        for (key, value) in &self.rest {
            out.raw_key(key).extend(value.as_bytes());
        }
        if let Some(messages) = &self.messages {
            out.raw("messages", &joined(Some(messages), said));
        }
        // Without any tool no member about tools may be sent. This happens if every server has failed.
        if !self.own_tools.is_empty() || !tools.is_empty() {
            out.raw("tools", &joined(self.tools.as_deref(), tools));
            for (key, value) in &self.about_tools {
                out.raw_key(key).extend(value.as_bytes());
            }
            let choice = if first { &self.tool_choice } else { &self.later_choice };
            if let Some(choice) = choice {
                out.raw("tool_choice", choice);
            }
        }
        out.end()
    }
}

fn refuse_unfit<'a>(one: &impl Fn(&str) -> Option<Raw<'a>>) -> Result<(), Invalid> {
    if one("credentials").is_some_and(|raw| !raw.is_idle()) {
        let message = "`credentials` stand with the server that they are for: sealed ones in its object in \
                       `mcp_servers`, others among its `headers`";
        return Err(invalid("credentials", message));
    }
    if one("n").is_some_and(|raw| raw.count().is_some_and(|n| n > 1)) {
        return Err(invalid("n", "`n` must be 1 with `mcp_servers`"));
    }
    for name in ["functions", "function_call"] {
        if one(name).is_some_and(|raw| !raw.is_idle()) {
            return Err(invalid(name, format!("`{name}` does not go with `mcp_servers`: use `tools`")));
        }
    }
    // Answers of several turns are assembled from text and function calls only.
    let spoken = |raw: Raw<'_>| raw.elements().iter().any(|one| one.text().is_some_and(|one| one != "text"));
    let audio = [
        ("audio", one("audio").is_some_and(|raw| !raw.is_idle())),
        ("modalities", one("modalities").is_some_and(spoken)),
    ];
    if let Some((name, _)) = audio.into_iter().find(|(_, asked)| *asked) {
        return Err(invalid(name, format!("`{name}`: with `mcp_servers` answers are text only")));
    }
    for (index, tool) in one("tools").map(Raw::elements).unwrap_or_default().into_iter().enumerate() {
        if tool.member("type").and_then(Raw::text).is_some_and(|typed| typed == "custom") {
            let param = format!("tools[{index}].type");
            let message = format!("`{param}`: with `mcp_servers` your own tools must be functions");
            return Err(invalid(&param, message));
        }
    }
    Ok(())
}

fn read_turns(raw: Option<Raw<'_>>, most: u32) -> Result<u32, Invalid> {
    let Some(raw) = raw else { return Ok(TURNS.min(most)) };
    let turns = raw.count().and_then(|turns| u32::try_from(turns).ok());
    turns
        .filter(|turns| (1..=most).contains(turns))
        .ok_or_else(|| invalid("max_turns", format!("`max_turns` must be a whole number from 1 to {most}")))
}

fn read_flag(raw: Option<Raw<'_>>) -> Result<bool, Invalid> {
    match raw.map(Raw::get) {
        None | Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(_) => Err(invalid("automatic_tool_execution", "`automatic_tool_execution` must be a boolean")),
    }
}

fn read_servers(raw: Raw<'_>, allowed: &McpPolicy<'_>) -> Result<Vec<Server>, Invalid> {
    let list = if raw.kind() == Kind::Array { raw.elements() } else { vec![raw] };
    let most = allowed.limits.servers_max;
    if list.len() > most {
        return Err(invalid("mcp_servers", format!("`mcp_servers` may have at most {most} entries")));
    }
    let mut names: Vec<String> = Vec::new();
    let mut servers = Vec::with_capacity(list.len());
    for (index, raw) in list.into_iter().enumerate() {
        let path = format!("mcp_servers[{index}]");
        let mut server = match raw.kind() {
            Kind::String => by_word(raw.text().unwrap_or_default(), &path, allowed)?,
            Kind::Object => by_members(raw, &path, allowed)?,
            _ => return Err(invalid(&path, format!("`{path}` must be a URL, a slug, or an object"))),
        };
        server.name = naming::unlike(&names, &server.name);
        names.push(server.name.clone());
        servers.push(server);
    }
    Ok(servers)
}

fn by_word(word: Cow<'_, str>, path: &str, allowed: &McpPolicy<'_>) -> Result<Server, Invalid> {
    let word = word.trim();
    if word.contains("://") {
        let name = host(word).to_owned();
        return Ok(Server { name, url: word.to_owned(), trusted: false, headers: Vec::new() });
    }
    match allowed.servers.iter().find(|(slug, _)| *slug == word) {
        Some((slug, url)) => Ok(Server {
            name: (*slug).to_owned(),
            url: (*url).to_owned(),
            trusted: true,
            headers: Vec::new(),
        }),
        None => {
            let known: Vec<&str> = allowed.servers.iter().map(|(slug, _)| *slug).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let word: String = word.chars().filter(|c| !c.is_control()).take(100).collect();
            let message =
                format!("No MCP server `{word}` is configured here; give its URL. Configured: {known}");
            Err(invalid(path, message))
        }
    }
}

fn by_members(raw: Raw<'_>, path: &str, allowed: &McpPolicy<'_>) -> Result<Server, Invalid> {
    let (mut url, mut slug, mut name, mut version, mut headers) = (None, None, None, None, Vec::new());
    let mut sealed = None;
    for member in raw.members().iter().filter(|member| !member.value.is_null()) {
        let place = match member.key.as_ref() {
            "url" => &mut url,
            "slug" => &mut slug,
            "name" => &mut name,
            "version" => &mut version,
            "headers" => {
                headers = read_headers(member.value, &format!("{path}.headers"))?;
                continue;
            }
            "credentials" if member.value.is_idle() => continue,
            "credentials" => {
                sealed = Some(member.value);
                continue;
            }
            key => {
                let key = shown(key);
                return Err(invalid(&format!("{path}.{key}"), format!("`{path}.{key}` is not known")));
            }
        };
        let key = &member.key;
        let text = member.value.text().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let wrong = || {
            invalid(&format!("{path}.{key}"), format!("`{path}.{key}` must be a string that is not empty"))
        };
        *place = Some(text.ok_or_else(wrong)?);
    }
    let word = match (url, slug) {
        (Some(url), None) if url.contains("://") => url,
        (Some(_), None) => {
            return Err(invalid(&format!("{path}.url"), format!("`{path}.url` is not a URL")));
        }
        (None, Some(slug)) => version.map_or(slug.clone(), |version| format!("{slug}@{version}")),
        _ => return Err(invalid(path, format!("`{path}` must have either `url` or `slug`"))),
    };
    let server = by_word(Cow::Owned(word), path, allowed)?;
    let owner = owner_of(&server);
    if let Some((name, _)) = headers.iter().find(|(name, _)| !is_settable(name, owner)) {
        let name = shown(name);
        let message = format!(
            "`{path}.headers.{name}` cannot be set for a server of the operator: only `Authorization` and `X-API-Key` \
             are passed on to it"
        );
        return Err(invalid(&format!("{path}.headers.{name}"), message));
    }
    let name = name.filter(|name| name.len() <= NAME_BYTES_MAX).unwrap_or(server.name);
    let mut server = Server { name, headers, ..server };
    if let Some(sealed) = sealed {
        credentials::open(sealed, &format!("{path}.credentials"), allowed.opener, &mut server)?;
    }
    Ok(server)
}

fn read_headers(raw: Raw<'_>, path: &str) -> Result<Vec<(String, Secret)>, Invalid> {
    let members = raw.members();
    if raw.kind() != Kind::Object || members.len() > HEADERS_MAX {
        return Err(invalid(path, format!("`{path}` must be an object of at most {HEADERS_MAX} strings")));
    }
    let header = |member: &Member<'_>| {
        let name = shown(&member.key);
        if !is_settable(&member.key, ServerOwner::Caller) {
            let message = format!("`{path}.{name}` is not a header that a request may set");
            return Err(invalid(&format!("{path}.{name}"), message));
        }
        let value = member.value.text().map(|text| Secret::new(text.into_owned()));
        let value = value.ok_or_else(|| invalid(path, format!("`{path}` must be an object of strings")))?;
        Ok((member.key.clone().into_owned(), value))
    };
    members.iter().map(header).collect()
}

fn owner_of(server: &Server) -> ServerOwner {
    if server.trusted { ServerOwner::Operator } else { ServerOwner::Caller }
}

/// A key of the request, as an error message may repeat it.
fn shown(key: &str) -> String {
    key.chars().filter(|c| !c.is_control()).take(60).collect()
}

/// The host of a URL, used as the server's name.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    if host.is_empty() { "server" } else { host }
}

fn name_of_tool(tool: Raw<'_>) -> String {
    let name = tool.member("function").and_then(|function| function.member("name"));
    name.and_then(Raw::text).map(Cow::into_owned).unwrap_or_default()
}

/// An array without its brackets.
fn inside(array: Raw<'_>) -> String {
    let text = array.get();
    text.get(1..text.len().saturating_sub(1)).unwrap_or_default().trim().to_owned()
}

fn joined(first: Option<&str>, more: &[String]) -> String {
    let all = first.into_iter().filter(|text| !text.is_empty()).chain(more.iter().map(String::as_str));
    format!("[{}]", all.collect::<Vec<_>>().join(","))
}

fn invalid(param: &str, message: impl Into<String>) -> Invalid {
    Invalid { param: Some(param.to_owned()), message: message.into() }
}

#[cfg(test)]
mod tests;
