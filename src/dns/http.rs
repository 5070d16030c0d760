//! What the providers with an HTTP API share: where the API is, a call that is made once, and what became of it.
//!
//! Nothing here retries, follows a redirect or puts a credential into an error: those go into headers that are marked
//! sensitive, and never into a URL.

use std::{
    fmt,
    net::IpAddr,
    str::FromStr,
    sync::Once,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use reqwest::{RequestBuilder, Url, header};

use super::{ProviderError, clip};
use crate::core::draft::url;

/// The longest answer that is read, in bytes; what is asked for is a few hundred to a few thousand.
const BODY_LIMIT: usize = 256 * 1024;
/// The longest that a `Retry-After` is believed.
pub(super) const RETRY_AFTER_LIMIT: Duration = Duration::from_hours(1);

/// Where an API is: `https`, or `http` on this machine; without query, fragment and user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(Url);

/// A text that is no base URL. Does not show it, because people put passwords there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BaseUrlError {
    /// No URL.
    #[error("{0}")]
    Malformed(String),
    /// It has a query.
    #[error("a base URL has no query")]
    Query,
    /// Not encrypted, and not on this machine.
    #[error("this would send credentials in clear text: use https (http is for loopback addresses only)")]
    Clear,
}

impl FromStr for BaseUrl {
    type Err = BaseUrlError;

    fn from_str(text: &str) -> Result<Self, BaseUrlError> {
        let text = text.trim_end_matches('/');
        let parsed = url::parse(text).map_err(BaseUrlError::Malformed)?;
        if parsed.path.contains('?') {
            return Err(BaseUrlError::Query);
        }
        let host = parsed.target.host.as_str();
        let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if !parsed.tls && !here {
            return Err(BaseUrlError::Clear);
        }
        text.parse().map(Self).map_err(|error| BaseUrlError::Malformed(format!("this is not a URL: {error}")))
    }
}

