//! How AWS is reached, the same for every service of it: one HTTP client, bounded times, no retries, and credentials that are
//! loaded when they are first needed and never shown.
//!
//! What is absent on purpose: the SDK's own retries. Whoever asks knows what a failure means, and when to ask again.

use std::{
    collections::BTreeMap,
    error::Error,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, profile::ProfileFileCredentialsProvider, provider_config::ProviderConfig,
    retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_credential_types::{Credentials, provider::error::CredentialsError};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        http::SharedHttpClient,
        interceptors::{Intercept, context::BeforeDeserializationInterceptorContextRef, dyn_dispatch_hint},
        result::SdkError,
        runtime_components::RuntimeComponents,
    },
    http::Response,
};
use aws_smithy_types::{DateTime, config_bag::ConfigBag, date_time::Format, error::metadata::ProvideErrorMetadata};
use tokio::sync::OnceCell;

use crate::secret::Secret;

/// A connection that is not made by then will not be.
const CONNECT: Duration = Duration::from_secs(1);
/// AWS takes signatures that are up to 5 minutes off, some services up to 15: it is told a little before.
const SKEW_LIMIT: u64 = 240;
/// What to do about a clock that is further off.
pub const SET_THE_CLOCK: &str = "AWS refuses what is signed more than 5 minutes off: set this machine's clock by NTP";
/// How much of a message of AWS is shown, in characters.
const MESSAGE: usize = 300;

/// One pool of connections for the whole process.
static HTTP: LazyLock<SharedHttpClient> =
    LazyLock::new(|| Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https());

/// How the SDK begins when no place had any.
const CHAIN: &str = "no credentials found in chain";
/// The same for people.
const NO_CREDENTIALS: &str =
    "no credentials for AWS: none in the environment, in ~/.aws, or from an instance, container or web identity role";

/// How this machine reaches AWS.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Instead of AWS's own endpoints, for all regions.
    pub endpoint_url: Option<String>,
    /// The same by region; wins.
    pub endpoints: BTreeMap<String, String>,
    /// Credentials of their own; the standard chain of AWS otherwise.
    pub keys: Option<Keys>,
    /// The profile of `~/.aws/config` to use; the standard one otherwise.
    pub profile: Option<String>,
}

/// A pair of access keys.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The access key's id.
    pub id: Secret,
    /// The secret access key.
    pub secret: Secret,
    /// The token that belongs to temporary ones.
    pub token: Option<Secret>,
}

/// AWS as this process reaches it. Connects to nothing until asked.
#[derive(Debug, Clone)]
pub struct Access {
    settings: Arc<Settings>,
    /// Loaded once, so that all clients share one cache of credentials.
    loaded: Arc<OnceCell<SdkConfig>>,
}

impl Access {
    /// With these settings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings: Arc::new(settings), loaded: Arc::default() }
    }

    /// What a client of one service in one region is built from; an operation is over within `timeout`.
    pub async fn config(&self, region: &str, timeout: Duration) -> SdkConfig {
        let base = self.loaded.get_or_init(|| load(&self.settings)).await;
        let times = TimeoutConfig::builder().connect_timeout(CONNECT.min(timeout)).operation_timeout(timeout).build();
        let mut builder = base.to_builder().region(Region::new(region.to_owned())).timeout_config(times);
        if let Some(url) = self.settings.endpoints.get(region).or(self.settings.endpoint_url.as_ref()) {
            builder = builder.endpoint_url(url.clone());
        }
        builder.build()
    }
}

async fn load(settings: &Settings) -> SdkConfig {
    // Every client is given its own; without one the chain would ask the network for it.
    let region = Region::from_static("us-east-1");
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(HTTP.clone())
        .retry_config(RetryConfig::disabled())
        .region(region.clone());
    if let Some(profile) = &settings.profile {
        // The chain would look into the environment first: whoever names a profile means its account and no other.
        let reached = ProviderConfig::without_region().with_region(Some(region)).with_http_client(HTTP.clone());
        let of_profile = ProfileFileCredentialsProvider::builder().configure(&reached).profile_name(profile).build();
        loader = loader.profile_name(profile).credentials_provider(of_profile);
    }
    if let Some(Keys { id, secret, token }) = &settings.keys {
        let token = token.as_ref().map(|token| token.expose().to_owned());
        loader = loader.credentials_provider(Credentials::new(id.expose(), secret.expose(), token, None, "quorate"));
    }
    loader.load().await
}

/// AWS's clock, as its answers tell it (`Date`): AWS refuses what is signed more than a few minutes off. An interceptor of the
/// clients whose answers it follows.
#[derive(Debug, Clone, Default)]
pub struct Clock(Arc<Mutex<Option<i64>>>);

