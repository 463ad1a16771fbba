//! Removes the key that was sent from a provider's text. The text must not be shortened before the key is removed: a
//! key that a cut divides is not found any more, and most of it remains.

mod account;
mod spellings;

pub(super) use account::without_account;
use std::cell::Cell;

/// Replaces the key.
const MARK: &str = "[key]";
/// The longest run of backslashes that is examined: the longest key, consisting only of backslashes, in JSON within
/// JSON.
const BACKSLASHES_MAX: usize = 4_096;
/// Bytes after the limit that are examined too: a key that begins before the limit, in a long spelling, ends there.
const BEHIND_MAX: usize = 16 * 1024;
/// Maximum bytes that are examined in one text: far more than any text needs that was not made to take long.
const STEPS_MAX: usize = 1_000_000;
/// How a character is written by its number, after a backslash.
const NAMED: &str = "u0000";

/// At most the first `bytes_max` bytes of the text, with a placeholder at every place where the key begins. A key is
/// found unchanged and in JSON that was put into a string (with its characters escaped once or several times), and by
/// its letters and digits in the spellings of [`spellings`]. The key may have any length.
pub fn without_key(text: &str, key: &str, bytes_max: usize) -> String {
    let (text, limit) = without_exact_key(text, key, bytes_max);
    let mut scrubbed = String::with_capacity(text.len().min(bytes_max));
    let mut at = 0;
    for place in spellings::places(&text, key) {
        if place.start >= limit {
            break;
        }
        scrubbed.push_str(text.get(at..place.start).unwrap_or_default());
        scrubbed.push_str(MARK);
        at = place.end;
    }
    // A match that extends over the limit ends the text.
    scrubbed.push_str(text.get(at..limit).unwrap_or_default());
    clipped(scrubbed, bytes_max)
}

/// The text with a placeholder for every exact or escaped key in the examined part, and how much of it may be shown.
fn without_exact_key(text: &str, key: &str, bytes_max: usize) -> (String, usize) {
    // A key may itself look like an escaped text, so it is searched in both readings.
    let letters: Vec<char> = key.chars().filter(|letter| *letter != '\\').collect();
    let seeming: Vec<char> = unescaped(key, &Cell::new(0)).map(|(letter, _)| letter).collect();
    let readings = if seeming == letters { vec![letters] } else { vec![letters, seeming] };
    let steps = Cell::new(0);
    let mut scrubbed = String::with_capacity(text.len().min(bytes_max.saturating_add(BEHIND_MAX)));
    let (mut rest, mut limit) = (text, None);
    // The limit applies to the examined part and not to the shown part: placeholders are shorter than keys, and the
    // free space is not filled from the rest. A text that was cut far behind the limit therefore cannot end in a part
    // of a key here. A text that takes too long is cut at the point where this became known.
    while text.len() - rest.len() < bytes_max.saturating_add(BEHIND_MAX)
        && steps.get() < STEPS_MAX
        && let Some(letter) = rest.chars().next()
    {
        if limit.is_none() && text.len() - rest.len() >= bytes_max {
            limit = Some(scrubbed.len());
        }
        let (piece, taken) = match key_at(rest, key, &readings, &steps) {
            Some(taken) => (MARK, taken),
            None => {
                rest.split_at_checked(letter.len_utf8()).map_or(("", rest.len()), |(one, _)| (one, one.len()))
            }
        };
        scrubbed.push_str(piece);
        rest = rest.get(taken..).unwrap_or_default();
    }
    let limit = limit.unwrap_or(scrubbed.len());
    (scrubbed, limit)
}

