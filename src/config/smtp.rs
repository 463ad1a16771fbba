//! The settings of e-mail. Off unless a mail server is given, which needs a sender, and an address for links.

use super::reader::Reader;
use crate::mail::MailSettings;

impl Reader<'_> {
    /// `None`: no e-mail is sent.
    pub(super) fn smtp(&mut self) -> Option<MailSettings> {
        let (url, from) = (self.text("KAIROSROUTE_SMTP_URL"), self.text("KAIROSROUTE_SMTP_FROM"));
        let timeout = self.millis("KAIROSROUTE_SMTP_TIMEOUT_MS");
        if url.is_some() != from.is_some() {
            self.errors.push("KAIROSROUTE_SMTP_URL and KAIROSROUTE_SMTP_FROM are needed together".to_owned());
        }
        let (url, from) = (url?, from?);
        if self.text("KAIROSROUTE_PUBLIC_URL").is_none() {
            let reason =
                "KAIROSROUTE_SMTP_URL needs KAIROSROUTE_PUBLIC_URL: e-mail contains links to the dashboard";
            self.errors.push(reason.to_owned());
        }
        match MailSettings::read(&url, &from, timeout) {
            Ok(settings) => Some(settings),
            Err(reason) => {
                self.errors.push(format!("KAIROSROUTE_SMTP_URL, KAIROSROUTE_SMTP_FROM: {reason}"));
                None
            }
        }
    }
}