impl BaseUrl {
    /// The URL of a path, which begins with `/`; the query is encoded here.
    pub(super) fn join(&self, path: &str, query: &[(&str, &str)]) -> Result<Url, CallError> {
        let mut url: Url =
            format!("{self}{path}").parse().map_err(|error| CallError::NotSent(format!("{path}: {error}")))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

/// What a call is allowed to have done when it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It reads.
    None,
    /// It changes something.
    Change,
}

/// A call that brought no answer.
#[derive(Debug, Clone)]
pub(super) enum CallError {
    /// It was never sent, or refused unread.
    NotSent(String),
    /// It was sent, and what became of it is unknown.
    Unanswered(String),
}

impl CallError {
    /// What it means to the one who wanted the record read or written.
    pub(super) fn into_provider_error(self, whom: &str, effect: Effect) -> ProviderError {
        let transient = |message: String| ProviderError::Transient { message, retry_after: None };
        match self {
            Self::NotSent(said) => transient(format!("{whom} was not reached: {said}")),
            Self::Unanswered(said) if effect == Effect::Change => ProviderError::Indeterminate(said),
            Self::Unanswered(said) => transient(said),
        }
    }
}

/// A whole answer, whatever it says.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: header::HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// When the server asked to be tried again: `Retry-After` in seconds (RFC 9110 §10.2.3; its dates are ignored).
pub(super) fn retry_after(headers: &header::HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    let seconds = text.trim().parse().ok().map(Duration::from_secs)?;
    Some(seconds.min(RETRY_AFTER_LIMIT))
}

/// A client that makes each call once. `timeout` bounds each.
pub(super) fn client(timeout: Duration) -> Result<reqwest::Client, String> {
    static RING: Once = Once::new();
    // Another part of the process may have installed it first, which is just as well.
    RING.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    reqwest::Client::builder()
        .timeout(timeout)
        .connect_timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .user_agent(concat!("quorate/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| format!("no HTTP client: {error}"))
}

/// Makes the call; `call` names it in errors, as in `GET /domain/zone`.
pub(super) async fn send(call: &str, request: RequestBuilder) -> Result<Answer, CallError> {
    let response = request.send().await.map_err(|error| {
        // Without a connection nothing left this machine; after it anything may have arrived.
        let said = format!("{call}: {}", chain(&error));
        if error.is_connect() || error.is_builder() { CallError::NotSent(said) } else { CallError::Unanswered(said) }
    })?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let answer = |body| Answer { status, headers, body };
    match read_body(response).await {
        Ok(body) => Ok(answer(body)),
        // The status alone says that it was refused.
        Err(_) if status >= 300 => Ok(answer(Vec::new())),
        Err(error) => Err(CallError::Unanswered(format!("{call}: {error}"))),
    }
}

/// A header value that no log prints.
pub(super) fn sensitive(text: &str) -> Result<header::HeaderValue, CallError> {
    let mut value = header::HeaderValue::from_str(text)
        .map_err(|_| CallError::NotSent("a credential has characters that no header can carry".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Reads the body as it comes, and no more than the limit.
async fn read_body(mut response: reqwest::Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| chain(&error))? {
        if body.len() + chunk.len() > BODY_LIMIT {
            return Err(format!("the answer is longer than {BODY_LIMIT} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Why there was no answer: the innermost cause, for the outer ones say only that there was none. The URL is the call's to name.
fn chain(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return if error.is_connect() { "no connection in time".to_owned() } else { "no answer in time".to_owned() };
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    clip(&cause.to_string())
}

/// The wall clock in seconds; signatures depend on it and nothing else.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_encrypted_or_on_this_machine() {
        for (text, shown) in [
            ("https://proxy.example.net/ovh/", "https://proxy.example.net/ovh"),
            ("http://127.0.0.1:8080/1.0", "http://127.0.0.1:8080/1.0"),
            ("http://[::1]:8081", "http://[::1]:8081"),
            ("http://localhost", "http://localhost"),
        ] {
            assert_eq!(text.parse::<BaseUrl>().unwrap().to_string(), shown);
        }
        for clear in ["http://eu.api.ovh.com/1.0", "http://10.0.0.1:8081", "http://localhost.example.net"] {
            assert_eq!(clear.parse::<BaseUrl>(), Err(BaseUrlError::Clear), "{clear}");
        }
        assert_eq!("https://x/?a=b".parse::<BaseUrl>(), Err(BaseUrlError::Query));
        for bad in ["", "ovh-fr", "ftp://x/", "https://u:hunter2@x/", "https://"] {
            let error = bad.parse::<BaseUrl>().unwrap_err();
            assert!(matches!(error, BaseUrlError::Malformed(_)) && !error.to_string().contains("hunter2"), "{error}");
        }
    }

    /// Errors are read by people: each names the call once, and why there was no answer.
    #[tokio::test]
    async fn why_there_was_no_answer_is_said_in_a_few_words() {
        let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/zones/example.com.", mute.local_addr().unwrap());
        let http = client(Duration::from_millis(100)).unwrap();
        let error = send("GET /zones", http.get(&url)).await.unwrap_err();
        assert!(matches!(&error, CallError::Unanswered(said) if said == "GET /zones: no answer in time"), "{error:?}");
        drop(mute);
        let error = send("GET /zones", http.get(&url)).await.unwrap_err();
        let CallError::NotSent(said) = &error else { panic!("{error:?}") };
        assert!(said.starts_with("GET /zones: ") && said.contains("refused") && !said.contains("http://"), "{said}");
    }

    #[test]
    fn a_time_to_wait_is_believed_up_to_a_limit() {
        let wait = |text: &str| {
            let mut headers = header::HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("99999999"), Some(RETRY_AFTER_LIMIT));
        assert_eq!(wait("-1"), None);
        assert_eq!(wait("Wed, 21 Oct 2026 07:28:00 GMT"), None);
    }
}
