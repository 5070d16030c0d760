//! Cloudflare's API v4: calls with a Bearer token, their envelope, their errors. Each call is made once.
//!
//! Shapes and codes are those of Cloudflare's API documentation: `{"result", "success", "errors": [{"code", "message"}],
//! "messages"}`.

use std::{fmt, time::Duration};

use reqwest::{Method, header};
use serde::{Deserialize, de::DeserializeOwned};

use super::super::{
    ProviderError, clip,
    http::{self, Answer, BaseUrl, Effect, sensitive},
};
use crate::secret::Secret;

/// "Record does not exist".
const GONE: i64 = 81_044;
/// "An identical record already exists", and its older sibling.
const IDENTICAL: [i64; 2] = [81_057, 81_058];
/// "Rate limited": 429 comes with it, other statuses may.
const RATE_LIMITED: i64 = 971;

/// A call that brought nothing.
#[derive(Debug, Clone)]
pub(in crate::dns) enum CallError {
    /// No whole answer.
    Transport(http::CallError),
    /// Cloudflare answered with an error.
    Refused(Refusal),
}

impl From<http::CallError> for CallError {
    fn from(error: http::CallError) -> Self {
        Self::Transport(error)
    }
}

/// An error that Cloudflare answered with.
#[derive(Debug, Clone)]
pub(in crate::dns) struct Refusal {
    status: u16,
    errors: Vec<(i64, String)>,
    /// `CF-RAY`, by which Cloudflare's support finds the request.
    ray: Option<String>,
    retry_after: Option<Duration>,
    /// Method and path.
    call: String,
}

/// The frame around every answer.
#[derive(Debug, Deserialize)]
struct Envelope {
    success: bool,
    #[serde(default)]
    errors: Option<Vec<ErrorLine>>,
    #[serde(default)]
    result: serde_json::Value,
}

#[derive(Debug, Deserialize)]
struct ErrorLine {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
}

/// A client with one token.
pub(in crate::dns) struct Client {
    http: reqwest::Client,
    base: BaseUrl,
    token: Secret,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Client {
    /// `timeout` bounds each request.
    pub(in crate::dns) fn new(base: BaseUrl, token: Secret, timeout: Duration) -> Result<Self, String> {
        if token.expose().is_empty() {
            return Err("the API token is empty".to_owned());
        }
        Ok(Self { http: http::client(timeout)?, base, token })
    }

    /// Makes one call; the path begins with `/`. Also says what `CF-RAY` was.
    pub(in crate::dns) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&serde_json::Value>,
    ) -> Result<(T, String), CallError> {
        let call = format!("{method} {path}");
        let mut request = self
            .http
            .request(method, self.base.join(path, query)?)
            .header(header::AUTHORIZATION, sensitive(&format!("Bearer {}", self.token.expose()))?)
            .header(header::ACCEPT, "application/json");
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = http::send(&call, request).await?;
        let ray = ray(&answer).unwrap_or_else(|| "unknown".to_owned());
        Ok((read(&answer, &call)?, ray))
    }

    /// As [`Self::call`], to read.
    pub(in crate::dns) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, CallError> {
        self.call(Method::GET, path, query, None).await.map(|(result, _)| result)
    }
}

fn ray(answer: &Answer) -> Option<String> {
    answer.headers.get("cf-ray").and_then(|value| value.to_str().ok()).map(clip)
}

/// What an answer holds, or why it holds nothing.
fn read<T: DeserializeOwned>(answer: &Answer, call: &str) -> Result<T, CallError> {
    let garbled = |error: &dyn fmt::Display| {
        let said = format!("{call}: the answer is not what Cloudflare documents: {error}");
        CallError::Transport(http::CallError::Unanswered(clip(&said)))
    };
    let envelope = serde_json::from_slice::<Envelope>(&answer.body);
    if answer.is_success() {
        let envelope = envelope.map_err(|error| garbled(&error))?;
        if envelope.success {
            return serde_json::from_value(envelope.result).map_err(|error| garbled(&error));
        }
        return Err(CallError::Refused(Refusal::of(answer, envelope.errors, call)));
    }
    // Gateways answer with HTML; then the status is all there is.
    Err(CallError::Refused(Refusal::of(answer, envelope.ok().and_then(|envelope| envelope.errors), call)))
}

