//! Text that must not leak: no `Debug`, `Display` or `Serialize`, wiped when dropped.

use zeroize::Zeroizing;

/// A plaintext credential (provider key, password, API key).
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of the plaintext.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The plaintext. Call this only where the secret is used: an outgoing header, a hash, a seal.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The last four characters, for display next to a masked key; empty for a secret that is too short.
    pub fn last4(&self) -> String {
        let chars: Vec<char> = self.0.chars().collect();
        if chars.len() < 12 { String::new() } else { chars.iter().skip(chars.len() - 4).collect() }
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d).map(Self::new)
    }
}
