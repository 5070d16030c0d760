//! The HTTP probe: one request on a new connection, as a new user would make it.
//!
//! Everything is bounded: the head by hyper's buffer, the body by [`BODY_LIMIT`], the time by the caller's deadline. A body
//! that is longer than the limit is cut there and the connection closed; that fails only where the rest could matter: a
//! text not found so far, or JSON that is expected. Nothing is kept between probes: no connection, no TLS session, no
//! cookie.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    body,
    check::{Answer, BODY_LIMIT, Client, Failure, Progress, Stage},
    connect::connect,
    tcp::contains,
    tls::Alpn,
};
use crate::core::{names::RegionName, service::HttpCheck};

/// The longest head of a response that is read, in bytes.
const HEAD_LIMIT: usize = 64 * 1024;

/// Asks, and follows redirects within the same host as far as configured.
pub(super) async fn check(
    client: &Client,
    check: &HttpCheck,
    region: Option<&RegionName>,
    progress: &Progress,
) -> Result<Answer, Failure> {
    let mut path = check.path.clone();
    let mut redirects = 0;
    loop {
        let request = request(check, &path)?;
        let stream = connect(&client.resolver, &check.target, progress).await?;
        let step = match &check.tls {
            None => exchange(TokioIo::new(stream), request, check, region, progress).await?,
            Some(tls) => {
                let stream = client.tls.secure(stream, tls, Alpn::Http1, progress).await?;
                exchange(TokioIo::new(stream), request, check, region, progress).await?
            }
        };
        match step {
            Step::Done(answer) => return Ok(answer),
            Step::Redirect(_) if redirects == check.redirects => return Err(Failure::RedirectLoop(redirects)),
            Step::Redirect(location) => path = redirected(check, &path, &location)?,
        }
        redirects += 1;
    }
}

pub(super) enum Step {
    Done(Answer),
    /// To this location.
    Redirect(String),
}

