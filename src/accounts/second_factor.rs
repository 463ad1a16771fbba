//! Two-factor sign-in: time-based codes (RFC 6238) of an authenticator app, and recovery codes for when it is lost. Once a
//! person has confirmed it, a code is asked for at each log-in, and again with the password before what a borrowed session
//! must not do. No code counts twice; guesses are slowed for each person.

use super::{
    AccountError, Accounts, audit,
    installation::{Installation, KeyedHash},
    throttle::{Network, Subject},
};
use crate::{
    domain::{ambient::Ambient, ids::UserId, secret::Secret},
    store::{
        second_factors::{self, SecondFactor},
        sessions::{self, Person},
        users::User,
    },
    vault::{self, Binding},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sqlx::PgConnection;
use subtle::ConstantTimeEq;
use time::{Duration, OffsetDateTime};
use totp_rs::{Builder, Totp};
use zeroize::Zeroizing;

/// What authenticator apps show the account under.
const ISSUER: &str = "KairosRoute";
/// RFC 4226 asks for 160 bits.
const SECRET_BYTES: usize = 20;
const RECOVERY_CODES: usize = 10;
const RECOVERY_CHARS: usize = 12;
/// Letters and digits that are not mistaken for each other: 5 bits each.
const RECOVERY_ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// How long the second step of a log-in may take.
const CHALLENGE_LIFE: Duration = Duration::minutes(5);
const CHALLENGE_PURPOSE: &[u8] = b"log-in challenge\0";
const CHALLENGE_BYTES: usize = 16 + 8 + 32;

/// What a logged-in person gives again before a sensitive change.
pub struct Proof {
    pub password: Secret,
    /// Of the second factor, where it is on.
    pub code: Option<Secret>,
    pub network: Network,
}

/// A new secret to be put into an authenticator app. It is shown this once.
pub struct Enrollment {
    /// In base32, as people type it.
    pub secret: Secret,
    /// The same as a link that apps open.
    pub url: Secret,
}

/// What a person sees of its second factor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SecondFactorState {
    pub is_on: bool,
    pub recovery_codes: i64,
}

impl Accounts {
    pub async fn second_factor(&self, who: Person) -> Result<SecondFactorState, AccountError> {
        let db = self.db.clone();
        self.db
            .run(async move {
                let mut tx = db.begin().await?;
                let found = second_factors::lock(&mut tx, who.user_id()).await?;
                tx.commit().await?;
                let found = found.filter(|found| found.confirmed_at.is_some());
                Ok(found.map_or(SecondFactorState::default(), |found| SecondFactorState {
                    is_on: true,
                    recovery_codes: found.recovery_codes,
                }))
            })
            .await
    }

    /// Makes a secret for the person's authenticator app. Nothing changes until a code of it was confirmed.
    pub async fn begin_second_factor(&self, who: Person, proof: &Proof) -> Result<Enrollment, AccountError> {
        let user = self.check_proof(who.user_id(), proof).await?;
        let bytes = Zeroizing::new(self.ambient.bytes::<SECRET_BYTES>());
        let ring = &self.installation.ring;
        let id = user.id.to_string();
        let sealed = vault::seal_bytes(ring, &self.ambient, &binding(&id), bytes.as_slice())?;
        self.transact(move |db, ambient| {
            let sealed = sealed.clone();
            async move {
                let mut tx = db.begin().await?;
                if second_factors::is_on(&mut tx, user.id).await? {
                    return Err(AccountError::Conflict("Two-factor sign-in is on; switch it off first"));
                }
                second_factors::begin(&mut tx, user.id, &sealed, ambient.now()).await?;
                tx.commit().await?;
                Ok(())
            }
        })
        .await?;
        let secret = base32(bytes.as_slice());
        let account = percent_encoding::utf8_percent_encode(&user.email, percent_encoding::NON_ALPHANUMERIC);
        let url = format!("otpauth://totp/{ISSUER}:{account}?secret={secret}&issuer={ISSUER}");
        Ok(Enrollment { secret: Secret::new(secret), url: Secret::new(url) })
    }

