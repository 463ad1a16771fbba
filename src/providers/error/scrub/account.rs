//! Removes from a provider's message about a request on a platform key everything that identifies the operator's
//! account: keys (also masked ones), ids of organizations, projects, users and teams, e-mail addresses.

/// Replaces an identifier.
const MARK: &str = "[redacted]";
/// Prefixes of identifiers, in lower case.
const BEGINNINGS: &[&str] = &[
    "org-",
    "org_",
    "organization-",
    "organization_",
    "proj-",
    "proj_",
    "project-",
    "project_",
    "projects/",
    "organizations/",
    "user-",
    "user_",
    "usr_",
    "acct_",
    "acct-",
    "account-",
    "account_",
    "accounts/",
    "team-",
    "team_",
    "teams/",
    "workspace-",
    "workspace_",
    "wrkspc_",
    "tenant-",
    "tenant_",
    "apikey_",
    "api_key_",
    "key_",
    "cus_",
    "sess-",
    "sk-",
    "sk_",
    "pk-",
    "pk_",
    "gsk_",
    "xai-",
    "pplx-",
    "csk-",
    "fw_",
    "aiza",
    "ya29.",
    "tgp_v1_",
    "bearer-",
];
/// Words that an identifier without a prefix follows.
const WORDS: &[&str] = &[
    "organization",
    "organisation",
    "org",
    "project",
    "account",
    "team",
    "workspace",
    "tenant",
    "user",
    "key",
    "project_number",
    "project_id",
    "consumer",
    "id",
    "number",
];
/// Minimum characters of an identifier after its prefix.
const REST_MIN: usize = 4;

/// The message with a placeholder for each identifier.
pub fn without_account(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    let (mut rest, mut before) = (message, "");
    while let Some(letter) = rest.chars().next() {
        if !is_of_token(letter) {
            let (one, after) = rest.split_at(letter.len_utf8());
            out.push_str(one);
            rest = after;
            continue;
        }
        let end = rest.find(|letter| !is_of_token(letter)).unwrap_or(rest.len());
        let (token, after) = rest.split_at(end);
        // The full stop and commas of a sentence do not belong to an identifier.
        let core = token.trim_end_matches(['.', '/', ':']);
        if identifies(core, before) {
            out.push_str(MARK);
            out.push_str(token.get(core.len()..).unwrap_or_default());
        } else {
            out.push_str(token);
        }
        before = core;
        rest = after;
    }
    out
}

fn is_of_token(letter: char) -> bool {
    letter.is_alphanumeric() || "-_./:@*+%…•".contains(letter)
}

fn identifies(token: &str, before: &str) -> bool {
    let lower = token.to_lowercase();
    // Addresses of documentation help the reader, and their parts are not identifiers.
    if lower.starts_with("http:") || lower.starts_with("https:") || lower.starts_with("www.") {
        return false;
    }
    lower.split([':', '=']).any(is_identifier)
        || lower.split('/').any(is_identifier)
        || (is_opaque(&lower) && follows_word(&lower, before))
}

fn is_identifier(part: &str) -> bool {
    let begins = |beginning: &&str| {
        part.strip_prefix(*beginning).is_some_and(|rest| {
            let length = rest.chars().count();
            // `project_id` and `user_error` are words; identifiers contain digits or are masked.
            length >= REST_MIN
                && (rest.contains(|c: char| c.is_ascii_digit() || "*…•".contains(c)) || length >= 16)
        })
    };
    BEGINNINGS.iter().any(begins) || is_uuid(part) || is_email(part)
}

fn is_uuid(part: &str) -> bool {
    let groups: Vec<&str> = part.split('-').collect();
    let lengths = groups.iter().map(|group| group.len());
    lengths.eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_email(part: &str) -> bool {
    part.split_once('@').is_some_and(|(local, host)| !local.is_empty() && host.contains('.'))
}

/// Letters and digits mixed, a long number, or a masked text.
fn is_opaque(token: &str) -> bool {
    let core = token.rsplit(':').next().unwrap_or(token);
    let digits = core.chars().filter(char::is_ascii_digit).count();
    let length = core.chars().count();
    core.contains("**")
        || (digits == length && length >= 6)
        || (digits >= 3 && length >= 12 && core.chars().all(|c| c.is_alphanumeric() || "-_".contains(c)))
}

fn follows_word(token: &str, before: &str) -> bool {
    let before = before.to_lowercase();
    let word = before.rsplit([':', '/']).find(|word| !word.is_empty()).unwrap_or("");
    let own = token.split_once(':').map_or("", |(word, _)| word);
    WORDS.contains(&word) || WORDS.contains(&own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_of_the_account_are_taken_out_of_a_message() {
        for (message, told) in [
            (
                "Rate limit reached for gpt-4o in organization org-AbC123def456 on tokens per min (TPM): Limit 30000",
                "Rate limit reached for gpt-4o in organization [redacted] on tokens per min (TPM): Limit 30000",
            ),
            ("Project `proj_9xYz81Qw` does not have access", "Project `[redacted]` does not have access"),
            ("Incorrect API key provided: sk-proj-********wxYZ.", "Incorrect API key provided: [redacted]."),
            (
                "Quota exceeded for consumer 'project_number:123456789012'.",
                "Quota exceeded for consumer '[redacted]'.",
            ),
            ("projects/123456789/locations/global", "[redacted]"),
            ("user ann@corp.example has no credit", "user [redacted] has no credit"),
            (
                "team 5f0f2f6e-8f2b-4f0e-9c53-0a2b6f7c1d2e is out of credit",
                "team [redacted] is out of credit",
            ),
            ("API key AIzaSyD4x8k2m1 expired", "API key [redacted] expired"),
            ("account 00123456 is suspended", "account [redacted] is suspended"),
        ] {
            assert_eq!(without_account(message), told);
        }
    }

    #[test]
    fn what_helps_the_caller_stays() {
        for message in [
            "This model's maximum context length is 128000 tokens. However, your messages resulted in 200012 tokens.",
            "Invalid type for 'messages[0].content': expected a string, but got an integer instead.",
            "The model `gpt-5.4-mini-2026-03-01` does not exist; see https://platform.openai.com/docs/models/gpt-4o.",
            "max_tokens: must be less than 8192; org policy or project settings, user_error, key_not_found, team-mates",
            "Unknown parameter: 'user_id'. tool_call_id call_abc123 has no response, req_011CQx",
            "temperature must be between 0 and 2 (claude-sonnet-4-20250514)",
        ] {
            assert_eq!(without_account(message), message);
        }
    }
}