impl Refusal {
    fn of(answer: &Answer, errors: Option<Vec<ErrorLine>>, call: &str) -> Self {
        let errors = errors.unwrap_or_default().into_iter().take(5);
        Self {
            status: answer.status,
            errors: errors.map(|line| (line.code, clip(&line.message))).collect(),
            ray: ray(answer),
            retry_after: http::retry_after(&answer.headers),
            call: call.to_owned(),
        }
    }

    fn has(&self, codes: &[i64]) -> bool {
        self.errors.iter().any(|(code, _)| codes.contains(code))
    }

    /// Whether a record that was named by its id is no more.
    pub(in crate::dns) fn is_gone(&self) -> bool {
        self.has(&[GONE])
    }

    /// Whether a record that was to be made stands already.
    pub(in crate::dns) fn is_duplicate(&self) -> bool {
        self.has(&IDENTICAL)
    }

    /// Whether the object that the path names is not there.
    pub(in crate::dns) fn is_missing(&self) -> bool {
        self.status == 404
    }

    /// Whether the token, if it is one, may not do this.
    pub(in crate::dns) fn lacks_a_right(&self) -> bool {
        self.status == 403
    }

    /// Whether the token is unknown, expired, or may not do this: Cloudflare does not always say which.
    pub(in crate::dns) fn is_about_the_token(&self) -> bool {
        matches!(self.status, 401 | 403) || self.has(&[1_000, 6_003, 6_111, 9_106, 9_109, 10_000, 10_001])
    }

    /// What to do about it; `None` when it may pass by itself.
    fn hint(&self) -> Option<&'static str> {
        match self.status {
            408 | 409 | 429 | 500.. => None,
            _ if self.has(&[RATE_LIMITED]) => None,
            _ if self.is_about_the_token() => Some(
                "check in the dashboard (My Profile, API Tokens) that the token is active, has the permissions that \
                 `quoratectl provider policy` prints, covers this zone, and that its client IP filter lets this node in",
            ),
            404 => Some("check that the zone or object is in this account, and its id in the node's configuration"),
            300..=399 => Some("the base URL redirects: name the final one"),
            _ if self.has(&[81_053, 81_054]) => Some("remove the record of another type that stands at the same name"),
            _ => Some("compare the record with what Cloudflare takes; the message names what it refused"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cloudflare answered {} to {}", self.status, self.call)?;
        for (code, message) in &self.errors {
            write!(f, ": {code} {message}")?;
        }
        if let Some(ray) = &self.ray {
            write!(f, " (CF-RAY {ray})")?;
        }
        Ok(())
    }
}

impl CallError {
    /// What the failure means to the one who wanted the record read or written.
    pub(in crate::dns) fn into_provider_error(self, effect: Effect) -> ProviderError {
        match self {
            Self::Transport(error) => error.into_provider_error("Cloudflare", effect),
            Self::Refused(refusal) => match (refusal.hint(), refusal.status) {
                (Some(hint), _) => ProviderError::Permanent { message: refusal.to_string(), hint: hint.to_owned() },
                // A gateway that gave up says nothing of what the server behind it did.
                (None, 408 | 500..) if effect == Effect::Change => ProviderError::Indeterminate(refusal.to_string()),
                (None, _) => {
                    ProviderError::Transient { message: refusal.to_string(), retry_after: refusal.retry_after }
                }
            },
        }
    }
}

/// What a body means, or what is said of it.
#[cfg(feature = "testing")]
pub(super) fn decoded<T: DeserializeOwned>(status: u16, body: &[u8]) -> Result<T, String> {
    let answer = Answer { status, headers: header::HeaderMap::new(), body: body.to_vec() };
    read(&answer, "GET /zones/0/dns_records").map_err(|error| error.into_provider_error(Effect::Change).to_string())
}
