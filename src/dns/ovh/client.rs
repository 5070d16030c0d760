//! OVH's API: signed calls, their clock, their errors.
//!
//! A call is made once. The one exception is `QUERY_TIME_OUT`, by which OVH says that it refused the call unread because of
//! its timestamp: then the clock is set anew and the call is signed and sent once more. No credential is ever put in an error.

use std::{
    fmt,
    str::FromStr,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use reqwest::{Method, Url, header};
use serde::Deserialize;
use sha1::{Digest, Sha1};

pub(super) use super::super::http::Effect;
use super::super::{
    ProviderError, clip,
    http::{self, BaseUrl, BaseUrlError, now, sensitive},
};
use super::oauth2::OAuth2;
use crate::secret::Secret;

/// The value of a clock that was never set.
const UNSET: i64 = i64::MIN;

/// Where the API is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(BaseUrl);

/// A text that is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Neither a name nor a URL.
    #[error("the endpoints are ovh-eu, ovh-ca and ovh-us")]
    Unknown,
    /// A URL that is none.
    #[error(transparent)]
    Base(#[from] BaseUrlError),
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let url = match text {
            "ovh-eu" => "https://eu.api.ovh.com/1.0",
            "ovh-ca" => "https://ca.api.ovh.com/1.0",
            "ovh-us" => "https://api.us.ovhcloud.com/1.0",
            url if url.contains("://") => url,
            _ => return Err(EndpointError::Unknown),
        };
        Ok(Self(url.parse()?))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a call proves who makes it.
#[derive(Debug)]
pub(super) enum Credentials {
    /// A signature over each call.
    Keys(Keys),
    /// A token of a service account.
    OAuth2(OAuth2),
}

/// The three keys of an OVH application.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    pub(super) application_key: Secret,
    pub(super) application_secret: Secret,
    pub(super) consumer_key: Secret,
}

impl Keys {
    /// The signature of a call: `"$1$" + hex(sha1(AS+"+"+CK+"+"+METHOD+"+"+URL+"+"+BODY+"+"+TIMESTAMP))`.
    fn sign(&self, method: &str, url: &str, body: &str, timestamp: i64) -> String {
        let (secret, consumer) = (self.application_secret.expose(), self.consumer_key.expose());
        let digest = Sha1::digest(format!("{secret}+{consumer}+{method}+{url}+{body}+{timestamp}"));
        format!("$1${}", hex::encode(digest))
    }
}

/// A call that brought nothing.
#[derive(Debug, Clone)]
pub(super) enum CallError {
    /// It was never sent, or refused unread.
    NotSent(String),
    /// It was sent, and what became of it is unknown.
    Unanswered(String),
    /// OVH answered with an error.
    Refused(Refusal),
}

/// An error that OVH answered with: `{"message","errorCode","httpCode","class"}` and `X-Ovh-QueryID`.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: String,
    message: String,
    query_id: Option<String>,
    retry_after: Option<Duration>,
    /// Method and path, as an access rule names them.
    call: String,
}

