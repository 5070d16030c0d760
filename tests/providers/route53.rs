//! `route53` at ministack, which boto3 is run against first, and what only Route 53 has: aliases, weights, change ids.

use std::{
    process::Command,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use aws_smithy_types::{DateTime, date_time::Format};
use quorate::{
    aws::{Keys, Settings},
    core::{
        names::Epoch,
        record::{Fence, Record, RecordType, RecordValue, RrSet},
        safety::RuleOutcome,
    },
    dns::{
        Change, Provider, ProviderError,
        route53::{Route53, Route53Config},
    },
    secret::Secret,
};

use crate::{
    contract::{Handle, Of, Subject, Trouble, Truth},
    fault_proxy::{Fault, FaultProxy, Reply},
    ministack::{KEY, Ministack, PACKAGES},
    over_http::{self, Refusals},
    python,
    route53_zone::{Zone, set},
};

const ZONE: &str = "example.test";
const READ: (&str, &str) = ("GET", "/rrset");
const WRITE: (&str, &str) = ("POST", "/rrset");

struct AtMinistack {
    _server: Ministack,
    zone: Zone,
    proxy: FaultProxy,
}

pub async fn subject() -> Option<Box<dyn Subject>> {
    let server = Ministack::start()?;
    let zone = Zone::create(server.address(), ZONE).await;
    zone.change(&[("CREATE", set("www.example.test", "A", 60, &["203.0.113.10"], ""))]).await;
    let proxy = FaultProxy::start(server.address()).await;
    Some(Box::new(AtMinistack { _server: server, zone, proxy }))
}

fn config(endpoint: String) -> Route53Config {
    let keys = Keys { id: Secret::new(KEY), secret: Secret::new("shown-to-nobody"), token: None };
    Route53Config {
        aws: Settings { endpoint_url: Some(endpoint), keys: Some(keys), ..Settings::default() },
        hosted_zones: [].into(),
        set_identifier: None,
        timeout: Duration::from_secs(30),
        insync_within: Duration::from_secs(30),
    }
}

fn record(name: &str, rtype: RecordType) -> Record {
    Record {
        provider: "aws".parse().unwrap(),
        zone: ZONE.parse().unwrap(),
        name: format!("{name}.{ZONE}").parse().unwrap(),
        rtype,
        ttl: 60,
    }
}

/// An error as AWS words it.
fn refusal(status: u16, code: &str) -> Reply {
    let body = format!(
        "<?xml version=\"1.0\"?><ErrorResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Error>\
         <Type>Sender</Type><Code>{code}</Code><Message>refused</Message></Error><RequestId>r-1</RequestId></ErrorResponse>"
    );
    over_http::refusal(status, "text/xml", &body)
}

impl AtMinistack {
    fn with(&self, timeout: Duration) -> Handle {
        Arc::new(Route53::new(&Route53Config { timeout, ..config(format!("http://{}", self.proxy.address)) }))
    }
}

#[async_trait]
impl Subject for AtMinistack {
    fn name(&self) -> &'static str {
        "route53"
    }

    fn provider(&self) -> Handle {
        self.with(Duration::from_secs(30))
    }

    fn record(&self) -> Record {
        record("www", RecordType::A)
    }

    fn values(&self) -> [&'static str; 3] {
        ["203.0.113.10", "198.51.100.20", "198.51.100.21"]
    }

    fn absent(&self) -> Result<Record, &'static str> {
        Ok(record("nothing", RecordType::A))
    }

    async fn truth(&self) -> Truth {
        // One list, so that a batch is seen whole.
        let sets = self.zone.sets().await;
        let of = |name: &str, rtype: &str| {
            let found = sets.iter().filter(|set| set.name == name && set.rtype == rtype);
            let mut values: Vec<_> =
                found.flat_map(|set| set.values.iter().map(|value| value.trim_matches('"').to_owned())).collect();
            values.sort();
            values
        };
        Truth { values: of("www.example.test", "A"), fence: of("_quorate.www.example.test", "TXT") }
    }

    async fn put_fence(&self, text: Option<&str>) {
        let name = "_quorate.www.example.test";
        let old = self.zone.sets().await.into_iter().find(|set| set.name == name);
        if let Some(old) = old {
            let values: Vec<&str> = old.values.iter().map(String::as_str).collect();
            self.zone.change(&[("DELETE", set(name, "TXT", old.ttl.unwrap_or_default(), &values, ""))]).await;
        }
        if let Some(text) = text {
            self.zone.change(&[("CREATE", set(name, "TXT", 60, &[&format!("\"{text}\"")], ""))]).await;
        }
    }

    async fn arm(&self, of: Of, trouble: Trouble) -> Result<Handle, &'static str> {
        let fault = match trouble {
            Trouble::ServerError { applied } => Fault::html(503, applied),
            other => {
                // Route 53 throttles with 400, other parts of AWS with 429.
                let too_many = match of {
                    Of::Reading => refusal(429, "TooManyRequestsException"),
                    Of::Writing => refusal(400, "Throttling"),
                };
                let (expired, forbidden) = (refusal(403, "ExpiredToken"), refusal(403, "AccessDenied"));
                over_http::fault(other, Refusals { too_many, expired, forbidden })
            }
        };
        let hangs = matches!(trouble, Trouble::Hang { .. });
        let provider = if hangs { self.with(Duration::from_secs(3)) } else { self.provider() };
        self.proxy.fail_next(if of == Of::Reading { READ } else { WRITE }, fault);
        Ok(provider)
    }

    async fn disarm(&self) -> usize {
        self.proxy.disarm()
    }

    async fn sent(&self) -> usize {
        let log = self.proxy.take_log();
        log.iter().filter(|call| call.starts_with("POST") && call.contains("/rrset")).count()
    }

    async fn caught(&self) {
        self.proxy.caught().await;
    }

    async fn release(&self) {
        self.proxy.release();
    }

    fn secrets(&self) -> Vec<String> {
        vec!["shown-to-nobody".to_owned()]
    }
}