    /// Switches two-factor sign-in on with a first code, ends the person's other sessions, and returns recovery codes,
    /// which are shown this once.
    pub async fn confirm_second_factor(
        &self,
        who: Person,
        code: &Secret,
    ) -> Result<Vec<Secret>, AccountError> {
        let user = who.user_id();
        self.throttle.check_rate(Subject::Codes(user), self.ambient.now()).await?;
        let (codes, hashes) = self.new_recovery_codes();
        let (installation, code) = (self.installation.clone(), code.clone());
        self.transact(move |db, ambient| {
            let (installation, code, hashes) = (installation.clone(), code.clone(), hashes.clone());
            async move {
                let (mut tx, now) = (db.begin().await?, ambient.now());
                let found = second_factors::lock(&mut tx, user).await?;
                let found = found.ok_or(AccountError::NotFound("secret to confirm; begin again"))?;
                if found.confirmed_at.is_some() {
                    return Err(AccountError::Conflict("Two-factor sign-in is on already"));
                }
                let step = time_step(&installation, user, &found, &code, now)?.ok_or_else(wrong_code)?;
                second_factors::note_step(&mut tx, user, step, now).await?;
                second_factors::replace_recovery_codes(&mut tx, user, &hashes).await?;
                sessions::revoke_of_user(&mut tx, user, Some(who.session_id()), now).await?;
                audit(&mut tx, &ambient, who.scope(), &user, ("second_factor.enable", &user)).await?;
                tx.commit().await?;
                Ok(())
            }
        })
        .await?;
        self.throttle.refund(&Subject::Codes(user)).await;
        Ok(codes)
    }

    /// Makes new recovery codes in place of the earlier ones.
    pub async fn renew_recovery_codes(
        &self,
        who: Person,
        proof: &Proof,
    ) -> Result<Vec<Secret>, AccountError> {
        let user = self.check_proof(who.user_id(), proof).await?.id;
        let (codes, hashes) = self.new_recovery_codes();
        self.transact(move |db, ambient| {
            let hashes = hashes.clone();
            async move {
                let mut tx = db.begin().await?;
                if !second_factors::is_on(&mut tx, user).await? {
                    return Err(AccountError::Conflict("Two-factor sign-in is off"));
                }
                second_factors::replace_recovery_codes(&mut tx, user, &hashes).await?;
                audit(&mut tx, &ambient, who.scope(), &user, ("second_factor.recovery_codes", &user)).await?;
                tx.commit().await?;
                Ok(())
            }
        })
        .await?;
        Ok(codes)
    }

