//! TSIG (RFC 8945): signs messages with the shared key and verifies what comes back.
//!
//! It never prints the key, and never calls an answer authentic that was not signed with it.

use std::{
    fmt,
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

use data_encoding::BASE64;
use hickory_proto::{
    op::Message,
    rr::{
        Name, TSigner,
        rdata::tsig::{TsigAlgorithm, TsigError},
    },
};

use super::ProviderError;
use crate::core::record::DomainName;
use crate::secret::Secret;

/// How many seconds the two clocks may differ, as RFC 8945 §10 recommends.
pub(super) const FUDGE: u16 = 300;
/// The shortest key taken: RFC 8945 §8 asks for the length of the digest, BIND's generator makes no shorter one.
const KEY_MIN: usize = 16;

/// The signature algorithms; weaker ones are not on offer (RFC 8945 §6 keeps SHA-1 for old peers only).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// `hmac-sha256`, which every server knows.
    HmacSha256,
    /// `hmac-sha384`.
    HmacSha384,
    /// `hmac-sha512`.
    HmacSha512,
}

/// A text that is no algorithm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a TSIG algorithm: use hmac-sha256, hmac-sha384 or hmac-sha512")]
pub struct AlgorithmError(String);

impl FromStr for Algorithm {
    type Err = AlgorithmError;

    fn from_str(text: &str) -> Result<Self, AlgorithmError> {
        match text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase().as_str() {
            "hmac-sha256" => Ok(Self::HmacSha256),
            "hmac-sha384" => Ok(Self::HmacSha384),
            "hmac-sha512" => Ok(Self::HmacSha512),
            _ => Err(AlgorithmError(text.chars().take(40).collect())),
        }
    }
}

impl From<Algorithm> for TsigAlgorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::HmacSha256 => Self::HmacSha256,
            Algorithm::HmacSha384 => Self::HmacSha384,
            Algorithm::HmacSha512 => Self::HmacSha512,
        }
    }
}

/// Why a key cannot be used. Says nothing of the secret but its length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The secret is no base64 text.
    #[error("the secret of TSIG key `{0}` is not base64: use the text that `tsig-keygen` or `keymgr -t` printed")]
    Base64(DomainName),
    /// The secret is too short to be one.
    #[error("the secret of TSIG key `{name}` has {length} bytes: use at least {KEY_MIN}, better 32 (`tsig-keygen`)")]
    Short {
        /// The key's name.
        name: DomainName,
        /// The secret's length.
        length: usize,
    },
    /// hickory does not take it.
    #[error("TSIG key `{0}`: {1}")]
    Unsupported(DomainName, String),
}

/// A shared key, ready to sign.
#[derive(Clone)]
pub(super) struct Key {
    name: DomainName,
    signer: TSigner,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("name", &self.name)
            .field("algorithm", self.signer.algorithm())
            .finish_non_exhaustive()
    }
}

/// An answer whose signature was looked at.
#[derive(Debug)]
pub(super) struct Reply {
    /// The answer.
    pub(super) message: Message,
    /// Whether it was signed with our key. BADKEY, BADSIG and refusals of old servers come unsigned (RFC 8945 §5.3.2).
    pub(super) authentic: bool,
    /// What the server said of our signature.
    pub(super) error: Option<TsigError>,
    /// The server's clock less ours, in seconds, where its signature or its BADTIME tells.
    pub(super) skew: Option<i64>,
}

impl Key {
    pub(super) fn new(name: &DomainName, algorithm: Algorithm, secret: &Secret) -> Result<Self, KeyError> {
        let bytes = BASE64.decode(secret.expose().as_bytes()).map_err(|_| KeyError::Base64(name.clone()))?;
        if bytes.len() < KEY_MIN {
            return Err(KeyError::Short { name: name.clone(), length: bytes.len() });
        }
        let unsupported = |error: String| KeyError::Unsupported(name.clone(), error);
        let wire = Name::from_ascii(name.as_str()).map_err(|error| unsupported(error.to_string()))?;
        let signer =
            TSigner::new(bytes, algorithm.into(), wire, FUDGE).map_err(|error| unsupported(error.to_string()))?;
        Ok(Self { name: name.clone(), signer })
    }

    /// The key's name.
    pub(super) fn name(&self) -> &DomainName {
        &self.name
    }