/// A client of one account.
pub(super) struct Client {
    http: reqwest::Client,
    endpoint: Endpoint,
    credentials: Credentials,
    /// OVH's clock less ours in seconds.
    skew: AtomicI64,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Client {
    /// `timeout` bounds each request.
    pub(super) fn new(endpoint: Endpoint, credentials: Credentials, timeout: Duration) -> Result<Self, String> {
        let http = http::client(timeout)?;
        Ok(Self { http, endpoint, credentials, skew: AtomicI64::new(UNSET) })
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// OVH's clock less ours in seconds, once it was asked.
    pub(super) fn known_skew(&self) -> Option<i64> {
        Some(self.skew.load(Ordering::Relaxed)).filter(|skew| *skew != UNSET)
    }

    /// Makes one signed call. `path` begins with `/`; `query` is encoded here, so that what is signed is what is sent.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&str>,
    ) -> Result<Vec<u8>, CallError> {
        let url = self.endpoint.0.join(path, query)?;
        let keys = match &self.credentials {
            Credentials::Keys(keys) => keys,
            Credentials::OAuth2(oauth2) => return self.call_with_token(oauth2, method, path, &url, body).await,
        };
        let skew = match self.skew.load(Ordering::Relaxed) {
            UNSET => self.fetch_skew().await?,
            skew => skew,
        };
        match self.send_signed(keys, method.clone(), path, &url, body, skew).await {
            Err(CallError::Refused(refusal)) if refusal.code == "QUERY_TIME_OUT" => {
                let skew = self.fetch_skew().await?;
                self.send_signed(keys, method, path, &url, body, skew).await
            }
            other => other,
        }
    }

    /// Asks OVH's clock (`GET /auth/time`, unsigned) and keeps the difference. A failure means that the call it was for
    /// was not made.
    async fn fetch_skew(&self) -> Result<i64, CallError> {
        let not_sent = |error: String| CallError::NotSent(format!("GET /auth/time: {error}"));
        let url = self.endpoint.0.join("/auth/time", &[])?;
        let answer = http::send("GET /auth/time", self.http.get(url)).await.map_err(|error| match error {
            http::CallError::NotSent(said) | http::CallError::Unanswered(said) => CallError::NotSent(said),
        })?;
        let Some(skew) = skew(&answer.body).filter(|_| answer.is_success()) else {
            return Err(not_sent(format!("status {}, and not the time", answer.status)));
        };
        self.skew.store(skew, Ordering::Relaxed);
        Ok(skew)
    }

    async fn send_signed(
        &self,
        keys: &Keys,
        method: Method,
        path: &str,
        url: &Url,
        body: Option<&str>,
        skew: i64,
    ) -> Result<Vec<u8>, CallError> {
        let timestamp = now() + skew;
        let signature = keys.sign(method.as_str(), url.as_str(), body.unwrap_or_default(), timestamp);
        let request = self
            .http
            .request(method.clone(), url.clone())
            .header("X-Ovh-Application", sensitive(keys.application_key.expose())?)
            .header("X-Ovh-Consumer", sensitive(keys.consumer_key.expose())?)
            .header("X-Ovh-Timestamp", timestamp)
            .header("X-Ovh-Signature", sensitive(&signature)?);
        send(format!("{method} {path}"), request, body).await
    }

    /// A token that OVH turns down with 401 was refused before the call was looked at: another is asked for, once.
    async fn call_with_token(
        &self,
        oauth2: &OAuth2,
        method: Method,
        path: &str,
        url: &Url,
        body: Option<&str>,
    ) -> Result<Vec<u8>, CallError> {
        let send_with = async |token: &Secret| {
            let bearer = sensitive(&format!("Bearer {}", token.expose()))?;
            let request = self.http.request(method.clone(), url.clone()).header(header::AUTHORIZATION, bearer);
            send(format!("{method} {path}"), request, body).await
        };
        let token = oauth2.token(&self.http, None).await?;
        match send_with(&token).await {
            Err(CallError::Refused(refusal)) if refusal.status == 401 => {
                let fresh = oauth2.token(&self.http, Some(&token)).await?;
                send_with(&fresh).await
            }
            other => other,
        }
    }

    /// Whether OVH's IAM decides what calls may do, and not the access rules of a consumer key.
    pub(super) fn is_service_account(&self) -> bool {
        matches!(self.credentials, Credentials::OAuth2(_))
    }
}

async fn send(call: String, request: reqwest::RequestBuilder, body: Option<&str>) -> Result<Vec<u8>, CallError> {
    let mut request = request.header(header::ACCEPT, "application/json");
    if let Some(body) = body {
        request = request.header(header::CONTENT_TYPE, "application/json").body(body.to_owned());
    }
    let answer = http::send(&call, request).await?;
    if answer.is_success() {
        return Ok(answer.body);
    }
    Err(CallError::Refused(Refusal::read(answer.status, &answer.headers, &answer.body, call)))
}

impl From<http::CallError> for CallError {
    fn from(error: http::CallError) -> Self {
        match error {
            http::CallError::NotSent(said) => Self::NotSent(said),
            http::CallError::Unanswered(said) => Self::Unanswered(said),
        }
    }
}

/// What `GET /auth/time` answered, less our own clock. A time that no clock shows is none.
pub(super) fn skew(body: &[u8]) -> Option<i64> {
    let time: i64 = std::str::from_utf8(body).ok()?.trim().parse().ok()?;
    time.checked_sub(now()).filter(|skew| now().checked_add(*skew).is_some())
}

impl Refusal {
    pub(super) fn read(status: u16, headers: &header::HeaderMap, body: &[u8], call: String) -> Self {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Body {
            message: String,
            #[serde(rename = "errorCode")]
            code: String,
            class: String,
        }
        // Gateways answer with HTML; then the status is all there is.
        let body: Body = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let code = if body.code.is_empty() { body.class } else { body.code };
        Self {
            status,
            code: clip(&code),
            message: clip(&body.message),
            query_id: text("x-ovh-queryid").map(clip),
            retry_after: http::retry_after(headers),
            call,
        }
    }

    /// A token that was not given (RFC 6749 §5.2).
    pub(super) fn of_token(answer: &http::Answer, code: &str, message: &str, call: String) -> Self {
        Self { code: clip(code), message: clip(message), ..Self::read(answer.status, &answer.headers, &[], call) }
    }

