//! What a field of an account call may hold. Every text that is stored passes here: PostgreSQL refuses NUL,
//! and control characters have no business in a name.

use super::AccountError;
use crate::domain::secret::Secret;

const NAME_CHARS_MAX: usize = 200;
const EMAIL_BYTES_MAX: usize = 320;
const PASSWORD_BYTES_MIN: usize = 8;
const PASSWORD_BYTES_MAX: usize = 1_024;
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

/// An e-mail address, trimmed and in lower case.
pub fn email(text: &str) -> Result<String, AccountError> {
    let text = text.trim();
    let parts_ok = text
        .split_once('@')
        .is_some_and(|(local, host)| !local.is_empty() && !host.is_empty() && !host.contains('@'));
    let chars_ok = !text.chars().any(|c| c.is_control() || c.is_whitespace());
    if !parts_ok || !chars_ok || text.len() > EMAIL_BYTES_MAX {
        return Err(AccountError::invalid("email", "`email` must be an e-mail address"));
    }
    Ok(text.to_ascii_lowercase())
}

/// A password of acceptable length, as it is.
pub fn password(secret: &Secret) -> Result<(), AccountError> {
    if (PASSWORD_BYTES_MIN..=PASSWORD_BYTES_MAX).contains(&secret.expose().len()) {
        return Ok(());
    }
    let message = format!("`password` must have {PASSWORD_BYTES_MIN} to {PASSWORD_BYTES_MAX} bytes");
    Err(AccountError::invalid("password", message))
}

/// A provider key: trimmed, visible ASCII, for it has to fit into a header.
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
        for bad in ["", "ann", "@x", "ann@", "a@b@c", "a b@c", "a\0@b"] {
            assert!(email(bad).is_err(), "{bad:?}");
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
    fn passwords_have_8_to_1024_bytes() {
        for (length, fits) in [(7, false), (8, true), (1_024, true), (1_025, false)] {
            assert_eq!(password(&Secret::new("x".repeat(length))).is_ok(), fits);
        }
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