    /// Switches two-factor sign-in off.
    pub async fn remove_second_factor(&self, who: Person, proof: &Proof) -> Result<(), AccountError> {
        let user = self.check_proof(who.user_id(), proof).await?.id;
        self.transact(move |db, ambient| async move {
            let mut tx = db.begin().await?;
            if !second_factors::delete(&mut tx, user).await? {
                return Err(AccountError::Conflict("Two-factor sign-in is off"));
            }
            audit(&mut tx, &ambient, who.scope(), &user, ("second_factor.disable", &user)).await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    /// Asks a logged-in person for its password and, where it is on, a code of its second factor.
    pub(super) async fn check_proof(&self, user: UserId, proof: &Proof) -> Result<User, AccountError> {
        let found = self.check_own_password(user, "currentPassword", &proof.password, proof.network).await?;
        self.check_code(user, proof.code.as_ref()).await?;
        Ok(found)
    }

    /// Asks a person whose password was right for a code, where the second factor is on.
    pub(super) async fn check_code(&self, user: UserId, code: Option<&Secret>) -> Result<(), AccountError> {
        let db = self.db.clone();
        let looking = async move { second_factors::is_on(&mut *db.acquire().await?, user).await };
        if !self.db.run(looking).await? {
            return Ok(());
        }
        let Some(code) = code.filter(|code| !code.expose().trim().is_empty()) else {
            return Err(AccountError::CodeRequired);
        };
        self.throttle.check_rate(Subject::Codes(user), self.ambient.now()).await?;
        let (installation, code) = (self.installation.clone(), code.clone());
        self.transact(move |db, ambient| {
            let (installation, code) = (installation.clone(), code.clone());
            async move {
                let mut tx = db.begin().await?;
                accept_code(&mut tx, &installation, &ambient, user, &code).await?;
                tx.commit().await?;
                Ok(())
            }
        })
        .await?;
        self.throttle.refund(&Subject::Codes(user)).await;
        Ok(())
    }

    /// What the second step of a log-in shows to have passed the first. It ends with a change of the password.
    pub(super) fn challenge(&self, user: &User) -> Secret {
        let ends_at = (self.ambient.now() + CHALLENGE_LIFE).unix_timestamp();
        sign_challenge(&self.installation.signing, user.id, ends_at, &user.password_hash)
    }

    fn new_recovery_codes(&self) -> (Vec<Secret>, Vec<Vec<u8>>) {
        let codes: Vec<Secret> = (0..RECOVERY_CODES).map(|_| recovery_code(&self.ambient)).collect();
        let hashes =
            codes.iter().map(|code| recovery_hash(&self.installation.tokens, code).to_vec()).collect();
        (codes, hashes)
    }
}

/// Accepts a time-based code or takes a recovery code.
async fn accept_code(
    tx: &mut PgConnection,
    installation: &Installation,
    ambient: &Ambient,
    user: UserId,
    code: &Secret,
) -> Result<(), AccountError> {
    let now = ambient.now();
    let Some(found) = second_factors::lock(tx, user).await? else { return Ok(()) };
    if let Some(step) = time_step(installation, user, &found, code, now)? {
        return Ok(second_factors::note_step(tx, user, step, now).await?);
    }
    let hash = recovery_hash(&installation.tokens, code);
    if !second_factors::take_recovery_code(tx, user, &hash).await? {
        return Err(wrong_code());
    }
    audit(tx, ambient, None, &user, ("second_factor.recovery_code_used", &user)).await?;
    Ok(())
}

/// The step of time that a code is of, if it is a right one and no code of that step or a later one was used.
fn time_step(
    installation: &Installation,
    user: UserId,
    found: &SecondFactor,
    code: &Secret,
    now: OffsetDateTime,
) -> Result<Option<i64>, AccountError> {
    let secret = vault::open_bytes(&installation.ring, &binding(&user.to_string()), &found.sealed)?;
    let digits: String = code.expose().chars().filter(|character| !character.is_whitespace()).collect();
    let seconds = u64::try_from(now.unix_timestamp()).unwrap_or(0);
    let step = generator(&secret)?.check(&digits, seconds).and_then(|step| i64::try_from(step).ok());
    Ok(step.filter(|step| *step > found.last_step))
}

fn generator(secret: &[u8]) -> Result<Totp, AccountError> {
    let built = Builder::new().with_secret(secret.to_vec()).build();
    built.map_err(|_| AccountError::Internal("a second factor's secret is not valid".to_owned()))
}

fn wrong_code() -> AccountError {
    AccountError::invalid("code", "`code` is wrong or was used before; wait for the next code of your app")
}

fn binding(user: &str) -> Binding<'_> {
    Binding { table: "second_factor", org: None, api_key: None, provider: "", origin: "", record: user }
}

/// RFC 4648 without padding.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    in_groups_of_5_bits(bytes, ALPHABET)
}

fn in_groups_of_5_bits(bytes: &[u8], alphabet: &[u8; 32]) -> String {
    let bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |place| byte >> place & 1));
    let bits: Vec<u8> = bits.collect();
    let digit = |group: &[u8]| {
        let value = group.iter().fold(0u8, |value, bit| value << 1 | bit) << (5 - group.len());
        alphabet.get(usize::from(value)).map_or('A', |digit| char::from(*digit))
    };
    bits.chunks(5).map(digit).collect()
}

/// `abcdef-ghijkm`.
fn recovery_code(ambient: &Ambient) -> Secret {
    let text = in_groups_of_5_bits(&ambient.bytes::<8>(), RECOVERY_ALPHABET);
    let mut code: String = text.chars().take(RECOVERY_CHARS).collect();
    code.insert(RECOVERY_CHARS / 2, '-');
    Secret::new(code)
}

/// The stored form of a recovery code, however it is typed.
fn recovery_hash(tokens: &KeyedHash, code: &Secret) -> [u8; 32] {
    let plain = code.expose().chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase());
    let plain = Zeroizing::new(plain.collect::<String>());
    tokens.of(format!("recovery code\0{}", *plain).as_bytes())
}

fn sign_challenge(signing: &KeyedHash, user: UserId, ends_at: i64, password_hash: &str) -> Secret {
    let mut bytes = Vec::with_capacity(CHALLENGE_BYTES);
    bytes.extend_from_slice(user.0.as_bytes());
    bytes.extend_from_slice(&ends_at.to_be_bytes());
    let mac = challenge_mac(signing, &bytes, password_hash);
    bytes.extend_from_slice(&mac);
    Secret::new(URL_SAFE_NO_PAD.encode(bytes))
}

