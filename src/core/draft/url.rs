//! Targets of probes: `host:port` and `scheme://host[:port]/path`.
//!
//! Only what a probe needs of RFC 3986: no user, no fragment, no escapes in hosts. Written here because `core` takes no
//! dependencies, and because a target that two readers understand differently would be probed differently.

use crate::core::{record::DomainName, service::Target};

/// An address to connect to and what is asked there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Whether it is https.
    pub tls: bool,
    /// Where to connect.
    pub target: Target,
    /// Path and query, beginning with `/`.
    pub path: String,
}

/// Reads `http[s]://host[:port][/path][?query]`.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(text: &str) -> Result<Url, String> {
    let (tls, rest) = if let Some(rest) = text.strip_prefix("https://") {
        (true, rest)
    } else if let Some(rest) = text.strip_prefix("http://") {
        (false, rest)
    } else {
        return Err(format!("`{}` does not begin with http:// or https://", cut(text)));
    };
    if rest.contains('#') {
        return Err("a fragment (`#`) is never sent to a server".to_owned());
    }
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(at);
    if authority.contains('@') {
        return Err("a URL here carries no user or password: it would be in the log for all to read".to_owned());
    }
    // The generic-syntax characters of RFC 3986 §2; everything else must be percent-encoded.
    let allowed = |c: u8| c.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&c);
    if let Some(wrong) = tail.chars().find(|c| !u8::try_from(*c).is_ok_and(allowed)) {
        return Err(format!("{wrong:?} cannot stand in a URL: percent-encode it"));
    }
    let target = target(authority, Some(if tls { 443 } else { 80 }))?;
    let path = if tail.starts_with('/') { tail.to_owned() } else { format!("/{tail}") };
    Ok(Url { tls, target, path })
}

/// Reads `host:port`, or `host` where there is a default port. IPv6 addresses stand in brackets.
///
/// # Errors
/// What is wrong with it, in words.
pub fn target(text: &str, default_port: Option<u16>) -> Result<Target, String> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or_else(|| format!("`{}` has no closing bracket", cut(text)))?;
        let address = host.parse::<std::net::Ipv6Addr>();
        let address = address.map_err(|_| format!("`{}` is not an IPv6 address", cut(host)))?;
        let port = match port.strip_prefix(':') {
            Some(port) => Some(port),
            None if port.is_empty() => None,
            None => return Err(format!("`{}`: after the bracket comes `:` and a port", cut(text))),
        };
        (address.to_string(), port)
    } else {
        let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
        if port.is_some_and(|port| port.contains(':')) {
            return Err(format!("`{}`: put an IPv6 address in brackets, [2001:db8::1]:443", cut(text)));
        }
        (self::host(host)?, port)
    };
    let port = match port {
        Some(port) => port_number(port)?,
        None => default_port.ok_or_else(|| format!("`{}` has no port: write host:port", cut(text)))?,
    };
    Ok(Target { host, port })
}

/// Reads a host name or an IPv4 address.
pub(super) fn host(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("the host is missing".to_owned());
    }
    // A name whose last label is a number would be taken for an address by some and for a name by others.
    let numeric = text.trim_end_matches('.').rsplit('.').next().is_some_and(|l| l.bytes().all(|c| c.is_ascii_digit()));
    if numeric {
        let address = text.parse::<std::net::Ipv4Addr>();
        return address.map(|a| a.to_string()).map_err(|_| format!("`{}` is not an IPv4 address", cut(text)));
    }
    let name = text.parse::<DomainName>().map_err(|_| format!("`{}` is not a host name", cut(text)))?;
    if name.as_str().starts_with('*') {
        return Err(format!("`{}` is not a host name", cut(text)));
    }
    Ok(name.as_str().to_owned())
}

fn port_number(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let port = digits.then(|| text.parse().ok()).flatten().filter(|port| *port > 0);
    port.ok_or_else(|| format!("`{}` is not a port (1 to 65535)", cut(text)))
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split_as_a_client_would() {
        let table = [
            ("http://a.example", (false, "a.example", 80, "/")),
            ("https://203.0.113.10/health", (true, "203.0.113.10", 443, "/health")),
            ("https://[2001:DB8::1]:8443/a?b=c", (true, "2001:db8::1", 8443, "/a?b=c")),
            ("http://A.Example?x", (false, "a.example", 80, "/?x")),
        ];
        for (text, (tls, host, port, path)) in table {
            let wanted = Url { tls, target: Target { host: host.into(), port }, path: path.into() };
            assert_eq!(parse(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_readers_would_understand_differently_is_refused() {
        for text in [
            "ftp://a/",
            "http://",
            "http:///x",
            "http://user:pw@a/",
            "http://a/#f",
            "http://a/b c",
            "http://a/é",
            "http://999.1.1.1/",
            "http://1.2.3/",
            "http://2001:db8::1/",
            "http://[2001:db8::1/",
            "http://[::1]8/",
            "http://a:0/",
            "http://a:65536/",
            "http://a:+80/",
            "http://a:/",
            "http://*.a/",
            "http://a_b..c/",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(target("a.example", None).is_err());
        assert_eq!(target("a.example", Some(53)), Ok(Target { host: "a.example".into(), port: 53 }));
    }
}