/// Cuts at a character boundary.
pub fn clipped(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

/// The bytes of the key if the text begins with it.
fn key_at(text: &str, key: &str, readings: &[Vec<char>], steps: &Cell<usize>) -> Option<usize> {
    let escaped = readings.iter().find_map(|letters| letters_at(text, letters, steps));
    let taken = escaped.or_else(|| text.starts_with(key).then_some(key.len()))?;
    // Backslashes at its own end belong to no character.
    let tail = if key.ends_with('\\') { backslashes(text.get(taken..).unwrap_or_default()) } else { 0 };
    Some(taken + tail).filter(|taken| *taken > 0)
}

/// The bytes of these characters if the text begins with them.
fn letters_at(text: &str, letters: &[char], steps: &Cell<usize>) -> Option<usize> {
    let mut found = unescaped(text, steps);
    letters.iter().try_fold(0, |_, letter| found.next().filter(|(own, _)| own == letter).map(|(_, end)| end))
}

/// The characters of a text, each with its end; an escaped character, with any number of backslashes, counts as itself.
/// Backslashes are never returned: none can be distinguished from an escape. `steps` counts the examined bytes.
fn unescaped<'t>(text: &'t str, steps: &'t Cell<usize>) -> impl Iterator<Item = (char, usize)> + 't {
    let mut at = 0;
    std::iter::from_fn(move || {
        let run = backslashes(text.get(at..)?);
        steps.set(steps.get().saturating_add(run).saturating_add(1));
        let escaped = text.get(at + run..)?;
        let letter = escaped.chars().next().filter(|letter| *letter != '\\')?;
        let (letter, length) = match unicode(escaped).filter(|_| run > 0) {
            Some(named) => (named, NAMED.len()),
            None => (letter, letter.len_utf8()),
        };
        at += run + length;
        Some((letter, at))
    })
}

/// The bytes of the backslashes at the start of the text, including those written by number.
fn backslashes(text: &str) -> usize {
    let mut run = 0;
    while run < BACKSLASHES_MAX
        && let Some(rest) = text.get(run..)
    {
        match rest.strip_prefix('\\') {
            Some(_) => run += 1,
            None if run > 0 && unicode(rest) == Some('\\') => run += NAMED.len(),
            None => break,
        }
    }
    run
}

/// The character of `u` and four digits.
fn unicode(escaped: &str) -> Option<char> {
    let digits = escaped.strip_prefix('u')?.get(..NAMED.len() - 1)?;
    let digits = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    char::from_u32(u32::from_str_radix(digits, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*, sample::select};

    /// The JSON string form, escaped this many times; with `\u` for every character the first time, if requested.
    fn spelled(key: &str, times: usize, by_number: bool) -> String {
        let json = |text: &str| {
            let quoted = serde_json::to_string(text).unwrap();
            quoted[1..quoted.len() - 1].replace('/', "\\/")
        };
        let first = match by_number {
            true => key.chars().map(|letter| format!("\\u{:04x}", u32::from(letter))).collect(),
            false => key.to_owned(),
        };
        (0..times).fold(first, |text, _| json(&text))
    }

    #[test]
    fn a_key_is_found_as_it_is_and_in_json_within_json() {
        for (text, scrubbed) in [
            ("Bearer sk-a/b+c= is wrong", "Bearer [key] is wrong"),
            (r#"{"authorization":"Bearer sk-a\/b+c="}"#, r#"{"authorization":"Bearer [key]"}"#),
            (
                r#"{\"authorization\":\"Bearer sk-a\\\/b\u002Bc\\u003d\"}"#,
                r#"{\"authorization\":\"Bearer [key]\"}"#,
            ),
            (r"line\nsk-a/b+c=\n", r"line\n[key]\n"),
            ("sk-a/b+c=sk-a/b+c=", "[key][key]"),
            ("sk-a/b+c", "sk-a/b+c"),
            (r"\\\ end\", r"\\\ end\"),
        ] {
            assert_eq!(without_key(text, "sk-a/b+c=", 2_000), scrubbed);
        }
        // Also short and unusual ones.
        for (text, key, scrubbed) in [
            ("no x here", "x", "no [key] here"),
            (r"a \ b", r"\", "a [key] b"),
            (r"a k\\ b", r"k\", "a [key] b"),
            (r"a k\u0041 b", r"k\u00", "a [key]41 b"),
            (r"a k\\u0041 b", r"k\u0041", "a [key] b"),
            ("nothing", "", "nothing"),
        ] {
            assert_eq!(without_key(text, key, 2_000), scrubbed, "{key}");
        }
    }

    #[test]
    fn what_marks_leave_free_is_not_filled_from_behind() {
        let key = "k".repeat(512);
        let text = key.repeat(8);
        assert_eq!(without_key(&text, &key, 2_000), "[key]".repeat(4));
        assert_eq!(without_key(&"\u{e9}".repeat(5), "k", 3), "\u{e9}");
    }

    /// How a provider, a proxy or a log may write a key.
    fn other_spellings(key: &str) -> Vec<(&'static str, String)> {
        use base64::{Engine, engine::general_purpose as engines};
        let each = |write: &dyn Fn(u8) -> String| key.bytes().map(write).collect::<String>();
        vec![
            ("base64", engines::STANDARD.encode(key)),
            ("base64 without padding", engines::STANDARD_NO_PAD.encode(key)),
            ("base64url", engines::URL_SAFE.encode(key)),
            ("base64 of a header", engines::STANDARD.encode(format!("Bearer {key}"))),
            ("base64 of a pair", engines::STANDARD.encode(format!("ab:{key}\n"))),
            (
                "base64 in lines",
                engines::STANDARD
                    .encode(format!("x{key}"))
                    .as_bytes()
                    .chunks(19)
                    .map(|line| format!("{}\r\n", String::from_utf8_lossy(line)))
                    .collect(),
            ),
            (
                "percent of base64",
                engines::STANDARD.encode(key).replace('=', "%3D").replace('+', "%2B").replace('/', "%2F"),
            ),
            ("hex", each(&|byte| format!("{byte:02x}"))),
            ("HEX", each(&|byte| format!("{byte:02X}"))),
            ("hex apart", each(&|byte| format!("{byte:02x}:"))),
            ("hex of C", each(&|byte| format!("0x{byte:02x}, "))),
            ("percent", each(&|byte| format!("%{byte:02X}"))),
            ("percent twice", each(&|byte| format!("%25{byte:02x}"))),
            ("HTML", each(&|byte| format!("&#{byte};"))),
            ("HTML in hex", each(&|byte| format!("&#x{byte:x};"))),
            ("HTML twice", each(&|byte| format!("&amp;#{byte};"))),
            ("HTML of signs", key.replace('-', "&#45;").replace('_', "&lowbar;")),
            ("JSON by number", each(&|byte| format!("\\u{byte:04x}"))),
            ("backslash x", each(&|byte| format!("\\x{byte:02x}"))),
            ("spaced", each(&|byte| format!("{} ", char::from(byte)))),
            ("in lines", each(&|byte| format!("{}\n", char::from(byte)))),
            ("dotted", each(&|byte| format!("{}.", char::from(byte)))),
            ("upper case", key.to_uppercase()),
            ("lower case", key.to_lowercase()),
            ("without signs", key.replace(['-', '_'], "")),
            ("cut in front", key[6..].to_owned()),
            ("cut behind", key[..key.len() - 6].to_owned()),
        ]
    }

    #[test]
    fn a_key_is_found_in_every_usual_spelling() {
        for key in [
            "sk-proj-Ab12Cd34Ef56Gh78Ij90Kl12Mn34",
            "gsk_0f9e8d7c6b5a49382716054f3e2d1c0b",
            "AIzaSyD-x8k2m1Q_w9e7r5t3y1u0i8o6p4a2",
        ] {
            for (name, spelled) in other_spellings(key) {
                let scrubbed = without_key(&format!("the key: {spelled} was wrong"), key, 2_000);
                let left = scrubbed.replace(MARK, "").replace("the key:", "").replace("was wrong", "");
                let letters = left.chars().filter(char::is_ascii_alphanumeric).count();
                assert!(letters <= 12 && scrubbed.contains(MARK), "{name}: {scrubbed}");
            }
        }
    }

    #[test]
    fn ordinary_text_stays_as_it_is() {
        let key = "sk-proj-Ab12Cd34Ef56Gh78Ij90Kl12Mn34";
        for text in [
            "You exceeded your current quota, please check your plan and billing details.",
            "100% of &lt;b&gt; is 0x41 and \\n C:\\users %20 &#65; &unknown; %zz \\u12 &",
            "project sk-proj keys begin with sk-proj- and are long",
            "\u{e9}\u{1f600} caf\u{e9}",
        ] {
            assert_eq!(without_key(text, key, 2_000), text);
        }
    }

    #[test]
    fn a_spelling_that_the_limit_goes_through_leaves_nothing_behind() {
        let key = "sk-proj-Ab12Cd34Ef56Gh78Ij90Kl12Mn34";
        for (name, spelled) in other_spellings(key) {
            for before in [1_900, 1_990, 1_999] {
                let text = format!("{}{spelled}", "+ ".repeat(before / 2));
                let scrubbed = without_key(&text, key, 2_000);
                let left = scrubbed.replace(['+', ' '], "");
                let left: String =
                    left.replace(MARK, "").chars().filter(char::is_ascii_alphanumeric).collect();
                assert!(left.len() <= 12, "{name}: {left}");
            }
        }
    }

    proptest! {
        // The text around it contains no character of the key: any remaining part of the key is visible.
        #[test]
        fn nothing_of_a_key_is_left_wherever_a_limit_falls(
            key in prop_oneof![vec(b'!'..=b'~', 1..=512), vec(select(b"\\/\"u05c"), 1..40)],
            around in vec(0..2_300_usize, 1..12),
            (times, by_number) in (0..4_usize, any::<bool>()),
            cut in 8_000..40_000_usize,
        ) {
            let key = String::from_utf8(key).unwrap();
            let times = if by_number { times.min(1) } else { times };
            let spelled = spelled(&key, times, by_number);
            let mut text = String::new();
            for length in around {
                text.push_str(&"\u{e9}".repeat(length / 2));
                text.push_str(&spelled);
            }
            let text = clipped(text, cut);
            let scrubbed = without_key(&text, &key, 2_000);
            prop_assert!(scrubbed.len() <= 2_000);
            let left = scrubbed.replace(MARK, "").replace('\u{e9}', "");
            // The last placeholder may itself be cut.
            prop_assert!(MARK.starts_with(&left), "{left}");
        }
    }

    #[test]
    fn a_text_that_is_made_to_take_long_is_cut_short_and_tells_no_key() {
        let key = format!("{}b", "a".repeat(500));
        let text = format!("{}a", "\\".repeat(4_090)).repeat(500);
        let steps = Cell::new(0);
        assert_eq!(letters_at(&text, &key.chars().collect::<Vec<_>>(), &steps), None);
        assert!(steps.get() > STEPS_MAX, "one look at it is enough");
        let scrubbed = without_key(&format!("{text} {key}"), &key, 2_000);
        assert!(scrubbed.len() < 10 && !scrubbed.contains(&key), "{scrubbed}");
        // Text that has no such form is returned whole.
        let usual = "Incorrect API key provided. ".repeat(70);
        assert_eq!(without_key(&usual, &key, 2_000), usual);
    }
}