pub(super) fn request(check: &HttpCheck, path: &str) -> Result<Request<Empty<Bytes>>, Failure> {
    let method = Method::from_bytes(check.method.as_bytes()).map_err(|error| Failure::Unsendable(error.to_string()))?;
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, authority(check))
        .header(header::USER_AGENT, concat!("quorate/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "*/*")
        // A cache that answers for a dead region hides the outage.
        .header(header::CACHE_CONTROL, "no-cache")
        .header(header::CONNECTION, "close")
        .body(Empty::new())
        .map_err(|error| Failure::Unsendable(error.to_string()))
}

/// The Host header: as configured, else the target's, with its port unless that is the scheme's own.
fn authority(check: &HttpCheck) -> String {
    if let Some(host) = &check.host {
        return host.clone();
    }
    let host = &check.target.host;
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    if check.target.port == default_port(check) { host } else { format!("{host}:{}", check.target.port) }
}

fn default_port(check: &HttpCheck) -> u16 {
    if check.tls.is_some() { 443 } else { 80 }
}

/// The request and the reading of its answer, with the connection driven beside it in the same task.
pub(super) async fn exchange<T>(
    io: TokioIo<T>,
    request: Request<Empty<Bytes>>,
    check: &HttpCheck,
    region: Option<&RegionName>,
    progress: &Progress,
) -> Result<Step, Failure>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    progress.enter(Stage::Waiting);
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(HEAD_LIMIT).handshake(io).await.map_err(|error| not_http(&error))?;
    let asked = async {
        let response = sender.send_request(request).await.map_err(|error| not_http(&error))?;
        progress.enter(Stage::Reading);
        read(response, check, region).await
    };
    let mut asked = std::pin::pin!(asked);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        step = &mut asked => return step,
        // It ends before the answer is taken when the server closes at once; what was received is still there.
        _ = &mut connection => {}
    }
    asked.await
}

/// An error of hyper's in words. Its own are precise, and carry nothing of what was received.
fn not_http(error: &hyper::Error) -> Failure {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    match cause {
        Some(cause) => Failure::Broken(cause.kind().into()),
        None => Failure::NotHttp(error.to_string()),
    }
}

async fn read(response: Response<Incoming>, check: &HttpCheck, region: Option<&RegionName>) -> Result<Step, Failure> {
    let (head, body) = response.into_parts();
    let as_wanted = check.statuses.contains(&head.status.as_u16());
    let location = head.headers.get(header::LOCATION).and_then(|location| location.to_str().ok());
    let follows = check.redirects > 0 && !as_wanted && head.status.is_redirection();
    if let Some(location) = location.filter(|_| follows) {
        return Ok(Step::Redirect(location.to_owned()));
    }
    let mismatch = (!as_wanted)
        .then(|| Failure::Status { got: head.status.as_u16(), wanted: words(check) })
        .or_else(|| header_mismatch(check, &head.headers));
    let json = is_json(&head.headers) || !check.json.is_empty();
    if mismatch.is_some() && !json {
        return Ok(Step::Done(Answer::new(mismatch)));
    }
    let (bytes, cut) = match read_body(body).await {
        Ok(read) => read,
        // The head said enough already.
        Err(_) if mismatch.is_some() => return Ok(Step::Done(Answer::new(mismatch))),
        Err(failure) => return Err(failure),
    };
    let mut answer = Answer::new(mismatch.or_else(|| text_mismatch(check, &bytes, cut)));
    if json {
        judge_json(&mut answer, check, region, &bytes, cut);
    }
    Ok(Step::Done(answer))
}

fn judge_json(answer: &mut Answer, check: &HttpCheck, region: Option<&RegionName>, bytes: &[u8], cut: bool) {
    let parsed =
        if cut { Err(Failure::JsonTooLong) } else { serde_json::from_slice(bytes).map_err(|_| Failure::NotJson) };
    let mismatch = match parsed {
        Ok(json) => {
            answer.dependencies = body::failing_dependencies(&json);
            body::judge(&json, check, region)
        }
        // Only what is configured can fail: a content type alone asks for nothing.
        Err(failure) => (!check.json.is_empty()).then_some(failure),
    };
    answer.mismatch = answer.mismatch.take().or(mismatch);
}

fn header_mismatch(check: &HttpCheck, headers: &HeaderMap) -> Option<Failure> {
    check.headers.iter().find_map(|(name, wanted)| {
        let mut values = headers.get_all(name.as_str()).iter().peekable();
        if values.peek().is_none() {
            return Some(Failure::HeaderMissing(name.clone()));
        }
        let found = values.any(|value| value.as_bytes() == wanted.as_bytes());
        (!found).then(|| Failure::Header(name.clone()))
    })
}

fn text_mismatch(check: &HttpCheck, bytes: &[u8], cut: bool) -> Option<Failure> {
    let wanted = check.body.as_ref()?;
    (!contains(bytes, wanted.as_bytes())).then_some(Failure::Body { cut })
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(content_type) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

fn words(check: &HttpCheck) -> String {
    let statuses: Vec<String> = check.statuses.iter().take(8).map(u16::to_string).collect();
    let more = if check.statuses.len() > 8 { " …" } else { "" };
    format!("{}{more}", statuses.join(" or "))
}

/// The body, and whether it was cut at [`BODY_LIMIT`].
async fn read_body(mut body: Incoming) -> Result<(Vec<u8>, bool), Failure> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| not_http(&error))?.into_data() else { continue };
        let room = BODY_LIMIT - bytes.len();
        bytes.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return Ok((bytes, true));
        }
    }
    Ok((bytes, false))
}

/// The path that a redirect leads to, if that is on the same scheme, host and port (RFC 9110 §10.2.2, RFC 3986 §5.2).
pub(super) fn redirected(check: &HttpCheck, path: &str, location: &str) -> Result<String, Failure> {
    let reference = location.split('#').next().unwrap_or_default();
    let scheme = if check.tls.is_some() { "https" } else { "http" };
    let absolute = if reference.starts_with("//") {
        format!("{scheme}:{reference}")
    } else if reference.contains("://") {
        reference.to_owned()
    } else if reference.starts_with('/') {
        return Ok(reference.to_owned());
    } else {
        let base = path.split('?').next().unwrap_or_default();
        let directory = base.rfind('/').map_or("/", |slash| &base[..=slash]);
        return Ok(format!("{directory}{reference}"));
    };
    let away = || Failure::RedirectAway("an address that cannot be read".to_owned());
    let uri: Uri = absolute.parse().map_err(|_| away())?;
    let host = uri.host().ok_or_else(away)?;
    let here: Uri = format!("{scheme}://{}/", authority(check)).parse().map_err(|_| away())?;
    let port = |uri: &Uri| uri.port_u16().unwrap_or_else(|| default_port(check));
    let same = uri.scheme_str() == Some(scheme)
        && here.host().is_some_and(|here| here.eq_ignore_ascii_case(host))
        && port(&uri) == port(&here);
    if !same {
        // No path or query: they may hold a token.
        return Err(Failure::RedirectAway(format!("{}://{host}", uri.scheme_str().unwrap_or(scheme))));
    }
    Ok(uri.path_and_query().map_or("/".to_owned(), ToString::to_string))
}
