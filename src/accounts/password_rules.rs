//! Refuses passwords that are guessed first: short ones, and those that consist of common words, keyboard rows,
//! sequences, repetitions and the account's own address. The rest without these pieces counts.

use super::AccountError;
use crate::domain::secret::Secret;

const BYTES_MIN: usize = 8;
const BYTES_MAX: usize = 1_024;
/// Minimum characters, where every common piece counts as one.
const STRENGTH_MIN: usize = 5;
/// How many characters of a password are judged. Later ones can only make it stronger.
const JUDGED_CHARS_MAX: usize = 64;
/// Minimum consecutive characters that count as a row or a sequence.
const RUN_MIN: usize = 3;

/// Words at the beginning of lists of leaked passwords, in lower case and without substitutions; the longest match is
/// used.
const WORDS: &[&str] = &[
    "aaron",
    "abc",
    "access",
    "admin",
    "administrator",
    "alexander",
    "amanda",
    "america",
    "andrea",
    "andrew",
    "angel",
    "anthony",
    "apple",
    "arsenal",
    "asdf",
    "ashley",
    "austin",
    "autumn",
    "babygirl",
    "bailey",
    "banana",
    "baseball",
    "basketball",
    "batman",
    "biteme",
    "blink",
    "bond",
    "brandon",
    "bubbles",
    "buster",
    "butterfly",
    "changeme",
    "charlie",
    "cheese",
    "chelsea",
    "chocolate",
    "computer",
    "cookie",
    "corvette",
    "cowboy",
    "dallas",
    "daniel",
    "default",
    "diamond",
    "dolphin",
    "dragon",
    "eagles",
    "elephant",
    "ferrari",
    "flower",
    "football",
    "forever",
    "freedom",
    "friday",
    "friends",
    "fuckyou",
    "gateway",
    "george",
    "ginger",
    "google",
    "guest",
    "hallo",
    "hannah",
    "harley",
    "heather",
    "hello",
    "hockey",
    "hunter",
    "iceman",
    "iloveyou",
    "internet",
    "jackson",
    "jasmine",
    "jennifer",
    "jessica",
    "jordan",
    "joshua",
    "justin",
    "kairosroute",
    "killer",
    "klaster",
    "letmein",
    "liverpool",
    "login",
    "london",
    "love",
    "lovely",
    "maggie",
    "manager",
    "marina",
    "martin",
    "master",
    "matrix",
    "matthew",
    "mercedes",
    "merlin",
    "michael",
    "michelle",
    "midnight",
    "monday",
    "monkey",
    "mustang",
    "newyork",
    "nicole",
    "nothing",
    "october",
    "office",
    "operator",
    "orange",
    "pass",
    "passw",
    "passwd",
    "password",
    "passwort",
    "patrick",
    "peanut",
    "pepper",
    "phoenix",
    "pokemon",
    "princess",
    "purple",
    "qazwsx",
    "qwer",
    "qwerty",
    "qwertz",
    "rainbow",
    "ranger",
    "richard",
    "robert",
    "rockyou",
    "root",
    "samantha",
    "samsung",
    "secret",
    "server",
    "shadow",
    "silver",
    "snoopy",
    "soccer",
    "spring",
    "starwars",
    "steelers",
    "summer",
    "sunday",
    "sunshine",
    "superman",
    "superuser",
    "system",
    "taylor",
    "tester",
    "test",
    "thomas",
    "thunder",
    "tigger",
    "trustno",
    "user",
    "victoria",
    "welcome",
    "whatever",
    "william",
    "winter",
    "yellow",
    "zaqwsx",
    "zxcvbn",
];

/// Rows of keyboards and alphabets: consecutive characters of one of them, in either direction, are easy to guess.
const ROWS: &[&str] = &[
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "qwertyuiop",
    "qwertzuiop",
    "azertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "yxcvbnm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
    "qazwsxedcrfvtgbyhnujm",
    "!@#$%^&*()",
    "1q2w3e4r5t6y7u8i9o0p",
    "147258369",
    "159357",
    "789456123",
];

/// Checks a new password. `email` is the account's own address.
pub fn check(param: &str, secret: &Secret, email: &str) -> Result<(), AccountError> {
    let text = secret.expose();
    if !fits_length(secret) {
        let message = format!("`{param}` must have {BYTES_MIN} to {BYTES_MAX} bytes");
        return Err(AccountError::invalid(param, message));
    }
    let (local, host) = email.split_once('@').unwrap_or((email, ""));
    let own: Vec<Vec<char>> = local
        .split(|c: char| !c.is_alphanumeric())
        .chain(host.split('.'))
        .chain([local, host, email])
        .filter(|word| word.chars().count() >= RUN_MIN)
        .map(|word| plain(word.to_lowercase().chars()))
        .collect();
    if strength(text, &own) < STRENGTH_MIN {
        let message = format!(
            "`{param}` is too easy to guess: it consists of common words, sequences, repetitions or your address; \
             use several unrelated words or a password manager"
        );
        return Err(AccountError::invalid(param, message));
    }
    Ok(())
}

/// Whether a given password could exist at all.
pub fn fits_length(secret: &Secret) -> bool {
    (BYTES_MIN..=BYTES_MAX).contains(&secret.expose().len())
}