impl Clock {
    /// By how many seconds AWS was ahead of this machine at its last answer; `None` before the first.
    #[must_use]
    pub fn ahead(&self) -> Option<i64> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far the clocks are apart, in words.
    ///
    /// # Errors
    /// So far that AWS refuses what is signed here, or soon will.
    #[must_use]
    pub fn reading(&self) -> Option<Result<String, String>> {
        let ahead = self.ahead()?;
        let by = ahead.unsigned_abs();
        let words = match ahead {
            // The answer's way is part of it, and it tells whole seconds.
            -2..=2 => "AWS's clock and this node's agree to about a second".to_owned(),
            3.. => format!("AWS's clock is {by} s ahead"),
            _ => format!("AWS's clock is {by} s behind"),
        };
        Some(if by < SKEW_LIMIT { Ok(words) } else { Err(words) })
    }
}

#[dyn_dispatch_hint]
impl Intercept for Clock {
    fn name(&self) -> &'static str {
        "clock"
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        if let Some(theirs) = date.and_then(|date| DateTime::from_str(date, Format::HttpDate).ok()) {
            let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let ahead = theirs.secs().saturating_sub(i64::try_from(ours).unwrap_or(i64::MAX));
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(ahead);
        }
        Ok(())
    }
}

/// Why AWS did not do what it was asked, by what it means to whoever asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No answer, or one that says that the service is not well: it may have happened all the same.
    #[error("{0}")]
    Down(String),
    /// AWS has understood and refused; nothing happened.
    #[error("{code}: {message}")]
    Refused {
        /// The code of AWS, such as `AccessDeniedException`.
        code: String,
        /// Its message, cut.
        message: String,
    },
    /// Nothing was sent: this machine lacks something.
    #[error("{0}")]
    Ours(String),
}

impl Fault {
    /// What an SDK's error comes down to.
    pub fn of<E: ProvideErrorMetadata + Error + 'static>(error: &SdkError<E, Response>) -> Self {
        if let Some(why) = credentials(error) {
            return Self::Ours(why);
        }
        match error {
            SdkError::ConstructionFailure(_) => Self::Ours(format!("the request cannot be built: {}", root(error))),
            SdkError::TimeoutError(_) => Self::Down("no answer in time".to_owned()),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => {
                Self::Down("no connection in time".to_owned())
            }
            SdkError::DispatchFailure(_) => Self::Down(format!("no connection: {}", root(error))),
            SdkError::ServiceError(of) => {
                let (status, said) = (of.raw().status().as_u16(), of.err());
                let code = said.code().unwrap_or_default();
                if status >= 500 || code.is_empty() {
                    return Self::Down(format!("status {status} {code}").trim_end().to_owned());
                }
                Self::Refused { code: code.to_owned(), message: cut(said.message().unwrap_or_default()) }
            }
            _ => Self::Down("the answer is not one of AWS".to_owned()),
        }
    }

    /// Whether AWS refused with this code.
    #[must_use]
    pub fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == wanted)
    }

    /// Whether it is a matter of rights or of credentials: a fault of this machine's set-up, and no sign of the region's health.
    #[must_use]
    pub fn is_about_rights(&self) -> bool {
        const CODES: [&str; 18] = [
            "AccessDenied",
            "AccessDeniedException",
            "ExpiredToken",
            "ExpiredTokenException",
            "IncompleteSignature",
            "IncompleteSignatureException",
            "InvalidAccessKeyId",
            "InvalidClientTokenId",
            "InvalidSignatureException",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "NotAuthorized",
            "OptInRequired",
            "RequestExpired",
            "RequestTimeTooSkewed",
            "SignatureDoesNotMatch",
            "SubscriptionRequiredException",
            "UnrecognizedClientException",
        ];
        match self {
            Self::Ours(_) => true,
            Self::Refused { code, .. } => CODES.contains(&code.as_str()),
            Self::Down(_) => false,
        }
    }
}

/// The chain of credentials says why it found none somewhere below.
fn credentials(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<CredentialsError>() {
            return Some(match found {
                // The chain tells of each place in a paragraph: none of them is what somebody meant to use.
                CredentialsError::CredentialsNotLoaded(_) if root(found).starts_with(CHAIN) => {
                    NO_CREDENTIALS.to_owned()
                }
                found => format!("no credentials for AWS: {}", root(found)),
            });
        }
        next = error.source();
    }
    None
}

/// The innermost reason, which says most.
fn root(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(inner) = error.source() {
        error = inner;
    }
    cut(&error.to_string())
}

/// One line, not too long.
fn cut(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MESSAGE).collect()
}
