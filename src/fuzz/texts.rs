//! What people and machines write as text: service files, node configurations, names, values, fences, identities.

use super::{Target, reads_back};
use crate::{
    config,
    core::{
        draft::url,
        names::{ClusterId, RegionName},
        record::{DomainName, Fence, RecordType, RecordValue},
        safety::Rule,
    },
    pki, service_file,
    tls::Identity,
};

pub(super) const TARGETS: &[Target] = &[
    Target { name: "service-file", run: service, seeds: services },
    Target { name: "node-file", run: node, seeds: nodes },
    Target { name: "names", run: names, seeds: spellings },
    Target { name: "certificate", run: certificate, seeds: certificates },
];

fn text(input: &[u8]) -> Option<&str> {
    std::str::from_utf8(input).ok()
}

fn service(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let _ = (service_file::is_policy_alone(text), service_file::parse_policy(text, &[]).is_ok());
    match service_file::parse(text) {
        Ok((service, warnings)) => {
            let _ = service_file::parse_policy(text, &service.regions).is_ok();
            let _: Vec<String> = warnings.iter().map(|warning| warning.as_warning("file").to_string()).collect();
            let written = service_file::write(&service);
            let read = service_file::parse(&written).map(|(read, _)| read);
            assert_eq!(read.as_ref(), Ok(&service), "what was accepted is accepted again:\n{written}");
        }
        Err(problems) => assert!(problems.count() > 0 && !problems.to_string().is_empty()),
    }
}

fn services() -> Vec<Vec<u8>> {
    [
        include_str!("../../tests/fixtures/services/design.toml"),
        include_str!("../../tests/fixtures/services/every-key.toml"),
        include_str!("../../tests/fixtures/services/ten-errors.toml"),
        "[policy]\nfall = 8\nquorum = 'all'\nwindows = ['Sat 02:00-04:00', '2026-12-24T22:00Z/PT4H']\n",
    ]
    .map(Vec::from)
    .into_iter()
    .chain(floods())
    .collect()
}

/// Files of the greatest length, each more of one thing than anybody would write.
fn floods() -> Vec<Vec<u8>> {
    let many = |unit: &str| unit.repeat(200_000 / unit.len());
    let keys: Vec<_> = (0..25_000).map(|i| format!("k{i}=1\n")).collect();
    let tables: Vec<_> = (0..15_000).map(|i| format!("[t{i}.a.b]\n")).collect();
    [
        format!("{}a = 1", many("a.")),
        format!("[{}a]", many("a.")),
        format!("[[{}a]]", many("a.")),
        format!("x = {{ {}a = 1 }}", many("a.")),
        format!("x = {}", many("[")),
        format!("x = {}", many("{a=")),
        many("[[region]]\n"),
        many("[[region]]\n[[region.probe]]\n"),
        format!("name = [{}]", many("1,")),
        many("\"\n"),
        many("a"),
        keys.concat(),
        tables.concat(),
    ]
    .map(String::into_bytes)
    .to_vec()
}

/// What every credential is here: it must never be shown.
const CREDENTIAL: &str = "c2VjcmV0LXNlY3JldC1zZWNyZXQ=";

fn node(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let environment = |name: &str| (name != "CREDENTIALS_DIRECTORY").then(|| CREDENTIAL.to_owned());
    let shown = match config::parse(text, &environment) {
        Ok((config, _)) => match crate::dns::config::build(&config.providers, vec![]) {
            Ok(dns) => format!("{config:?}{dns:?}"),
            Err(errors) => format!("{errors:?}"),
        },
        Err(problems) => problems.to_string(),
    };
    assert!(text.contains(CREDENTIAL) || !shown.contains(CREDENTIAL), "a credential is shown");
}

fn nodes() -> Vec<Vec<u8>> {
    let good = r#"
[node]
cluster = "prod"
id = 1
site = "paris"
data = "/var/lib/quorate"
listen = "0.0.0.0:7700"
advertise = "node-1.example.net:7700"
http = "127.0.0.1:7701"
[tls]
ca = "/etc/quorate/ca.crt"
cert = "/etc/quorate/node.crt"
key = "/etc/quorate/node.key"
[log]
level = "info"
format = "json"
[[control]]
http = "https://www.example.com/"
[provider.bind]
type = "rfc2136"
server = "192.0.2.53"
nameservers = ["192.0.2.53", "[2001:db8::53]:5300"]
key = { name = "quorate-key", algorithm = "hmac-sha256", secret_env = "TSIG" }
[provider.ovh-main]
type = "ovh"
endpoint = "ovh-eu"
application_key_env = "AK"
application_secret_env = "AS"
consumer_key_env = "CK"
"#;
    vec![good.into(), include_str!("../../tests/fixtures/nodes/many-errors.toml").into()]
        .into_iter()
        .chain(floods())
        .collect()
}

fn names(input: &[u8]) {
    let Some(text) = text(input) else { return };
    reads_back::<DomainName>(text);
    reads_back::<ClusterId>(text);
    reads_back::<RegionName>(text);
    reads_back::<RecordType>(text);
    reads_back::<Rule>(text);
    reads_back::<Identity>(text);
    if let Ok(fence) = text.parse::<Fence>() {
        assert_eq!(fence.to_string(), text, "a fence has one spelling");
        assert!(fence.epoch.next() > fence.epoch, "an epoch has a next one");
    }
    for rtype in [RecordType::A, RecordType::Aaaa, RecordType::Cname, RecordType::Pool] {
        if let Ok(value) = RecordValue::parse(rtype, text) {
            assert_eq!(RecordValue::parse(rtype, &value.to_string()).as_ref(), Ok(&value));
        }
    }
    let _ = (url::parse(text), url::target(text, None));
}

fn spellings() -> Vec<Vec<u8>> {
    [
        "app.example.com.",
        "_quorate.*.example.com",
        "v=1 cluster=prod epoch=42",
        "v=1 cluster=prod epoch=18446744073709551615",
        "192.0.2.1",
        "2001:db8::1",
        "quorate://prod/node/1",
        "quorate://prod/admin/ann@example.com",
        "https://[2001:db8::1]:8443/health?x=y",
        "gate:dynamodb-lag",
        "AAAA",
    ]
    .map(Vec::from)
    .to_vec()
}

/// DER or PEM.
fn certificate(input: &[u8]) {
    let _ = Identity::from_certificate(input);
    crate::probe::fuzz::life(input);
    if let Some(pem) = text(input) {
        let _ = Identity::from_pem(pem);
    }
}

fn certificates() -> Vec<Vec<u8>> {
    let directory = tempfile::tempdir().expect("a directory");
    let cluster: ClusterId = "prod".parse().expect("a name");
    pki::init(directory.path(), &cluster, 30).expect("a CA");
    let node = Identity::Node { cluster, id: 1 };
    let issued = pki::issue(directory.path(), &node, &["192.0.2.1".to_owned()], 30).expect("a certificate");
    let pem = std::fs::read(issued.certificate).expect("its file");
    let (_, parsed) = x509_parser::pem::parse_x509_pem(&pem).expect("PEM");
    vec![parsed.contents, pem]
}