    /// Signs the message; returns its bytes and the MAC that the answer's signature covers.
    pub(super) fn sign(&self, message: &mut Message) -> Result<(Vec<u8>, Vec<u8>), ProviderError> {
        let signed = self.signer.sign_message(message, now()).and_then(|(record, _)| {
            let mac = record.data.mac.clone();
            message.set_signature(record);
            Ok((message.to_vec()?, mac))
        });
        signed.map_err(|error| ProviderError::Permanent {
            message: format!("the message could not be signed: {error}"),
            hint: "report this as a bug".to_owned(),
        })
    }

    /// As a server signs: over the MAC of the request as well (RFC 8945 §5.3).
    #[cfg(feature = "testing")]
    pub(super) fn sign_answer(&self, message: &mut Message, request_mac: &[u8]) -> Vec<u8> {
        message.signature = None;
        let bytes = message.to_vec().expect("a message");
        let mac = request_mac.to_vec();
        let context =
            hickory_proto::rr::TSigResponseContext::new(message.metadata.id, now(), self.signer.clone(), mac, None);
        message.set_signature(context.sign(&bytes).expect("a signature"));
        message.to_vec().expect("a message")
    }

    /// Decodes an answer to a message signed with `request_mac`. A signature that does not verify is an error; one that
    /// is missing is not: the caller decides what an unsigned answer is worth.
    pub(super) fn verify(&self, bytes: &[u8], request_mac: &[u8]) -> Result<Reply, String> {
        // Decoding comes first, because it refuses the malformed messages that the signature's own reader trips over.
        let message = Message::from_vec(bytes).map_err(|error| format!("the answer is no DNS message: {error}"))?;
        let Some(tsig) = message.signature.as_ref().map(|record| record.data.clone()) else {
            return Ok(Reply { message, authentic: false, error: None, skew: None });
        };
        let skew = (tsig.error == Some(TsigError::BadTime)).then(|| server_time(&tsig.other)).flatten();
        let skew = skew.map(|server| server - i64::try_from(now()).unwrap_or(i64::MAX));
        if tsig.mac.is_empty() {
            return Ok(Reply { message, authentic: false, error: tsig.error, skew });
        }
        // The reader subtracts the one from the other.
        if tsig.time < u64::from(tsig.fudge) {
            return Err("the answer's TSIG signature is of the year 1970: set the server's clock".to_owned());
        }
        let (_, _, window) = self
            .signer
            .verify_message_byte(bytes, Some(request_mac), true)
            .map_err(|error| format!("the answer's TSIG signature does not verify: {error}"))?;
        if tsig.error.is_none() && !window.contains(&now()) {
            return Err("the answer's TSIG signature is older than its own time window".to_owned());
        }
        let told = || i64::try_from(tsig.time).ok()?.checked_sub(i64::try_from(now()).ok()?);
        Ok(Reply { message, authentic: true, error: tsig.error, skew: skew.or_else(told) })
    }
}

/// The clock in whole seconds, as TSIG signs it. Nothing else in a write depends on the wall clock.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The six bytes in which a server that answers BADTIME names its own time (RFC 8945 §5.2.3).
fn server_time(other: &[u8]) -> Option<i64> {
    let bytes: [u8; 6] = other.try_into().ok()?;
    Some(bytes.iter().fold(0, |time, byte| (time << 8) | i64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_secret_is_named_by_its_key_and_never_shown() {
        let name: DomainName = "quorate-key".parse().unwrap();
        let build = |secret: &str| Key::new(&name, Algorithm::HmacSha256, &Secret::new(secret)).map(|_| ());
        assert_eq!(build("n0t base64!"), Err(KeyError::Base64(name.clone())));
        assert_eq!(build("c2hvcnQ="), Err(KeyError::Short { name: name.clone(), length: 5 }));
        let good = Key::new(&name, Algorithm::HmacSha512, &Secret::new("MDEyMzQ1Njc4OWFiY2RlZg==\n")).unwrap();
        assert!(!format!("{good:?}").contains("0123"), "{good:?}");
    }

    #[test]
    fn only_strong_algorithms_are_known() {
        assert_eq!("HMAC-SHA256.".parse(), Ok(Algorithm::HmacSha256));
        assert!("hmac-md5".parse::<Algorithm>().is_err());
        assert!("hmac-sha1".parse::<Algorithm>().is_err());
    }

    #[test]
    fn badtime_carries_the_servers_clock() {
        assert_eq!(server_time(&[0, 0, 0x65, 0, 0, 1]), Some(0x6500_0001));
        assert_eq!(server_time(&[1, 2]), None);
    }
}