/// The number of characters of a password, where each common piece counts as one.
fn strength(text: &str, own: &[Vec<char>]) -> usize {
    let letters: Vec<char> = text.chars().take(JUDGED_CHARS_MAX).flat_map(char::to_lowercase).collect();
    let plain_letters = plain(letters.iter().copied());
    let (mut at, mut strength) = (0, 0);
    let mut distinct: Vec<char> = Vec::new();
    while let Some(letter) = letters.get(at) {
        let rest = letters.get(at..).unwrap_or_default();
        let plain_rest = plain_letters.get(at..).unwrap_or_default();
        at += [word(plain_rest, own), run(rest), repetition(&letters, at), year(rest)]
            .into_iter()
            .max()
            .unwrap_or(0)
            .max(1);
        strength += 1;
        if !distinct.contains(letter) {
            distinct.push(*letter);
        }
    }
    // A few characters in many orders are also easy to guess.
    strength.min(distinct.len() + 2)
}

/// Replaces the digits and signs that commonly stand for letters.
fn plain(letters: impl Iterator<Item = char>) -> Vec<char> {
    letters
        .map(|letter| match letter {
            '0' => 'o',
            '1' | '!' | '|' => 'i',
            '3' => 'e',
            '4' | '@' => 'a',
            '5' | '$' => 's',
            '7' => 't',
            letter => letter,
        })
        .collect()
}

/// The length of the longest common word, or word of the address, that the text begins with.
fn word(rest: &[char], own: &[Vec<char>]) -> usize {
    let begins = |word: &str| {
        let length = word.chars().count();
        // `1` also replaces `l`, and is read as `i`.
        let same = |(own, other): (char, &char)| own == *other || (own == 'l' && *other == 'i');
        (rest.len() >= length && word.chars().zip(rest).all(same)).then_some(length)
    };
    let common = WORDS.iter().filter_map(|word| begins(word)).max();
    let own = own.iter().filter(|word| rest.starts_with(word)).map(Vec::len).max();
    common.max(own).unwrap_or(0)
}

/// The length of the row or sequence that the text begins with.
fn run(rest: &[char]) -> usize {
    let along = |row: Vec<char>| {
        let starts = row.iter().enumerate().filter(|(_, letter)| Some(*letter) == rest.first());
        let length =
            |(start, _): (usize, &char)| row.iter().skip(start).zip(rest).take_while(|(a, b)| a == b).count();
        starts.map(length).max().unwrap_or(0)
    };
    let both = |row: &&str| along(row.chars().collect()).max(along(row.chars().rev().collect()));
    ROWS.iter().map(both).max().filter(|length| *length >= RUN_MIN).unwrap_or(0)
}

/// The length of a repetition of the text directly before it, with any period.
fn repetition(letters: &[char], at: usize) -> usize {
    let length = |period: usize| {
        let earlier = letters.iter().skip(at - period);
        let here = letters.iter().skip(at);
        let same = earlier.zip(here).take_while(|(a, b)| a == b).count();
        if same >= period { same } else { 0 }
    };
    (1..=at).map(length).max().unwrap_or(0)
}

/// Four digits of a year in the last or this century.
fn year(rest: &[char]) -> usize {
    let digits: String = rest.iter().take(4).collect();
    match digits.parse::<u32>() {
        Ok(1900..=2099) => 4,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(password: &str) -> bool {
        check("password", &Secret::new(password.to_owned()), "ann.smith@acme-corp.example").is_err()
    }

    #[test]
    fn common_and_easily_guessed_passwords_are_refused() {
        for weak in [
            "",
            "short",
            "1234567",
            "12345678",
            "123456789",
            "1234567890",
            "87654321",
            "password",
            "Password",
            "PASSWORD1",
            "password123",
            "password1234",
            "P@ssw0rd",
            "P@ssw0rd123!",
            "passw0rd2024",
            "qwertyui",
            "qwertyuiop",
            "qwerty123",
            "1q2w3e4r",
            "1qaz2wsx",
            "zaq12wsx",
            "asdfghjkl",
            "abcdefgh",
            "abcd1234",
            "aaaaaaaa",
            "11111111",
            "abababab",
            "abcabcabc",
            "iloveyou",
            "iloveyou1",
            "letmein1",
            "letmein123",
            "welcome1",
            "Welcome2025!",
            "sunshine",
            "princess1",
            "admin123",
            "administrator",
            "adminadmin",
            "changeme",
            "changeme123",
            "football1",
            "superman",
            "trustno1",
            "summer2026",
            "monkey123",
            "ann.smith",
            "annsmith1",
            "smith2026",
            "acme-corp1",
            "ann.smith@acme-corp.example",
            "        ",
            "passwordpassword",
            "testtest",
            "test1234",
            "00000000",
            "secret123",
            "kairosroute1",
            "dragon12",
        ] {
            assert!(is_refused(weak), "{weak}");
        }
    }

    #[test]
    fn several_words_and_random_characters_are_accepted() {
        for fine in [
            "correct horse battery staple",
            "operator password 1",
            "k7#vQ2pz",
            "tr0ub4dor&3x",
            "Zebra-Umbrella-9",
            "ünïcödé-wörds",
            "f3a9c1d07be24455",
            "longenough phrase",
            "не угадать никому",
        ] {
            assert!(!is_refused(fine), "{fine}");
        }
    }

    #[test]
    fn passwords_have_8_to_1024_bytes() {
        let long = |bytes: usize| "correct horse battery staple ".repeat(40).get(..bytes).unwrap().to_owned();
        for (length, fits) in [(7, false), (1_024, true), (1_025, false)] {
            assert_eq!(!is_refused(&long(length)), fits, "{length}");
        }
    }
}