    /// What to do about it; `None` when it may pass by itself.
    fn hint(&self) -> Option<String> {
        let hint = match (self.status, self.code.as_str()) {
            (408 | 409 | 429 | 500.., _) | (_, "QUERY_TIME_OUT") => return None,
            (_, "invalid_client" | "unauthorized_client" | "invalid_grant") => {
                "check the client id and secret of the service account, and that they are of this endpoint's region"
            }
            (401, _) => "the service account's token is not taken: check that the account still exists",
            (_, "INVALID_SIGNATURE") => "check the application secret, and that the base URL is the one that OVH sees",
            (_, "NOT_CREDENTIAL" | "INVALID_CREDENTIAL") => {
                "the consumer key is unknown, expired or not validated: ask for one with POST /auth/credential and open its \
                 validationUrl"
            }
            (_, "INVALID_KEY") => {
                "the application key is unknown at this endpoint: each of ovh-eu, ovh-ca, ovh-us has its own"
            }
            (_, "NOT_GRANTED_CALL") => return Some(format!("the consumer key lacks the access rule `{}`", self.call)),
            (403, _) => {
                "check that the account may manage this zone or load balancer (with OAuth2: its IAM policy), and that the consumer key's \
                 allowedIPs include this node"
            }
            (404, _) => "check that the zone exists in this account",
            (460, _) => "the service has expired: renew it",
            (300..=399, _) => "the base URL redirects: name the final one",
            _ => "report this as a bug",
        };
        Some(hint.to_owned())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OVH answered {} {} to {}", self.status, self.code, self.call)?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        if let Some(id) = &self.query_id {
            write!(f, " (X-Ovh-QueryID {id})")?;
        }
        Ok(())
    }
}

impl CallError {
    /// What the failure means to the one who wanted the record read or written.
    pub(super) fn into_provider_error(self, effect: Effect) -> ProviderError {
        match self {
            Self::NotSent(said) => http::CallError::NotSent(said).into_provider_error("OVH", effect),
            Self::Unanswered(said) => http::CallError::Unanswered(said).into_provider_error("OVH", effect),
            Self::Refused(refusal) => match (refusal.hint(), refusal.status) {
                (Some(hint), _) => ProviderError::Permanent { message: refusal.to_string(), hint },
                // A gateway that gave up says nothing of what the server behind it did.
                (None, 408 | 500..) if effect == Effect::Change => ProviderError::Indeterminate(refusal.to_string()),
                (None, _) => {
                    ProviderError::Transient { message: refusal.to_string(), retry_after: refusal.retry_after }
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The signatures that OVH publishes, and three more of the same keys.
    #[test]
    fn signatures_are_those_of_the_published_example() {
        let keys = Keys {
            application_key: Secret::new("AK"),
            application_secret: Secret::new("EXEgWIz07P0HYwtQDs7cNIqCiQaWSuHF"),
            consumer_key: Secret::new("MtSwSrPpNjqfVSmJhLbPyr2i45lSwPU1"),
        };
        let zone = "https://eu.api.ovh.com/1.0/domain/zone/example.test";
        let put = r#"{"target":"198.51.100.20","ttl":60}"#;
        for (method, url, body, time, signature) in [
            (
                "GET",
                "https://eu.api.ovh.com/1.0/domains/",
                "",
                1_366_560_945,
                "d3705e8afb27a0d2970a322b96550abfc67bb798",
            ),
            (
                "PUT",
                &format!("{zone}/record/5386578361"),
                put,
                1_795_424_645,
                "0744d3167ff59586f3419e4ebe6ee18d0abb00ec",
            ),
            ("POST", &format!("{zone}/refresh"), "", 1_795_424_645, "ec0a7d351edce1bc434696752c7a9a7266bdf973"),
            (
                "GET",
                &format!("{zone}/record?fieldType=A&subDomain=www"),
                "",
                1_795_424_645,
                "28a56f05f719c53c70c91ca384266677c67b5289",
            ),
        ] {
            assert_eq!(keys.sign(method, url, body, time), format!("$1${signature}"), "{method} {url}");
        }
    }

    #[test]
    fn the_url_that_is_signed_is_the_url_that_is_sent() {
        let keys = Keys {
            application_key: Secret::new("AK"),
            application_secret: Secret::new("AS"),
            consumer_key: Secret::new("CK"),
        };
        let client = Client::new("ovh-eu".parse().unwrap(), Credentials::Keys(keys), Duration::from_secs(1)).unwrap();
        let url = client
            .endpoint
            .0
            .join("/domain/zone/example.test/record", &[("fieldType", "A"), ("subDomain", "www")])
            .unwrap();
        assert_eq!(
            url.as_str(),
            "https://eu.api.ovh.com/1.0/domain/zone/example.test/record?fieldType=A&subDomain=www"
        );
    }

    #[test]
    fn endpoints_are_names_or_encrypted_urls() {
        assert_eq!("ovh-us".parse::<Endpoint>().unwrap().to_string(), "https://api.us.ovhcloud.com/1.0");
        assert_eq!("http://127.0.0.1:8080/1.0/".parse::<Endpoint>().unwrap().to_string(), "http://127.0.0.1:8080/1.0");
        assert_eq!("http://eu.api.ovh.com/1.0".parse::<Endpoint>(), Err(EndpointError::Base(BaseUrlError::Clear)));
        assert_eq!("ovh-fr".parse::<Endpoint>(), Err(EndpointError::Unknown));
    }
}
