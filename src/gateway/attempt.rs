//! One call to one provider with one credential, up to the point where its answer is certain: the whole body
//! of a unary answer, the first content of a stream. Until then another provider may still be asked.

use super::relay::{Asked, Relay};
use crate::{
    dialect::openai_chat::{reply, usage},
    domain::{provider::ProviderId, secret::Secret, usage::Usage},
    providers::{
        error::{Class, Rejection},
        transport::{Deadlines, Destination, Response, Transport, read_body, unreachable_host},
    },
};

use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// What is sent, and under which limits.
pub struct Call {
    pub transport: Transport,
    pub provider: ProviderId,
    pub to: Destination,
    pub secret: Secret,
    pub body: Vec<u8>,
    pub stream: bool,
    pub asked: Asked,
    pub deadlines: Deadlines,
    /// The end of the whole request's time.
    pub until: Instant,
    pub reply_bytes_max: usize,
    pub frame_bytes_max: usize,
}

/// An answer that will be the answer.
pub enum Answer {
    Whole { body: Vec<u8>, usage: Option<Usage>, service_tier: Option<String>, text: Vec<u8> },
    Stream { response: Box<Response>, relay: Box<Relay> },
}

impl Call {
    /// Calls the provider.
    pub async fn dial(self) -> Result<Answer, Rejection> {
        // Of a whole answer the head comes when all of it is there: one limit serves both.
        let first_byte_by = self.until.min(Instant::now() + self.deadlines.first_byte);
        let calling = self.transport.post(self.provider, &self.to, &self.secret, self.body);
        let response = timeout_at(first_byte_by, calling).await.map_err(|_| late())??;
        let answered = match self.stream {
            true => {
                first_content(response, Relay::new(self.asked, self.frame_bytes_max), first_byte_by).await
            }
            false => {
                let reading = read_body(response, self.reply_bytes_max);
                let body = timeout_at(first_byte_by, reading).await.map_err(|_| late())??;
                whole(self.provider, body)
            }
        };
        // A provider may repeat the key in what it says is wrong with it.
        answered.map_err(|rejection| rejection.without(self.secret.expose()))
    }
}

/// Reads on until something commits; what fails before that has told the client nothing.
async fn first_content(mut response: Response, mut relay: Relay, by: Instant) -> Result<Answer, Rejection> {
    while !relay.is_committed() {
        match timeout_at(by, response.chunk()).await.map_err(|_| late())? {
            Ok(Some(bytes)) => relay.absorb(&bytes),
            Ok(None) => relay.close(),
            Err(error) => relay.cut(unreachable_host(&error)),
        }
        if let Some(failure) = relay.failure().filter(|_| !relay.is_committed()) {
            return Err(failure.clone());
        }
    }
    Ok(Answer::Stream { response: Box::new(response), relay: Box::new(relay) })
}

fn whole(provider: ProviderId, body: Vec<u8>) -> Result<Answer, Rejection> {
    let mut text = Vec::new();
    // DeepSeek sends blank lines while a request is queued.
    let json = body.trim_ascii();
    let seen = reply::read(json, &mut text)
        .map_err(|unreadable| Rejection::without_answer(Class::Overload, unreadable.to_string()))?;
    if seen.error.is_some() || seen.no_choices {
        return Err(Rejection::read(provider, 200, None, json));
    }
    if seen.host_failed {
        return Err(Rejection::without_answer(Class::Overload, "the provider broke off its answer"));
    }
    let outside = provider.row().quirks.reasoning_outside_output;
    let usage = seen.usage.and_then(|raw| usage::read(raw, outside));
    let service_tier = seen.service_tier.map(str::to_owned);
    Ok(Answer::Whole { usage, service_tier, text, body })
}

fn late() -> Rejection {
    Rejection::without_answer(Class::Timeout, "the provider did not answer in time")
}

/// Reads what is left after the end mark, so that the connection can be used again.
pub async fn read_out(mut response: Box<Response>) {
    let reading = async { while let Ok(Some(_)) = response.chunk().await {} };
    let _ = tokio::time::timeout(Duration::from_secs(1), reading).await;
}