async fn switch(provider: &Route53, record: &Record, value: &str, epoch: u64) -> Result<String, ProviderError> {
    let expected = provider.read(record).await?;
    let values = [RecordValue::parse(record.rtype, value).unwrap()].into();
    let rrset = provider.published(&RrSet { ttl: record.ttl, values });
    let fence = Fence { cluster: "prod".parse().unwrap(), epoch: Epoch(epoch) };
    let written = provider.write(&Change { record: record.clone(), expected, rrset: rrset.clone(), fence }).await?;
    assert_eq!(provider.read(record).await?.rrset, Some(rrset));
    Ok(written.0)
}

/// Without this the contract would only show that our client agrees with the stand-in, whatever that is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stand_in_passes_boto3() {
    let (Some(server), Some(bin)) = (Ministack::start(), python::environment(&PACKAGES)) else { return };
    let mut check = Command::new(bin.join("python"));
    check.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/boto3_check.py")).arg(server.url());
    let output = tokio::task::spawn_blocking(move || check.output()).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("every check passed"), "{text}");
    text.lines().filter(|line| line.starts_with("boto3")).for_each(|line| println!("TABLE: {line}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_followed_until_it_is_insync() {
    let Some(server) = Ministack::start() else { return };
    let zone = Zone::create(server.address(), ZONE).await;
    zone.change(&[("CREATE", set("www.example.test", "A", 60, &["203.0.113.10"], ""))]).await;
    let provider = Route53::new(&config(server.url()));
    let receipt = switch(&provider, &record("www", RecordType::A), "198.51.100.20", 1).await.unwrap();
    assert!(receipt.contains("took change C") && receipt.contains(&zone.id), "{receipt}");
    assert!(receipt.contains("INSYNC after"), "{receipt}");
    // Who does not wait is told that it was not waited for.
    let hasty = Route53::new(&Route53Config { insync_within: Duration::ZERO, ..config(server.url()) });
    let receipt = switch(&hasty, &record("www", RecordType::A), "203.0.113.10", 2).await.unwrap();
    assert!(receipt.contains("PENDING after 0.0 s") || receipt.contains("INSYNC after"), "{receipt}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_record_sets_only_ours_is_changed_and_its_weight_is_kept() {
    let Some(server) = Ministack::start() else { return };
    let zone = Zone::create(server.address(), ZONE).await;
    let weighted = |id: &str, weight: u32, value: &str| {
        let more = format!("<SetIdentifier>{id}</SetIdentifier><Weight>{weight}</Weight>");
        ("CREATE", set("shop.example.test", "A", 60, &[value], &more))
    };
    zone.change(&[weighted("canary", 5, "192.0.2.99"), weighted("main", 95, "203.0.113.10")]).await;
    let shop = record("shop", RecordType::A);

    let blind = Route53::new(&config(server.url()));
    let error = blind.read(&shop).await.unwrap_err().to_string();
    assert!(error.contains("canary, main") && error.contains("set_identifier"), "{error}");
    let nobody = Route53::new(&Route53Config { set_identifier: Some("none".into()), ..config(server.url()) });
    assert!(nobody.read(&shop).await.unwrap_err().to_string().contains("no record set `none`"));

    let ours = Route53::new(&Route53Config { set_identifier: Some("main".into()), ..config(server.url()) });
    switch(&ours, &shop, "198.51.100.20", 1).await.unwrap();
    let sets = zone.sets().await;
    let shown: Vec<_> = sets
        .iter()
        .filter(|set| set.name == "shop.example.test")
        .map(|set| (set.identifier.as_deref(), set.weight, set.values.concat()))
        .collect();
    assert!(shown.contains(&(Some("canary"), Some(5), "192.0.2.99".to_owned())), "{shown:?}");
    assert!(shown.contains(&(Some("main"), Some(95), "198.51.100.20".to_owned())), "{shown:?}");
    assert_eq!(shown.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alias_fails_over_to_another_alias() {
    let Some(server) = Ministack::start() else { return };
    let zone = Zone::create(server.address(), ZONE).await;
    let alias = "<Name>lb.example.test</Name><Type>A</Type><AliasTarget><HostedZoneId>Z3Q77PNBMXXX</HostedZoneId>\
                 <DNSName>eu.elb.example.net.</DNSName><EvaluateTargetHealth>false</EvaluateTargetHealth></AliasTarget>";
    zone.change(&[("CREATE", alias.to_owned())]).await;
    let provider = Route53::new(&config(server.url()));
    let lb = record("lb", RecordType::A);
    let read = provider.read(&lb).await.unwrap().rrset.unwrap();
    assert_eq!(read.values.first().unwrap().to_string(), "alias:Z3Q77PNBMXXX:eu.elb.example.net");
    switch(&provider, &lb, "alias:Z35SXDOTRQ7X7K:us.elb.example.net", 1).await.unwrap();
    let sets = zone.sets().await;
    let found = sets.iter().find(|set| set.name == "lb.example.test").unwrap();
    assert_eq!((found.alias.as_deref(), found.ttl), (Some("us.elb.example.net."), None));
}

fn in_ten_minutes() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let then = DateTime::from_secs(i64::try_from(now).expect("a time") + 600);
    then.fmt(Format::HttpDate).expect("a date")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_are_found_out_without_changing_anything() {
    let Some(server) = Ministack::start() else { return };
    let zone = Zone::create(server.address(), ZONE).await;
    zone.change(&[("CREATE", set("www.example.test", "A", 60, &["203.0.113.10"], ""))]).await;
    let proxy = FaultProxy::start(server.address()).await;
    let provider = Route53::new(&config(format!("http://{}", proxy.address)));
    let www = record("www", RecordType::A);
    let before = zone.sets().await;
    let said = format!("{:?}", provider.rights(&www).await);
    assert!(said.contains("may change") && !said.contains("Fail"), "{said}");
    proxy.fail_next(WRITE, Fault::Refuse(refusal(403, "AccessDenied")));
    let said = format!("{:?}", provider.rights(&www).await);
    assert!(said.contains("Fail") && said.contains("provider policy route53"), "{said}");
    assert!(said.contains("agree to about a second"), "{said}");
    // What is signed by a clock that is off is refused, and the answer tells the time.
    let mut expired = refusal(403, "RequestExpired");
    expired.headers.push(("date", in_ten_minutes()));
    proxy.fail_next(READ, Fault::Refuse(expired));
    let findings = provider.rights(&www).await;
    let clock = findings.iter().find(|finding| finding.subject == "clock").expect("the clock");
    assert!(clock.outcome == RuleOutcome::Fail && clock.figure.ends_with(" s ahead"), "{findings:?}");
    assert!(findings.iter().any(|of| of.subject == "credentials" && of.outcome == RuleOutcome::Fail), "{findings:?}");
    assert_eq!(zone.sets().await, before);
}

/// A page of private zones of the same name comes first, and the public one after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_is_found_behind_a_hundred_private_ones_of_its_name() {
    let Some(server) = Ministack::start() else { return };
    let zone = Zone::create(server.address(), ZONE).await;
    zone.change(&[("CREATE", set("www.example.test", "A", 60, &["203.0.113.10"], ""))]).await;
    let proxy = FaultProxy::start(server.address()).await;
    let page = |next: &str| {
        let private: Vec<_> = (0..100)
            .map(|i| {
                format!(
                    "<HostedZone><Id>/hostedzone/ZP{i}</Id><Name>{ZONE}.</Name><CallerReference>{i}</CallerReference>\
                     <Config><PrivateZone>true</PrivateZone></Config></HostedZone>"
                )
            })
            .collect();
        let body = format!(
            "<?xml version=\"1.0\"?><ListHostedZonesByNameResponse \
             xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><HostedZones>{}</HostedZones>\
             <IsTruncated>true</IsTruncated><NextDNSName>{ZONE}.</NextDNSName><NextHostedZoneId>{next}</NextHostedZoneId>\
             <MaxItems>100</MaxItems></ListHostedZonesByNameResponse>",
            private.concat()
        );
        Fault::Refuse(Reply { status: 200, headers: vec![("content-type", "text/xml".to_owned())], body })
    };
    proxy.fail_next(("GET", "/hostedzonesbyname"), page("/"));
    let provider = Route53::new(&config(format!("http://{}", proxy.address)));
    provider.read(&record("www", RecordType::A)).await.unwrap();
    let log = proxy.take_log();
    let pages: Vec<_> = log.iter().filter(|call| call.contains("hostedzonesbyname")).collect();
    assert!(pages.len() == 2 && pages[1].contains("hostedzoneid="), "{pages:?}");

    // Who lists without an end is not asked without an end.
    (0..5).for_each(|_| proxy.fail_next(("GET", "/hostedzonesbyname"), page("/")));
    let provider = Route53::new(&config(format!("http://{}", proxy.address)));
    let error = provider.read(&record("www", RecordType::A)).await.unwrap_err().to_string();
    assert!(error.contains("more than 500 hosted zones") && error.contains("hosted_zones ="), "{error}");
}
