//! Route 53 as ministack plays it: a zone to write to, and what stands in it, asked over plain HTTP without any SDK.
#![allow(dead_code)]

use std::net::SocketAddr;

/// The API's root, with its version.
const API: &str = "/2013-04-01";

/// One record set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    pub name: String,
    pub rtype: String,
    pub ttl: Option<u32>,
    pub identifier: Option<String>,
    pub weight: Option<u32>,
    pub values: Vec<String>,
    pub alias: Option<String>,
}

/// A zone at ministack.
#[derive(Debug, Clone)]
pub struct Zone {
    pub id: String,
    server: SocketAddr,
    client: reqwest::Client,
}

impl Zone {
    /// Makes a public hosted zone.
    pub async fn create(server: SocketAddr, name: &str) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let body = format!(
            "<?xml version=\"1.0\"?><CreateHostedZoneRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\">\
             <Name>{name}</Name><CallerReference>{name}</CallerReference></CreateHostedZoneRequest>"
        );
        let zone = Self { id: String::new(), server, client };
        let made = zone.send("POST", "/hostedzone", &body).await;
        let id = between(&made, "<Id>/hostedzone/", "</Id>").first().copied().map(str::to_owned);
        Self { id: id.unwrap_or_else(|| panic!("no zone: {made}")), ..zone }
    }

    async fn send(&self, method: &str, path: &str, body: &str) -> String {
        let url = format!("http://{}{API}{path}", self.server);
        // ministack tells services apart by the scope of the credential.
        let signature = "AWS4-HMAC-SHA256 Credential=test/20261125/us-east-1/route53/aws4_request, \
                         SignedHeaders=host, Signature=0";
        let request = self.client.request(method.parse().expect("a method"), url).header("authorization", signature);
        let answer = request.body(body.to_owned()).send().await.expect("an answer");
        let status = answer.status();
        let text = answer.text().await.expect("a text");
        assert!(status.is_success(), "{method} {path}: {status} {text}");
        text
    }

    /// Changes record sets: `(action, the inner XML of ResourceRecordSet)`.
    pub async fn change(&self, changes: &[(&str, String)]) {
        let changes: Vec<_> = changes
            .iter()
            .map(|(action, set)| {
                format!("<Change><Action>{action}</Action><ResourceRecordSet>{set}</ResourceRecordSet></Change>")
            })
            .collect();
        let changes = changes.concat();
        let body = format!(
            "<?xml version=\"1.0\"?><ChangeResourceRecordSetsRequest \
             xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><ChangeBatch><Changes>{changes}</Changes>\
             </ChangeBatch></ChangeResourceRecordSetsRequest>"
        );
        self.send("POST", &format!("/hostedzone/{}/rrset", self.id), &body).await;
    }

    /// Every record set of the zone.
    pub async fn sets(&self) -> Vec<Set> {
        let text = self.send("GET", &format!("/hostedzone/{}/rrset?maxitems=300", self.id), "").await;
        let one = |inner: &str, tag: &str| {
            between(inner, &format!("<{tag}>"), &format!("</{tag}>")).first().map(|text| (*text).to_owned())
        };
        between(&text, "<ResourceRecordSet>", "</ResourceRecordSet>")
            .into_iter()
            .map(|inner| Set {
                name: one(inner, "Name").expect("a name").trim_end_matches('.').to_owned(),
                rtype: one(inner, "Type").expect("a type"),
                ttl: one(inner, "TTL").and_then(|ttl| ttl.parse().ok()),
                identifier: one(inner, "SetIdentifier"),
                weight: one(inner, "Weight").and_then(|weight| weight.parse().ok()),
                values: between(inner, "<Value>", "</Value>").into_iter().map(plain).collect(),
                alias: one(inner, "DNSName"),
            })
            .collect()
    }

    /// The values of one name and type, sorted, and without the quotes of texts.
    pub async fn values(&self, name: &str, rtype: &str) -> Vec<String> {
        let sets = self.sets().await;
        let of = sets.into_iter().filter(|set| set.name == name && set.rtype == rtype);
        let mut values: Vec<String> = of.flat_map(|set| set.values).map(|v| v.trim_matches('"').to_owned()).collect();
        values.sort();
        values
    }
}

/// The inner XML of a record set with values.
pub fn set(name: &str, rtype: &str, ttl: u32, values: &[&str], more: &str) -> String {
    let values: Vec<_> =
        values.iter().map(|v| format!("<ResourceRecord><Value>{v}</Value></ResourceRecord>")).collect();
    let values = values.concat();
    format!("<Name>{name}</Name><Type>{rtype}</Type>{more}<TTL>{ttl}</TTL><ResourceRecords>{values}</ResourceRecords>")
}

fn plain(text: &str) -> String {
    text.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

fn between<'t>(text: &'t str, start: &str, end: &str) -> Vec<&'t str> {
    text.split(start).skip(1).filter_map(|rest| rest.split(end).next()).collect()
}
