//! A program of your own behind HTTP, for whatever has no provider of its own. The question is `hook`'s.
//!
//! Each call is a `POST` with `Quorate-Signature: t=<unix seconds>,v1=<hex>`, where `v1` is the HMAC-SHA256 (RFC 2104) of
//! `<t>.<body>` with the shared secret: whoever takes it recomputes the signature over the bytes that came, compares in
//! constant time, and refuses a `t` that is minutes off, so that no call can be replayed later.
//!
//! 200 is done. 409 says that what stands is not what was expected, and that nothing was changed. 429 asks for patience, with
//! `Retry-After`; any other 4xx says that nothing was changed and that somebody must do something. Whatever else happens to a
//! write leaves it in doubt, and it is read before anything else.
//!
//! Grade C, unless whoever runs the endpoint asserts `grade = "B"`: that it compares `expected` and writes in one transaction.
//! Nothing here can check that, so A is not on offer.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use super::{
    Change, Finding, Grade, Grant, Provider, ProviderError, Reading, Receipt, clip, hook,
    http::{self, Answer, BaseUrl, Effect, now},
    inspect::subject::{CREDENTIALS, RIGHTS, ZONE},
};
use crate::{
    core::{names::ServiceName, record::Record},
    secret::Secret,
};

/// The shortest secret that is taken, in bytes.
const SECRET_MIN: usize = 16;
/// For how long the endpoint may still carry out a request after the connection to it was lost: an assumption.
const LONGEST_REQUEST: Duration = Duration::from_mins(2);

/// What it takes to reach an endpoint.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    /// What is posted to.
    pub url: BaseUrl,
    /// What calls are signed with.
    pub secret: Secret,
    /// What the endpoint's operator asserts: B or C.
    pub grade: Grade,
    /// How long each request may take.
    pub timeout: Duration,
}

impl WebhookConfig {
    /// The time each request may take, unless configured.
    pub const TIMEOUT: Duration = Duration::from_secs(10);
}

/// One endpoint, asked for one service or for none in particular.
#[derive(Clone)]
pub struct Webhook {
    http: reqwest::Client,
    url: BaseUrl,
    secret: Secret,
    grade: Grade,
    service: Option<ServiceName>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("url", &self.url).field("grade", &self.grade).finish_non_exhaustive()
    }
}

impl Webhook {
    /// Checks the secret's form. Does not connect.
    ///
    /// # Errors
    /// The secret is too short, the grade is not to be had, or no HTTP client could be made.
    pub fn new(config: &WebhookConfig) -> Result<Self, String> {
        let length = config.secret.expose().len();
        if length < SECRET_MIN {
            return Err(format!(
                "the secret has {length} bytes: use at least {SECRET_MIN}, better `openssl rand -hex 32`"
            ));
        }
        if config.grade == Grade::A {
            return Err("a webhook has grade B or C".to_owned());
        }
        let http = http::client(config.timeout)?;
        let WebhookConfig { url, secret, grade, .. } = config.clone();
        Ok(Self { http, url, secret, grade, service: None })
    }

    async fn call(&self, question: &Value, effect: Effect) -> Result<Answer, ProviderError> {
        let call = format!("POST {}", self.url);
        let body = question.to_string();
        let failed = |error: http::CallError| error.into_provider_error("the webhook", effect);
        let signature = http::sensitive(&signature(self.secret.expose(), now(), &body)).map_err(failed)?;
        let request = self
            .http
            .post(self.url.to_string())
            .header("Quorate-Signature", signature)
            .header("Content-Type", "application/json")
            .body(body);
        let answer = http::send(&call, request).await.map_err(failed)?;
        if answer.is_success() { Ok(answer) } else { Err(refused(&answer, &call, effect)) }
    }
}

/// `t=<time>,v1=<hex of HMAC-SHA256 over "<time>.<body>">`
fn signature(secret: &str, time: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(format!("{time}.{body}").as_bytes());
    format!("t={time},v1={}", hex::encode(mac.finalize().into_bytes()))
}

fn refused(answer: &Answer, call: &str, effect: Effect) -> ProviderError {
    let said = clip(&String::from_utf8_lossy(&answer.body));
    let message = format!("the webhook answered {} to {call}: {said}", answer.status);
    let hint = match answer.status {
        409 if effect == Effect::Change => return ProviderError::Stale(message),
        408 | 500.. if effect == Effect::Change => return ProviderError::Indeterminate(message),
        408 | 409 | 429 | 500.. => {
            return ProviderError::Transient { message, retry_after: http::retry_after(&answer.headers) };
        }
        401 | 403 => "both sides must have the same secret and clocks that agree to minutes",
        404 => "check that `url` is the endpoint's, and that it knows this record",
        300..=399 => "the URL redirects: name the final one",
        _ => "the endpoint refused the call; its message says why",
    };
    ProviderError::Permanent { message, hint: hint.to_owned() }
}

#[async_trait]
impl Provider for Webhook {
    fn kind(&self) -> &'static str {
        "webhook"
    }

    fn grade(&self) -> Grade {
        self.grade
    }

    fn longest_request(&self) -> Duration {
        LONGEST_REQUEST
    }

    fn serving(&self, service: &ServiceName) -> Option<Arc<dyn Provider>> {
        Some(Arc::new(Self { service: Some(service.clone()), ..self.clone() }))
    }

    fn fence_place(&self, record: &Record) -> String {
        hook::fence_place("the webhook", record)
    }

    async fn read(&self, record: &Record) -> Result<Reading, ProviderError> {
        let answer = self.call(&hook::read(self.service.as_ref(), record), Effect::None).await?;
        hook::reading(record, &answer.body).map_err(|error| ProviderError::Transient {
            message: clip(&format!("the webhook {} gave {error}", self.url)),
            retry_after: None,
        })
    }

    async fn write(&self, change: &Change) -> Result<Receipt, ProviderError> {
        change.check_values(|_| true)?;
        let answer = self.call(&hook::write(self.service.as_ref(), change), Effect::Change).await?;
        hook::receipt(&answer.body)
            .map_err(|error| ProviderError::Indeterminate(clip(&format!("the webhook {} gave {error}", self.url))))
    }

    async fn rights(&self, record: &Record) -> Vec<Finding> {
        match self.read(record).await {
            Ok(_) => vec![
                Finding::pass(CREDENTIALS, "the endpoint takes the signature"),
                Finding::pass(ZONE, format!("the endpoint answers for {record}")),
                Finding::unknown(RIGHTS, "only a write shows whether it may write", "try the endpoint by itself"),
            ],
            Err(error) => vec![Finding::of_error(CREDENTIALS, &error)],
        }
    }

    fn policy(&self, records: &[Record]) -> Vec<Grant> {
        let names = records.iter().flat_map(|record| {
            let fence = if record.rtype.is_in_dns() {
                format!("{} TXT\n", record.fence_name())
            } else {
                format!("a text beside {}\n", record.name)
            };
            [format!("{} {}\n", record.name, record.rtype), fence]
        });
        vec![Grant { place: "the endpoint: what it must be able to read and write".to_owned(), text: names.collect() }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected text is what `printf '1795424645.{}' | openssl dgst -sha256 -hmac 0123456789abcdef` prints.
    #[test]
    fn a_signature_is_what_others_compute() {
        let v1 = "92661de961d764b09e9236e6bd74b2526352ee04d85f341cce9ad5e31eec3aa7";
        assert_eq!(signature("0123456789abcdef", 1_795_424_645, "{}"), format!("t=1795424645,v1={v1}"));
    }
}
