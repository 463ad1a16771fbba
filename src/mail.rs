//! E-mail over SMTP, if a mail server is configured: short messages in plain text. One separate thread sends them, so
//! that a slow mail server delays nothing else. No address, subject or text is logged.

use crate::domain::secret::Secret;
use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
    transport::smtp,
};
use reqwest::Url;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Maximum messages that wait to be sent. More are refused.
const QUEUE_MAX: usize = 1_024;
/// Messages that are sent at a time.
const SENDING_MAX: usize = 4;
/// Pauses between tries of a queued message.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(10), Duration::from_secs(60)];

/// The mail server and the sender.
#[derive(Clone)]
pub struct MailSettings {
    /// `smtps://user:password@host`, or `smtp://` with `?tls=required`. A secret, because it may contain a password.
    pub url: Secret,
    /// As in a `From` header.
    pub from: Mailbox,
    /// Time limit for one command of the mail server.
    pub timeout: Duration,
}

impl MailSettings {
    /// Reads an address and a sender. An error is a sentence without either's value.
    pub fn read(url: &str, from: &str, timeout: Duration) -> Result<Self, &'static str> {
        let parsed = Url::parse(url).map_err(|_| "expected an smtps:// or smtp:// URL")?;
        let tls = parsed.query_pairs().find(|(name, _)| name == "tls").map(|(_, value)| value.into_owned());
        let host = parsed.host_str().ok_or("expected a host in the URL")?;
        let is_local = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        match (parsed.scheme(), tls.as_deref()) {
            ("smtps", None) | ("smtp", Some("required")) => {}
            ("smtp", None | Some("opportunistic")) if is_local || parsed.password().is_none() => {}
            ("smtp", _) => return Err("a password needs smtps:// or smtp:// with ?tls=required"),
            _ => return Err("expected an smtps:// or smtp:// URL, the latter with or without ?tls=required"),
        }
        smtp_builder(url).map_err(|_| "expected an smtps:// or smtp:// URL")?;
        let from = from
            .parse::<Mailbox>()
            .map_err(|_| "expected a sender such as KairosRoute <noreply@example.com>")?;
        Ok(Self { url: Secret::new(url.to_owned()), from, timeout })
    }
}

/// One message to one person.
#[derive(Clone)]
pub struct Mail {
    pub to: String,
    pub subject: String,
    pub text: String,
    /// For a message that may be sent twice: the same id for both, so that mail programs show one. Letters, digits,
    /// `_`.
    pub id: Option<String>,
}

/// Why a message was not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MailError {
    /// Another try would have the same result.
    #[error("the mail server refused the message")]
    Refused,
    #[error("the mail server could not be reached")]
    Unreachable,
    #[error("too many messages wait to be sent")]
    Full,
}

/// Sends messages. Clones share one queue; the thread ends with the last of them.
#[derive(Clone)]
pub struct Mailer(mpsc::Sender<Job>);

struct Job {
    mail: Mail,
    /// Set if the caller waits for the result: then there is one try.
    reply: Option<oneshot::Sender<Result<(), MailError>>>,
}

impl Mailer {
    /// Starts the thread that sends.
    pub fn start(settings: &MailSettings) -> anyhow::Result<Self> {
        let builder =
            smtp_builder(settings.url.expose()).map_err(|_| anyhow::anyhow!("KAIROSROUTE_SMTP_URL"))?;
        let transport: AsyncSmtpTransport<Tokio1Executor> = builder.timeout(Some(settings.timeout)).build();
        let sender = Sender { transport, from: settings.from.clone() };
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new()
            .name("mail".to_owned())
            .spawn(move || runtime.block_on(run(sender, jobs)))?;
        Ok(Self(queue))
    }

    /// Sends a message in one try, and returns the result.
    pub async fn send(&self, mail: Mail) -> Result<(), MailError> {
        let (reply, outcome) = oneshot::channel();
        self.0.try_send(Job { mail, reply: Some(reply) }).map_err(|_| MailError::Full)?;
        outcome.await.unwrap_or(Err(MailError::Unreachable))
    }

    /// Queues a message, with several tries. The call takes the same time for every result.
    pub fn queue(&self, mail: Mail) -> Result<(), MailError> {
        self.0.try_send(Job { mail, reply: None }).map_err(|_| MailError::Full)
    }
}

async fn run(sender: Sender, mut jobs: mpsc::Receiver<Job>) {
    let sender = std::sync::Arc::new(sender);
    let mut sending = tokio::task::JoinSet::new();
    while let Some(job) = jobs.recv().await {
        while sending.len() >= SENDING_MAX {
            sending.join_next().await;
        }
        let sender = sender.clone();
        sending.spawn(async move { sender.carry_out(job).await });
    }
    sending.join_all().await;
}

struct Sender {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Sender {
    async fn carry_out(&self, job: Job) {
        if let Some(reply) = job.reply {
            // The caller may no longer wait.
            let _ = reply.send(self.send(&job.mail).await);
            return;
        }
        let mut outcome = self.send(&job.mail).await;
        for pause in PAUSES {
            if outcome != Err(MailError::Unreachable) {
                break;
            }
            tokio::time::sleep(pause).await;
            outcome = self.send(&job.mail).await;
        }
        if let Err(error) = outcome {
            tracing::warn!(error.cause = %error, "an e-mail was not sent");
        }
    }

    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let message = message(&self.from, mail).ok_or(MailError::Refused)?;
        match self.transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_permanent() => Err(MailError::Refused),
            Err(_) => Err(MailError::Unreachable),
        }
    }
}

/// `None`: the address is invalid.
fn message(from: &Mailbox, mail: &Mail) -> Option<Message> {
    let to: Address = mail.to.parse().ok()?;
    let subject: String =
        mail.subject.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    let id = mail.id.as_ref().map(|id| format!("<{id}@{}>", from.email.domain()));
    let builder = Message::builder().from(from.clone()).to(Mailbox::new(None, to)).subject(subject);
    builder.message_id(id).header(ContentType::TEXT_PLAIN).body(mail.text.clone()).ok()
}

fn smtp_builder(url: &str) -> Result<smtp::AsyncSmtpTransportBuilder, smtp::Error> {
    AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
}

#[cfg(test)]
mod tests;
