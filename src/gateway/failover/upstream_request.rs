//! Prepares one target for its call: body, address, key, and how its answer will be read.

use super::{AttemptFailure, Failover};
use crate::{
    dialect::{
        ClientRequest, Dialect, Encoded, Reading, Target, Unsupported, WriterContext,
        canonical::{self, Effort},
        kinds::{At, KindRequest},
        openai_chat,
    },
    domain::{catalog::Mode, secret::Secret},
    gateway::{
        attempt::{Awaited, Call},
        media,
        open_request::OpenRequest,
        request::ParsedRequest,
        targets::{Credential, ServingTarget},
        upstream_context::{EndpointContext, UpstreamContext},
    },
    providers::transport::Outgoing,
};
use std::{borrow::Cow, sync::Arc};

const JSON: Cow<'static, str> = Cow::Borrowed("application/json");

impl<'a> Failover<'a> {
    pub(super) async fn prepare(
        &self,
        serving: &ServingTarget<'_>,
        open: &mut OpenRequest,
    ) -> Result<(Box<Call>, Secret), AttemptFailure> {
        match self.request {
            ParsedRequest::Conversation(request) => self.conversation(request, serving, open).await,
            ParsedRequest::Kind(request) => self.kind(request, serving, open),
        }
    }

    async fn conversation(
        &self,
        request: &ClientRequest<'a>,
        serving: &ServingTarget<'_>,
        open: &mut OpenRequest,
    ) -> Result<(Box<Call>, Secret), AttemptFailure> {
        let candidate = serving.candidate;
        let seed = seed(open);
        let target = Target {
            provider: candidate.provider,
            upstream_model: &candidate.upstream,
            dialect: dialect(request, serving),
            flags: candidate.model.as_ref().map(|model| model.flags),
            output_tokens_max: candidate.model.as_ref().and_then(|model| model.output_tokens_max),
            seed: &seed,
        };
        let mut encoded = self.encoded(request, &target).await.map_err(AttemptFailure::Unsupported)?;
        open.history.body_written(encoded.dropped.drain(..).map(Cow::into_owned).collect());
        // The service tier that was requested from the provider is billed.
        let asks_for_tier = !open.history.dropped().iter().any(|name| name == "service_tier");
        open.service_tier =
            request.head().service_tier.as_deref().filter(|_| asks_for_tier).map(str::to_owned);
        let path = encoded.path.take().or_else(|| target.provider.path(target.dialect).map(Cow::Borrowed));
        let to =
            path.and_then(|path| serving.destination(self.inbound, &path)).ok_or(AttemptFailure::Unusable)?;
        let mut context = self.context(request, &target, &encoded, open);
        if open.cache.calling(serving.custom_base_url(), &candidate.upstream) {
            context.kept_bytes_max = Some(self.inbound.gateway.cache.limits().entry_bytes_max);
        }
        let beta = self.inbound.beta.as_deref().filter(|_| context.upstream == Dialect::Messages);
        let beta = match &serving.credential {
            Credential::Platform => beta.and_then(|beta| unpaid_betas(beta, open)),
            Credential::Request(_) | Credential::Stored(_) => beta.map(str::to_owned),
        };
        let outgoing = Outgoing { to, body: encoded.body, content_type: JSON, beta, traceparent: None };
        self.assemble(serving, outgoing, Awaited::Conversation(context), request.head().stream)
    }

    /// The body for the target. Media that the provider does not fetch are fetched once for all attempts.
    async fn encoded(
        &self,
        request: &ClientRequest<'a>,
        target: &Target<'_>,
    ) -> Result<Encoded, Unsupported> {
        if request.dialect() == target.dialect || target.provider.row().fetches_urls {
            return request.encode(target);
        }
        let canonical = request.canonical()?;
        if !media::has_urls(&canonical, target.dialect) {
            return request.translate(&canonical, target);
        }
        // Large, and most requests have nothing to fetch: kept out of their futures.
        Box::pin(self.fetched(request, &canonical, target)).await
    }

    async fn fetched(
        &self,
        request: &ClientRequest<'a>,
        canonical: &canonical::Request<'a>,
        target: &Target<'_>,
    ) -> Result<Encoded, Unsupported> {
        let limits = &self.inbound.gateway.settings.limits;
        let bounds = media::Bounds {
            bytes_max: limits.media_bytes_max,
            within: limits.media_time,
            memory: self.inbound.memory.another(),
        };
        let embedded = self.embedded.get(canonical, target.dialect, self.inbound.transport, bounds).await;
        request.translate(&*embedded.map_err(|refused| request.named(refused))?, target)
    }

    fn kind(
        &self,
        request: &KindRequest<'_>,
        serving: &ServingTarget<'_>,
        open: &mut OpenRequest,
    ) -> Result<(Box<Call>, Secret), AttemptFailure> {
        let candidate = serving.candidate;
        let provider = candidate.provider;
        // The plan has excluded providers that do not serve this.
        let serves = provider.serves(request.kind);
        let serves = serves.ok_or_else(|| AttemptFailure::Unsupported(Unsupported::field("model")))?;
        let created = open.started_at.unix_timestamp();
        let on_platform = matches!(serving.credential, Credential::Platform);
        let at = At { serves, model: &candidate.upstream, created, on_platform };
        let sent = request.encode(&at).map_err(AttemptFailure::Unsupported)?;
        open.history.body_written(sent.dropped.into_iter().map(Cow::into_owned).collect());
        let to = serving.destination(self.inbound, &sent.path).ok_or(AttemptFailure::Unusable)?;
        let content_type = sent.content_type;
        let outgoing = Outgoing { to, body: sent.body, content_type, beta: None, traceparent: None };
        let reply_bytes_max = self.inbound.gateway.settings.limits.reply_bytes_max;
        let flows = sent.expected.flows();
        let context = EndpointContext { provider, expected: sent.expected, reply_bytes_max };
        self.assemble(serving, outgoing, Awaited::Kind(context), flows)
    }

