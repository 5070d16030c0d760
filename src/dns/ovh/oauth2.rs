//! `OAuth2` client credentials (RFC 6749 §4.4): the newer way to prove to OVH who calls.
//!
//! A token is asked for when there is none, kept until shortly before it expires, and shown to nobody. Asking for one changes
//! nothing, so that a failure here means that the call it was for was not made.

use std::{fmt, time::Duration};

use reqwest::{Url, header};
use serde::Deserialize;
use tokio::{sync::Mutex, time::Instant};

use super::client::{CallError, Endpoint, Refusal};
use crate::{
    dns::http::{self, BaseUrl},
    secret::Secret,
};

/// How long before its end a token is no longer used.
const MARGIN: Duration = Duration::from_secs(30);

/// The token of a service account, and what it is asked for with.
pub(super) struct OAuth2 {
    token_url: BaseUrl,
    client_id: Secret,
    client_secret: Secret,
    token: Mutex<Option<Token>>,
}

impl fmt::Debug for OAuth2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth2").field("token_url", &self.token_url).finish_non_exhaustive()
    }
}

/// A token and when it is of no more use.
#[derive(Clone)]
struct Token {
    text: Secret,
    until: Instant,
}

/// RFC 6749 §5.1
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

/// RFC 6749 §5.2
#[derive(Deserialize, Default)]
#[serde(default)]
struct Denied {
    error: String,
    error_description: String,
}

impl OAuth2 {
    pub(super) fn new(token_url: BaseUrl, client_id: Secret, client_secret: Secret) -> Self {
        Self { token_url, client_id, client_secret, token: Mutex::new(None) }
    }

    /// A token; never `refused`, which OVH has just turned down. Callers that come together ask once.
    pub(super) async fn token(&self, http: &reqwest::Client, refused: Option<&Secret>) -> Result<Secret, CallError> {
        let mut kept = self.token.lock().await;
        if let Some(token) = &*kept {
            let good = Instant::now() < token.until && refused.is_none_or(|old| old.expose() != token.text.expose());
            if good {
                return Ok(token.text.clone());
            }
        }
        *kept = None;
        let token = self.ask(http).await?;
        let text = token.text.clone();
        *kept = Some(token);
        Ok(text)
    }

    async fn ask(&self, http: &reqwest::Client) -> Result<Token, CallError> {
        let call = format!("POST {}", self.token_url);
        let not_sent = |said: String| CallError::NotSent(format!("{call}: {said}"));
        // The encoding of a form is that of a query.
        let mut form: Url = "http://form/".parse().map_err(|error| not_sent(format!("{error}")))?;
        form.query_pairs_mut()
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", self.client_id.expose())
            .append_pair("client_secret", self.client_secret.expose())
            .append_pair("scope", "all");
        let request = http
            .post(self.token_url.to_string())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(form.query().unwrap_or_default().to_owned());
        let answer = http::send(&call, request).await.map_err(|error| match error {
            http::CallError::NotSent(said) | http::CallError::Unanswered(said) => CallError::NotSent(said),
        })?;
        if !answer.is_success() {
            let denied: Denied = serde_json::from_slice(&answer.body).unwrap_or_default();
            return Err(CallError::Refused(Refusal::of_token(&answer, &denied.error, &denied.error_description, call)));
        }
        let granted: Granted =
            serde_json::from_slice(&answer.body).map_err(|_| not_sent("the answer holds no token".to_owned()))?;
        let lives = Duration::from_secs(granted.expires_in.unwrap_or(0).min(86_400));
        Ok(Token { text: Secret::new(&granted.access_token), until: Instant::now() + lives.saturating_sub(MARGIN) })
    }
}

/// Where the tokens of one of OVH's own endpoints come from.
pub(super) fn token_url(endpoint: &Endpoint) -> Option<&'static str> {
    match endpoint.to_string().as_str() {
        "https://eu.api.ovh.com/1.0" => Some("https://www.ovh.com/auth/oauth2/token"),
        "https://ca.api.ovh.com/1.0" => Some("https://ca.ovh.com/auth/oauth2/token"),
        "https://api.us.ovhcloud.com/1.0" => Some("https://us.ovhcloud.com/auth/oauth2/token"),
        _ => None,
    }
}

/// Reads an answer as both that it may be.
#[cfg(feature = "testing")]
pub(super) fn read_answer(body: &[u8]) {
    let _ = (serde_json::from_slice::<Granted>(body).is_ok(), serde_json::from_slice::<Denied>(body).is_ok());
}
