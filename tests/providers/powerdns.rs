//! `powerdns` at Debian's `PowerDNS`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use quorate::{
    core::{
        record::{Record, RecordType},
        safety::RuleOutcome,
    },
    dns::{
        Grade, Provider, ProviderError, Reading,
        inspect::subject,
        powerdns::{PowerDns, PowerDnsConfig},
    },
    secret::Secret,
};

use crate::{
    changes::{ADDRESSES, EU, FENCE, US, ZONE, change, nothing, record, rrset, switch, unquoted, www},
    contract::{Handle, Of, Subject, Trouble, Truth},
    fault_proxy::FaultProxy,
    over_http::{OverHttp, Refusals, refusal},
    powerdns_server::{API_KEY, PowerDnsServer},
};

const WWW: &str = "www.example.test";

struct AtPowerDns {
    server: PowerDnsServer,
    http: OverHttp,
}

/// The server, with `www` in the EU and an alias.
pub fn server() -> Option<PowerDnsServer> {
    PowerDnsServer::start(ZONE, &[(WWW, "A", 60, EU), ("cdn.example.test", "CNAME", 60, "eu.example.net")])
}

pub async fn subject() -> Option<Box<dyn Subject>> {
    let server = server()?;
    let refused = |status, text: &str| refusal(status, "text/plain", text);
    let http = OverHttp {
        proxy: FaultProxy::start(server.api_address()).await,
        read: ("GET", "/zones/"),
        write: ("PATCH", "/zones/"),
        refusals: Refusals {
            too_many: refused(429, "Too Many Requests"),
            expired: refused(401, "Unauthorized"),
            forbidden: refused(403, "Forbidden"),
        },
    };
    Some(Box::new(AtPowerDns { server, http }))
}

fn config(api: SocketAddr) -> PowerDnsConfig {
    PowerDnsConfig {
        base_url: format!("http://{api}").parse().unwrap(),
        server: PowerDnsConfig::SERVER.to_owned(),
        api_key: Secret::new(API_KEY),
        timeout: Duration::from_secs(30),
    }
}

impl AtPowerDns {
    fn with(&self, timeout: Duration) -> Handle {
        Arc::new(PowerDns::new(&PowerDnsConfig { timeout, ..config(self.http.proxy.address) }).unwrap())
    }
}

#[async_trait]
impl Subject for AtPowerDns {
    fn name(&self) -> &'static str {
        "powerdns"
    }

    fn provider(&self) -> Handle {
        self.with(Duration::from_secs(30))
    }

    fn record(&self) -> Record {
        www()
    }

    fn values(&self) -> [&'static str; 3] {
        ADDRESSES
    }

    fn absent(&self) -> Result<Record, &'static str> {
        Ok(nothing())
    }

    async fn truth(&self) -> Truth {
        tokio::task::block_in_place(|| Truth {
            values: self.server.dig(WWW, "A"),
            fence: unquoted(&self.server.dig(FENCE, "TXT")),
        })
    }

    async fn put_fence(&self, text: Option<&str>) {
        tokio::task::block_in_place(|| self.server.put_text(FENCE, text));
    }

    async fn arm(&self, of: Of, trouble: Trouble) -> Result<Handle, &'static str> {
        self.http.fail_next(of, trouble);
        Ok(if matches!(trouble, Trouble::Hang { .. }) { self.with(Duration::from_secs(3)) } else { self.provider() })
    }

    async fn disarm(&self) -> usize {
        self.http.proxy.disarm()
    }

    async fn sent(&self) -> usize {
        self.http.sent()
    }

    async fn caught(&self) {
        self.http.proxy.caught().await;
    }

    async fn release(&self) {
        self.http.proxy.release();
    }

    fn secrets(&self) -> Vec<String> {
        vec![API_KEY.to_owned()]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn aliases_new_records_disabled_values_and_refusals() {
    let Some(server) = server() else { return };
    let powerdns = PowerDns::new(&config(server.api_address())).unwrap();
    assert_eq!(powerdns.grade(), Grade::C);
    let cdn = record("cdn.example.test", RecordType::Cname);
    switch(&powerdns, &cdn, &["us.example.net"], 1).await.unwrap();
    assert_eq!(server.dig("cdn.example.test", "CNAME"), ["us.example.net."]);
    let fresh = record("fresh.example.test", RecordType::Aaaa);
    let receipt = switch(&powerdns, &fresh, &["2001:db8::20", "2001:db8::21"], 1).await.unwrap();
    assert!(receipt.0.contains("serial 20"), "{receipt:?}");
    assert_eq!(server.dig("fresh.example.test", "AAAA"), ["2001:db8::20", "2001:db8::21"]);

    // What is disabled is no answer.
    server.sql(&format!(
        "INSERT INTO records (domain_id, name, type, ttl, content, prio, disabled, auth) VALUES (1, '{WWW}', 'A', 60, '192.0.2.99', 0, 1, 1);"
    ));
    assert_eq!(powerdns.read(&www()).await.unwrap().rrset, Some(rrset(RecordType::A, 60, &[EU])));
    switch(&powerdns, &www(), &[US], 1).await.unwrap();
    assert_eq!(server.dig(WWW, "A"), [US]);

    // A name that an alias stands at takes no address: the whole PATCH is refused, the fence as well.
    let blocked = record("cdn.example.test", RecordType::A);
    let fence = powerdns.read(&blocked).await.unwrap().fence;
    let error = powerdns.write(&change(&blocked, Reading { rrset: None, fence }, &[EU], 2)).await.unwrap_err();
    assert!(matches!(&error, ProviderError::Permanent { message, .. } if message.contains("422")), "{error:?}");
    assert_eq!(server.dig("_quorate.cdn.example.test", "TXT"), ["\"v=1 cluster=prod epoch=1\""]);

    let away =
        Record { zone: "example.invalid".parse().unwrap(), name: "www.example.invalid".parse().unwrap(), ..www() };
    let error = powerdns.read(&away).await.unwrap_err().to_string();
    assert!(error.contains("404") && error.contains("has the zone"), "{error}");

    let outcomes = |findings: &[quorate::dns::Finding]| {
        findings.iter().map(|finding| (finding.subject.to_string(), finding.outcome)).collect::<Vec<_>>()
    };
    let all = powerdns.rights(&www()).await;
    assert_eq!(all.len(), 4);
    assert!(all.iter().all(|finding| finding.outcome == RuleOutcome::Pass), "{all:?}");
    // Secondaries that would learn nothing of a switch are no fault of the key, and told all the same.
    server.sql("DELETE FROM domainmetadata WHERE kind = 'SOA-EDIT-API';");
    let told = powerdns.rights(&www()).await;
    let serial = told.iter().find(|finding| finding.subject == "serial").expect("the serial");
    assert!(serial.outcome == RuleOutcome::Unknown && serial.hint.contains("SOA-EDIT-API DEFAULT"), "{told:?}");
    let gone = powerdns.rights(&away).await;
    assert_eq!(outcomes(&gone), [(subject::ZONE.to_owned(), RuleOutcome::Fail)]);
    let wrong =
        PowerDns::new(&PowerDnsConfig { api_key: Secret::new("wrong-key"), ..config(server.api_address()) }).unwrap();
    let findings = wrong.rights(&www()).await;
    assert_eq!(outcomes(&findings), [(subject::CREDENTIALS.to_owned(), RuleOutcome::Fail)]);
    assert!(!format!("{findings:?}{wrong:?}").contains("wrong-key"));
    assert!(wrong.policy(&[www()])[0].text.contains("rfc2136"));
}