    fn context(
        &self,
        request: &ClientRequest<'_>,
        target: &Target<'_>,
        encoded: &Encoded,
        open: &OpenRequest,
    ) -> UpstreamContext {
        let limits = &self.inbound.gateway.settings.limits;
        let (head, client) = (request.head(), request.dialect());
        let gathers = open.turns.gathers;
        let writer_context = (gathers || client != target.dialect).then(|| WriterContext {
            seed: target.seed.to_owned(),
            created: open.started_at.unix_timestamp(),
            provider: target.provider,
            upstream_model: target.upstream_model.to_owned(),
            include_usage: head.include_usage,
            echo: request.echo(),
        });
        UpstreamContext {
            provider: target.provider,
            client,
            upstream: target.dialect,
            // From chat to chat no reader has needed a seed so far.
            reading: match gathers {
                true => Reading { seed: target.seed.to_owned(), ..encoded.reading.clone() },
                false => encoded.reading.clone(),
            },
            writer_context,
            gathers,
            choices: head.n,
            usage_by_client: head.include_usage,
            usage_by_us: encoded.asked_for_usage,
            reply_bytes_max: limits.reply_bytes_max,
            held_bytes_max: limits.held_bytes_max,
            frame_bytes_max: limits.frame_bytes_max,
            kept_bytes_max: None,
        }
    }

    fn assemble(
        &self,
        serving: &ServingTarget<'_>,
        outgoing: Outgoing,
        awaited: Awaited,
        stream: bool,
    ) -> Result<(Box<Call>, Secret), AttemptFailure> {
        let secret = serving.secret(self.inbound).ok_or(AttemptFailure::Unusable)?;
        let call = Call {
            transport: self.inbound.transport.clone(),
            outgoing,
            secret: secret.clone(),
            stream,
            awaited,
            deadlines: self.inbound.gateway.settings.deadlines,
            until: self.state.rules.until,
            timing: Arc::default(),
            memory: self.inbound.memory.another(),
        };
        Ok((Box::new(call), secret))
    }
}

/// Tool call ids are derived from it, and the ids of two turns occur in one conversation.
fn seed(open: &OpenRequest) -> String {
    let id = open.request_id.0.simple();
    match open.turns.number() {
        0 => id.to_string(),
        turn => format!("{id}t{turn}"),
    }
}

/// The dialect of the upstream request: the client's if the provider supports it, else the provider's own. OpenAI's own
/// host serves some models and some requests on Responses only.
fn dialect(request: &ClientRequest<'_>, serving: &ServingTarget<'_>) -> Dialect {
    let candidate = serving.candidate;
    let (provider, client) = (candidate.provider, request.dialect());
    let native = provider.path(client).map(|_| client);
    let chosen = native.unwrap_or(provider.row().dialect);
    let mode = candidate.model.as_ref().map(|model| model.mode);
    let searches = client != Dialect::Chat && request.head().fees.are_searches();
    if chosen != Dialect::Chat || provider.path(Dialect::Responses).is_none() {
        return chosen;
    }
    let thinking = request.thinking();
    let effort = thinking.effort.map(Effort::as_str);
    let has_tools = request.head().facts.has_tools;
    let elsewhere = serving.custom_base_url().is_some();
    let openai = provider.row().bridges_to_responses && !elsewhere;
    let demanded = openai
        && (openai_chat::needs_responses(&candidate.upstream, has_tools, effort)
            || thinking.visible == Some(true));
    if mode == Some(Mode::Responses) || demanded || searches { Dialect::Responses } else { chosen }
}

/// Anthropic's betas without those that cost a fee, change the price or access stored objects of the account: on
/// platform keys these are left out and listed. An unknown beta is kept: its effect is bounded by the fields of the
/// request, which are checked separately.
fn unpaid_betas(betas: &str, open: &mut OpenRequest) -> Option<String> {
    const COSTLY: [&str; 14] = [
        "advisor-tool-",
        "code-execution-",
        "compact-",
        "context-1m-",
        "fast-mode-",
        "files-api-",
        "managed-agents-",
        "mcp-client-",
        "mcp-servers-",
        "message-batches-",
        "server-side-fallback-",
        "skills-",
        "web-fetch-",
        "web-search-",
    ];
    let (left, kept): (Vec<&str>, Vec<&str>) = betas
        .split(',')
        .map(str::trim)
        .filter(|beta| !beta.is_empty())
        .partition(|beta| COSTLY.iter().any(|name| beta.starts_with(name)));
    if !left.is_empty() {
        open.history.field_dropped("anthropic-beta");
    }
    (!kept.is_empty()).then(|| kept.join(","))
}
