//! One choice made ready to be called: its body, its address, its key, and how its answer will be read.

use super::{Choice, Course, Credential, Miss};
use crate::{
    credentials,
    dialect::{
        ClientRequest, Dialect, Encoded, Speaking, Target, Unsupported,
        canonical::Effort,
        kinds::{At, KindRequest},
        openai_chat,
    },
    domain::{catalog::Mode, secret::Secret},
    gateway::{
        asked::Asked,
        attempt::{Awaited, Call},
        exchange::{Exchange, KindExchange},
        media,
        open::Open,
    },
    providers::transport::{Destination, Outgoing, Url},
};
use std::borrow::Cow;

const JSON: Cow<'static, str> = Cow::Borrowed("application/json");

impl<'a> Course<'a> {
    pub(super) async fn prepare(&self, choice: &Choice<'_>, open: &mut Open) -> Result<(Call, Secret), Miss> {
        match self.request {
            Asked::Conversation(request) => self.conversation(request, choice, open).await,
            Asked::Kind(request) => self.kind(request, choice, open),
        }
    }

    async fn conversation(
        &self,
        request: &ClientRequest<'a>,
        choice: &Choice<'_>,
        open: &mut Open,
    ) -> Result<(Call, Secret), Miss> {
        let candidate = choice.candidate;
        let seed = open.request_id.0.simple().to_string();
        let target = Target {
            provider: candidate.provider,
            upstream_model: &candidate.upstream,
            dialect: dialect(request, choice),
            flags: candidate.model.as_ref().map(|model| model.flags),
            output_tokens_max: candidate.model.as_ref().and_then(|model| model.output_tokens_max),
            seed: &seed,
        };
        let mut encoded = self.encoded(request, &target).await.map_err(Miss::Unsupported)?;
        open.dropped = encoded.dropped.drain(..).map(Cow::into_owned).collect();
        let path = encoded.path.take().or_else(|| target.provider.path(target.dialect).map(Cow::Borrowed));
        let to = path.and_then(|path| self.destination(choice, &path)).ok_or(Miss::Unusable)?;
        let exchange = self.exchange(request, &target, &encoded, open);
        let beta = self.inbound.beta.clone().filter(|_| exchange.upstream == Dialect::Messages);
        let outgoing = Outgoing { to, body: encoded.body, content_type: JSON, beta };
        self.assemble(choice, outgoing, Awaited::Conversation(exchange), request.head().stream)
    }

