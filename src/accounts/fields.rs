//! The allowed values of a field in an account call. Every stored text is checked here: PostgreSQL refuses NUL, and
//! control characters are not allowed in a name.

use super::AccountError;
use crate::domain::secret::Secret;
use reqwest::Url;
use unicode_normalization::UnicodeNormalization;

const NAME_CHARS_MAX: usize = 200;
const EMAIL_BYTES_MAX: usize = 320;
const KEY_BYTES_MAX: usize = 512;
const LIST_ITEMS_MAX: usize = 100;

/// A name of 1 to 200 characters, trimmed.
pub fn name(param: &str, text: &str) -> Result<String, AccountError> {
    let text = text.trim();
    let length = text.chars().count();
    if length == 0 || length > NAME_CHARS_MAX || text.chars().any(char::is_control) {
        let message =
            format!("`{param}` must have 1 to {NAME_CHARS_MAX} characters and no control characters");
        return Err(AccountError::invalid(param, message));
    }
    Ok(text.to_owned())
}

/// A label of up to 200 characters, trimmed; may be empty.
pub fn label(param: &str, text: &str) -> Result<String, AccountError> {
    if text.trim().is_empty() { Ok(String::new()) } else { name(param, text) }
}

/// An e-mail address in one form: NFKC, lower case, the host as in the DNS. Two spellings of one address are one
/// account, and invisible characters are refused.
pub fn email(text: &str) -> Result<String, AccountError> {
    normalised_email(text).ok_or_else(|| AccountError::invalid("email", "`email` must be an e-mail address"))
}

fn normalised_email(text: &str) -> Option<String> {
    let text = text.trim();
    if text.len() > EMAIL_BYTES_MAX || text.chars().any(is_invisible) {
        return None;
    }
    // The lower case form may itself need normalisation: normalised before and after.
    let text: String = text.nfkc().flat_map(char::to_lowercase).nfkc().collect();
    let (local, host) = text.rsplit_once('@')?;
    let local_fits = !local.is_empty()
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.chars().any(|c| c == '@' || c.is_whitespace() || is_invisible(c));
    let host = host_name(host)?;
    let email = format!("{local}@{host}");
    (local_fits && email.len() <= EMAIL_BYTES_MAX).then_some(email)
}

/// A host's name in ASCII, international labels as Punycode.
fn host_name(host: &str) -> Option<String> {
    let is_separator = |c: char| c.is_whitespace() || "/?#:\\@[]%".contains(c);
    if host.is_empty() || host.starts_with('.') || host.ends_with('.') || host.contains(is_separator) {
        return None;
    }
    let url = Url::parse(&format!("http://{host}/")).ok()?;
    url.host_str().filter(|host| !host.is_empty() && !host.contains("..")).map(str::to_owned)
}

/// Control characters, and characters that Unicode allows to be invisible (Default_Ignorable_Code_Point).
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffd}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// A provider key: trimmed, visible ASCII, because it must fit into a header.
pub fn provider_key(param: &str, secret: &Secret) -> Result<Secret, AccountError> {
    let text = secret.expose().trim();
    if text.is_empty() || text.len() > KEY_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = format!("A key in `{param}` must have 1 to {KEY_BYTES_MAX} visible ASCII characters");
        return Err(AccountError::invalid(param, message));
    }
    Ok(Secret::new(text.to_owned()))
}

/// A list of model names, without repetitions.
pub fn models(param: &str, list: &[String]) -> Result<Vec<String>, AccountError> {
    let mut models: Vec<String> = Vec::new();
    for model in list.iter().map(|model| model.trim()) {
        let fits =
            (1..=NAME_CHARS_MAX).contains(&model.len()) && model.bytes().all(|byte| byte.is_ascii_graphic());
        if !fits {
            let message =
                format!("`{param}` must hold model names of up to {NAME_CHARS_MAX} visible characters");
            return Err(AccountError::invalid(param, message));
        }
        if !models.iter().any(|known| known == model) {
            models.push(model.to_owned());
        }
    }
    if models.len() > LIST_ITEMS_MAX {
        return Err(AccountError::invalid(
            param,
            format!("`{param}` may hold up to {LIST_ITEMS_MAX} models"),
        ));
    }
    Ok(models)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_email_is_trimmed_and_lower_cased_and_must_look_like_one() {
        assert_eq!(email("  Ann@Example.COM ").unwrap(), "ann@example.com");
        for bad in
            ["", "ann", "@x", "ann@", "a@b@c", "a b@c", "a\0@b", "a@b.", "a@.b", ".a@b", "a@b/c", "a@b:80"]
        {
            assert!(email(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn spellings_of_one_address_are_one_and_invisible_characters_are_refused() {
        for (spelling, address) in [
            ("\u{212a}elvin@example.com", "kelvin@example.com"),
            ("\u{ff21}nn@example.com", "ann@example.com"),
            ("ann@ex\u{ff41}mple\u{ff0e}com", "ann@example.com"),
            ("e\u{301}va@example.com", "\u{e9}va@example.com"),
            ("\u{c9}VA@example.com", "\u{e9}va@example.com"),
            ("ann@B\u{dc}CHER.example", "ann@xn--bcher-kva.example"),
            ("ann@xn--bcher-kva.example", "ann@xn--bcher-kva.example"),
        ] {
            assert_eq!(email(spelling).unwrap(), address);
        }
        for hidden in
            ['\u{200b}', '\u{200d}', '\u{2060}', '\u{feff}', '\u{ad}', '\u{202e}', '\u{e0061}', '\u{fe0f}']
        {
            let spellings = [
                format!("ann{hidden}@example.com"),
                format!("ann@exam{hidden}ple.com"),
                format!("{hidden}ann@example.com{hidden}"),
            ];
            for bad in spellings {
                assert!(email(&bad).is_err(), "{bad:?}");
            }
        }
    }

    #[test]
    fn a_provider_key_is_trimmed_and_refused_when_no_header_could_hold_it() {
        let key = |text: &str| provider_key("providerKeys", &Secret::new(text.to_owned()));
        assert_eq!(key(" sk-x\n").unwrap().expose(), "sk-x");
        for bad in ["", "  ", "a b", "a\nb", "é", &"x".repeat(513)] {
            assert!(key(bad).is_err());
        }
        assert!(key(&"x".repeat(512)).is_ok());
    }

    #[test]
    fn names_hold_no_control_characters() {
        assert_eq!(name("name", " a ").unwrap(), "a");
        assert!(name("name", "a\0b").is_err());
        assert!(name("name", " ").is_err());
        assert!(name("name", &"é".repeat(200)).is_ok());
        assert!(name("name", &"é".repeat(201)).is_err());
    }
}