fn challenge_mac(signing: &KeyedHash, claims: &[u8], password_hash: &str) -> [u8; 32] {
    signing.of(&[CHALLENGE_PURPOSE, claims, password_hash.as_bytes()].concat())
}

/// Whom a challenge names, before anything about it is believed.
pub(super) fn challenged_user(challenge: &Secret) -> Option<UserId> {
    let bytes = URL_SAFE_NO_PAD.decode(challenge.expose()).ok()?;
    (bytes.len() == CHALLENGE_BYTES).then_some(())?;
    Some(UserId(uuid::Uuid::from_bytes(*bytes.first_chunk::<16>()?)))
}

/// Whether a challenge was made here for this person with this password, and its time is not over.
pub(super) fn is_challenge(
    signing: &KeyedHash,
    challenge: &Secret,
    user: &User,
    now: OffsetDateTime,
) -> bool {
    let Ok(bytes) = URL_SAFE_NO_PAD.decode(challenge.expose()) else { return false };
    let Some((claims, mac)) = bytes.split_last_chunk::<32>() else { return false };
    let Some((id, ends_at)) = claims.split_first_chunk::<16>() else { return false };
    let Ok(ends_at) = <[u8; 8]>::try_from(ends_at) else { return false };
    let expected = challenge_mac(signing, claims, &user.password_hash);
    let is_genuine: bool = expected.ct_eq(mac).into();
    is_genuine && user.id.0.as_bytes() == id && now.unix_timestamp() < i64::from_be_bytes(ends_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(password_hash: &str) -> User {
        User {
            id: UserId(uuid::Uuid::from_u128(7)),
            email: "a@example.test".to_owned(),
            password_hash: password_hash.to_owned(),
            is_operator: false,
        }
    }

    #[test]
    fn base32_is_that_of_rfc_4648() {
        for (text, encoded) in [("", ""), ("f", "MY"), ("fo", "MZXQ"), ("foobar", "MZXW6YTBOI")] {
            assert_eq!(base32(text.as_bytes()), encoded);
        }
    }

    #[test]
    fn codes_are_those_of_rfc_6238() {
        let generator = generator(b"12345678901234567890").unwrap();
        // The RFC's codes have eight digits; the last six are ours.
        for (seconds, code) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
            assert_eq!(generator.check(code, seconds), Some(seconds / 30), "{seconds}");
            assert_eq!(generator.check(code, seconds + 30), Some(seconds / 30), "one step late");
            assert_eq!(generator.check(code, seconds + 90), None, "too late");
        }
        for wrong in ["", "28708", "2870820", "abcdef", "287083"] {
            assert_eq!(generator.check(wrong, 59), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_recovery_code_is_found_however_it_is_typed() {
        let (ambient, tokens) = (Ambient::system(), KeyedHash::new([1; 32]));
        let code = recovery_code(&ambient);
        assert_eq!(code.expose().len(), RECOVERY_CHARS + 1);
        let typed = Secret::new(format!(" {} ", code.expose().replace('-', " ").to_uppercase()));
        assert_eq!(recovery_hash(&tokens, &typed), recovery_hash(&tokens, &code));
        assert_ne!(recovery_hash(&tokens, &recovery_code(&ambient)), recovery_hash(&tokens, &code));
    }

    #[test]
    fn a_challenge_is_of_one_person_one_password_and_five_minutes() {
        let (key, now) = (KeyedHash::new([2; 32]), time::macros::datetime!(2026-11-29 12:00 UTC));
        let ends_at = now.unix_timestamp() + 300;
        let challenge = sign_challenge(&key, user("old").id, ends_at, "old");
        assert_eq!(challenged_user(&challenge), Some(user("old").id));
        assert!(is_challenge(&key, &challenge, &user("old"), now));
        assert!(!is_challenge(&key, &challenge, &user("new"), now), "another password");
        assert!(!is_challenge(&KeyedHash::new([3; 32]), &challenge, &user("old"), now), "another key");
        assert!(!is_challenge(&key, &challenge, &user("old"), now + Duration::minutes(5)), "too late");
        let other = User { id: UserId(uuid::Uuid::from_u128(8)), ..user("old") };
        assert!(!is_challenge(&key, &challenge, &other, now), "another person");
        for bad in ["", "x", "AAAA"] {
            let bad = Secret::new(bad.to_owned());
            assert!(challenged_user(&bad).is_none() && !is_challenge(&key, &bad, &user("old"), now));
        }
    }
}