    /// The body for the target. What it does not fetch itself is fetched for it, once for all attempts.
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
        let limits = &self.inbound.gateway.settings.limits;
        let bounds = media::Bounds { bytes_max: limits.media_bytes_max, within: limits.media_time };
        let embedded = self.embedded.get(&canonical, target.dialect, self.inbound.transport, bounds).await;
        request.translate(&*embedded.map_err(|refused| request.named(refused))?, target)
    }

    fn kind(
        &self,
        request: &KindRequest<'_>,
        choice: &Choice<'_>,
        open: &mut Open,
    ) -> Result<(Call, Secret), Miss> {
        let candidate = choice.candidate;
        let provider = candidate.provider;
        // The plan has left out who does not serve this.
        let serves = provider.serves(request.kind);
        let serves = serves.ok_or_else(|| Miss::Unsupported(Unsupported::field("model")))?;
        let created = open.started_at.unix_timestamp();
        let at = At { serves, model: &candidate.upstream, created };
        let sent = request.encode(&at).map_err(Miss::Unsupported)?;
        open.dropped = sent.dropped.into_iter().map(Cow::into_owned).collect();
        let to = self.destination(choice, &sent.path).ok_or(Miss::Unusable)?;
        let outgoing = Outgoing { to, body: sent.body, content_type: sent.content_type, beta: None };
        let reply_bytes_max = self.inbound.gateway.settings.limits.reply_bytes_max;
        let flows = sent.expected.flows();
        let exchange = KindExchange { provider, expected: sent.expected, reply_bytes_max };
        self.assemble(choice, outgoing, Awaited::Kind(exchange), flows)
    }

    fn exchange(
        &self,
        request: &ClientRequest<'_>,
        target: &Target<'_>,
        encoded: &Encoded,
        open: &Open,
    ) -> Exchange {
        let limits = &self.inbound.gateway.settings.limits;
        let (head, client) = (request.head(), request.dialect());
        let speaking = (client != target.dialect).then(|| Speaking {
            seed: target.seed.to_owned(),
            created: open.started_at.unix_timestamp(),
            provider: target.provider,
            upstream_model: target.upstream_model.to_owned(),
            include_usage: head.include_usage,
            echo: request.echo(),
        });
        Exchange {
            provider: target.provider,
            client,
            upstream: target.dialect,
            reading: encoded.reading.clone(),
            speaking,
            choices: head.n,
            usage_by_client: head.include_usage,
            usage_by_us: encoded.asked_for_usage,
            reply_bytes_max: limits.reply_bytes_max,
            frame_bytes_max: limits.frame_bytes_max,
        }
    }

    fn assemble(
        &self,
        choice: &Choice<'_>,
        outgoing: Outgoing,
        awaited: Awaited,
        stream: bool,
    ) -> Result<(Call, Secret), Miss> {
        let secret = self.secret(choice).ok_or(Miss::Unusable)?;
        let call = Call {
            transport: self.inbound.transport.clone(),
            outgoing,
            secret: secret.clone(),
            stream,
            awaited,
            deadlines: self.inbound.gateway.settings.deadlines,
            until: self.until,
        };
        Ok((call, secret))
    }

    /// `path` is below the base URL.
    fn destination(&self, choice: &Choice<'_>, path: &str) -> Option<Destination> {
        let provider = choice.candidate.provider;
        let settings = &self.inbound.gateway.settings;
        let base = match &choice.credential {
            Credential::Stored(key) => key.base_url.as_deref(),
            Credential::Platform => None,
        };
        match base {
            Some(base) => Some(Destination::Customer(joined(base, path)?)),
            None if path == provider.row().chat_path => {
                Some(Destination::Operator(settings.chat_url(provider)?.clone()))
            }
            None => Some(Destination::Operator(joined(settings.base_url(provider)?, path)?)),
        }
    }

    fn secret(&self, choice: &Choice<'_>) -> Option<Secret> {
        let gateway = self.inbound.gateway;
        match &choice.credential {
            Credential::Platform => {
                Some(gateway.platform_keys.get(choice.candidate.provider)?.secret.clone())
            }
            Credential::Stored(key) => {
                let principal = &self.inbound.principal;
                let ring = &gateway.installation.ring;
                credentials::open_stored(ring, principal.scope, principal.api_key_id, key).ok()
            }
        }
    }
}

/// What the provider is asked in: the client's dialect where it speaks it, else its own. OpenAI's own host
/// serves some models and some requests on Responses alone.
fn dialect(request: &ClientRequest<'_>, choice: &Choice<'_>) -> Dialect {
    let candidate = choice.candidate;
    let (provider, client) = (candidate.provider, request.dialect());
    let native = provider.path(client).map(|_| client);
    let chosen = native.unwrap_or(provider.row().dialect);
    let mode = candidate.model.as_ref().map(|model| model.mode);
    if chosen != Dialect::Chat || provider.path(Dialect::Responses).is_none() {
        return chosen;
    }
    let thinking = request.thinking();
    let effort = thinking.effort.map(Effort::as_str);
    let has_tools = request.head().facts.has_tools;
    let elsewhere = matches!(&choice.credential, Credential::Stored(key) if key.base_url.is_some());
    let openai = provider.row().bridges_to_responses && !elsewhere;
    let demanded = openai
        && (openai_chat::needs_responses(&candidate.upstream, has_tools, effort)
            || thinking.visible == Some(true));
    if mode == Some(Mode::Responses) || demanded { Dialect::Responses } else { chosen }
}

fn joined(base: &str, path: &str) -> Option<Url> {
    Url::parse(&format!("{}{path}", base.trim_end_matches('/'))).ok()
}
