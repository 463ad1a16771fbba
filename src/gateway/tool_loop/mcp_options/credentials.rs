//! Credentials of a server that were sealed for this gateway: `{connection: envelope}`. Each becomes a header for the
//! server.

use super::{headers::is_settable, invalid, owner_of};
use crate::{
    dialect::{
        Invalid,
        json::{Kind, Raw},
    },
    domain::secret::Secret,
    mcp::{Server, sealed::Opener},
    providers::transport::Url,
};

/// Maximum for one server: each costs the time of a decryption.
const ENVELOPES_MAX: usize = 2;

/// Opens them and adds them to the headers of the server that they were sent with.
pub(super) fn open(
    sealed: Raw<'_>,
    path: &str,
    opener: Option<&Opener>,
    server: &mut Server,
) -> Result<(), Invalid> {
    let Some(opener) = opener else {
        let message = format!(
            "`{path}` are sealed, and this gateway has no key for them: give the server's own `headers`"
        );
        return Err(invalid(path, message));
    };
    let members = sealed.members();
    if sealed.kind() != Kind::Object || members.len() > ENVELOPES_MAX {
        let message = format!("`{path}` must be an object of at most {ENVELOPES_MAX} sealed envelopes");
        return Err(invalid(path, message));
    }
    for (number, member) in members.iter().enumerate() {
        // The client chooses the connection's name freely, so its position identifies it in messages.
        let refused =
            |why: String| invalid(path, format!("`{path}`: envelope {} {why}", number.saturating_add(1)));
        let text = member.value.text().ok_or_else(|| refused("is not a string".to_owned()))?;
        let credential = opener.open(&text).map_err(|error| refused(error.to_string()))?;
        // It was sealed for one server; a server with another name does not get it.
        let host = Url::parse(&server.url).ok().and_then(|url| url.host_str().map(str::to_owned));
        if credential.host.is_some() && credential.host != host {
            return Err(refused("is for another host than this server's".to_owned()));
        }
        if !is_settable(&credential.header, owner_of(server)) {
            return Err(refused("is for a header that is not the caller's to set".to_owned()));
        }
        add(&mut server.headers, credential.header, credential.value)
            .map_err(|()| refused("is for a header that the server has already".to_owned()))?;
    }
    Ok(())
}

fn add(headers: &mut Vec<(String, Secret)>, name: String, value: Secret) -> Result<(), ()> {
    if headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name)) {
        return Err(());
    }
    headers.push((name, value));
    Ok(())
}
