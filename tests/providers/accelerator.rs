//! `global-accelerator` at a fake that boto3 passes first, and what only Global Accelerator has: dials that are turned one after
//! the other, a status that is followed, accelerators that are looked up.

use std::{process::Command, sync::Arc, time::Duration};

use async_trait::async_trait;
use quorate::{
    aws::{Keys, Settings},
    core::{
        names::Epoch,
        record::{Fence, Record, RecordType, RecordValue, RrSet},
        safety::RuleOutcome,
    },
    dns::{
        Change, FenceReading, Finding, Provider, ProviderError, Reading,
        accelerator::{Accelerator, AcceleratorConfig},
    },
    secret::Secret,
};
use tokio::task::JoinHandle;

use crate::{
    contract::{Handle, Of, RETRY_AFTER, Subject, Trouble, Truth},
    fake_accelerator::{ACCELERATOR, ACCOUNT, FakeAccelerator, IDLE, KEY, LISTENER, REGIONS, SECRET, listener_arn},
    fault_proxy::{Fault, FaultProxy, Reply},
    ministack::PACKAGES,
    over_http::{self, Refusals},
    python,
};

const TAG: &str = "quorate:0123abcd";
const TAGS: (&str, &str) = ("POST", ".ListTagsForResource");
const GROUPS: (&str, &str) = ("POST", ".ListEndpointGroups");
/// The first call of a write that changes anything.
const CLAIM: (&str, &str) = ("POST", ".TagResource");
/// What a write stands or falls with.
const TURN: (&str, &str) = ("POST", ".UpdateEndpointGroup");
/// How long something that is held may take on a busy machine.
const BOUND: Duration = Duration::from_secs(60);

struct AtFake {
    fake: FakeAccelerator,
    proxy: FaultProxy,
}

async fn start() -> AtFake {
    let fake = FakeAccelerator::start().await;
    let proxy = FaultProxy::start(fake.address()).await;
    AtFake { fake, proxy }
}

pub async fn subject() -> Option<Box<dyn Subject>> {
    Some(Box::new(start().await))
}

fn config(endpoint: String) -> AcceleratorConfig {
    let keys = Keys { id: Secret::new(KEY), secret: Secret::new(SECRET), token: None };
    AcceleratorConfig {
        aws: Settings { endpoint_url: Some(endpoint), keys: Some(keys), ..Settings::default() },
        account_id: Some(ACCOUNT.to_owned()),
        timeout: Duration::from_secs(30),
        deployed_within: Duration::from_secs(30),
    }
}

fn record(listener: &str, accelerator: &str) -> Record {
    Record {
        provider: "ga".parse().unwrap(),
        zone: accelerator.parse().unwrap(),
        name: format!("{listener}.{accelerator}").parse().unwrap(),
        rtype: RecordType::Pool,
        ttl: 0,
    }
}

fn web() -> Record {
    record(LISTENER, ACCELERATOR)
}

/// An error as AWS words it.
fn refusal(status: u16, exception: &str) -> Reply {
    let body = format!(r#"{{"__type":"{exception}","message":"refused"}}"#);
    over_http::refusal(status, "application/x-amz-json-1.1", &body)
}

impl AtFake {
    fn with(&self, timeout: Duration) -> Handle {
        Arc::new(Accelerator::new(&AcceleratorConfig { timeout, ..config(format!("http://{}", self.proxy.address)) }))
    }

    /// Not by way of the proxy, so that it meets no fault.
    fn other(&self) -> Accelerator {
        Accelerator::new(&config(self.fake.url()))
    }

    fn fence(&self) -> Option<String> {
        self.fake.tag(TAG)
    }

    fn must_stand(&self, open: &[&str], epoch: u64) {
        assert_eq!((self.fake.open(), self.fence()), (sorted(open), Some(fence(epoch).to_string())));
    }
}

fn sorted(values: &[&str]) -> Vec<String> {
    let mut values: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
    values.sort();
    values
}

#[async_trait]
impl Subject for AtFake {
    fn name(&self) -> &'static str {
        "global accelerator"
    }

    fn provider(&self) -> Handle {
        self.with(Duration::from_secs(30))
    }

    fn record(&self) -> Record {
        web()
    }

    fn values(&self) -> [&'static str; 3] {
        REGIONS
    }

    /// A listener of whose groups none takes traffic.
    fn absent(&self) -> Result<Record, &'static str> {
        Ok(record(IDLE, ACCELERATOR))
    }

    fn goes_in_steps(&self) -> bool {
        true
    }

    fn has_later_step(&self) -> Result<(), &'static str> {
        Ok(())
    }

    async fn truth(&self) -> Truth {
        Truth { values: self.fake.open(), fence: self.fence().into_iter().collect() }
    }

    async fn put_fence(&self, text: Option<&str>) {
        self.fake.set_tag(TAG, text);
    }

    async fn arm(&self, of: Of, trouble: Trouble) -> Result<Handle, &'static str> {
        let fault = match trouble {
            // Documented with the status 400.
            Trouble::ServerError { applied: false } if of == Of::Reading => {
                Fault::Refuse(refusal(400, "InternalServiceErrorException"))
            }
            Trouble::ServerError { applied } => Fault::html(500, applied),
            other => {
                let too_many = match of {
                    Of::Reading => refusal(429, "TooManyRequestsException"),
                    Of::Writing => refusal(400, "ThrottlingException"),
                };
                let expired = refusal(400, "ExpiredTokenException");
                let forbidden = refusal(400, "AccessDeniedException");
                over_http::fault(other, Refusals { too_many, expired, forbidden })
            }
        };
        let call = match (of, trouble) {
            (Of::Reading, _) => GROUPS,
            // Refused, or late, at the first step; everything else at one that turns a dial.
            (Of::Writing, Trouble::TooMany | Trouble::Expired | Trouble::Forbidden | Trouble::Held) => CLAIM,
            (Of::Writing, _) => TURN,
        };
        let hangs = matches!(trouble, Trouble::Hang { .. });
        let provider = if hangs { self.with(Duration::from_secs(3)) } else { self.provider() };
        self.proxy.fail_next(call, fault);
        Ok(provider)
    }

    async fn disarm(&self) -> usize {
        self.proxy.disarm()
    }

    async fn sent(&self) -> usize {
        self.proxy.take_log().iter().filter(|call| call.ends_with(TURN.1)).count()
    }

    async fn caught(&self) {
        self.proxy.caught().await;
    }

    async fn release(&self) {
        self.proxy.release();
    }

    fn secrets(&self) -> Vec<String> {
        vec![SECRET.to_owned()]
    }
}

fn rrset(values: &[&str]) -> RrSet {
    let values = values.iter().map(|value| RecordValue::parse(RecordType::Pool, value).unwrap()).collect();
    RrSet { ttl: 0, values }
}

fn fence(epoch: u64) -> Fence {
    Fence { cluster: "prod".parse().unwrap(), epoch: Epoch(epoch) }
}

async fn change(provider: &dyn Provider, values: &[&str], epoch: u64) -> Change {
    let expected = provider.read(&web()).await.expect("a reading");
    Change { record: web(), expected, rrset: rrset(values), fence: fence(epoch) }
}

async fn switch(provider: &dyn Provider, values: &[&str], epoch: u64) -> Result<String, ProviderError> {
    let change = change(provider, values, epoch).await;
    provider.write(&change).await.map(|receipt| receipt.0)
}

/// Without this the contract would only show that our client agrees with the stand-in, whatever that is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fake_accelerator_passes_boto3() {
    let Some(bin) = python::environment(&PACKAGES) else { return };
    let fake = FakeAccelerator::start().await;
    let mut check = Command::new(bin.join("python"));
    check.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/boto3_accelerator_check.py"));
    check.args([&fake.url(), KEY, ACCELERATOR, LISTENER]);
    let output = tokio::task::spawn_blocking(move || check.output()).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("every check passed"), "{text}");
    text.lines().filter(|line| line.starts_with("boto3")).for_each(|line| println!("TABLE: {line}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_dials_go_up_before_old_ones_go_down_and_nothing_else_is_touched() {
    let at = start().await;
    let [a, b, c] = REGIONS;
    let before = at.fake.groups(LISTENER);
    let receipt = switch(&at.other(), &[b, c], 1).await.unwrap();
    assert!(receipt.contains(&listener_arn(LISTENER)), "{receipt}");
    assert!(
        receipt.contains("ap-southeast-2 0 -> 100, us-east-1 0 -> 100, eu-west-3 100 -> 0; DEPLOYED after"),
        "{receipt}"
    );
    assert_eq!(at.fake.take_history(), [sorted(&[a, c]), sorted(&[a, b, c]), sorted(&[b, c])]);
    at.must_stand(&[b, c], 1);
    let receipt = switch(&at.other(), &[b, c], 2).await.unwrap();
    assert!(receipt.contains("no dial had to be turned") && at.fake.take_history().is_empty(), "{receipt}");
    switch(&at.other(), &[a], 3).await.unwrap();
    at.must_stand(&[a], 3);
    assert_eq!(at.fake.groups(LISTENER), before, "only dials are turned");
    assert_eq!(at.fake.tag("team").as_deref(), Some("web"), "other tags stay");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_followed_until_it_is_deployed() {
    let at = start().await;
    let url = at.fake.url();
    at.fake.set_deploying(1);
    let receipt = switch(&Accelerator::new(&config(url.clone())), &REGIONS[1..2], 1).await.unwrap();
    assert!(receipt.contains("; DEPLOYED after"), "{receipt}");
    at.fake.set_deploying(1000);
    // Who does not wait is told that it was not waited for.
    let hasty = Accelerator::new(&AcceleratorConfig { deployed_within: Duration::ZERO, ..config(url.clone()) });
    let receipt = switch(&hasty, &REGIONS[..1], 2).await.unwrap();
    assert!(receipt.contains("; IN_PROGRESS after 0.0 s"), "{receipt}");
    // Not to hear of it is no error of the write.
    at.fake.deny("DescribeAccelerator");
    let receipt = switch(&Accelerator::new(&config(url)), &REGIONS[1..2], 3).await.unwrap();
    assert!(receipt.contains("unknown whether DEPLOYED") && receipt.contains("AccessDenied"), "{receipt}");
    at.must_stand(&REGIONS[1..2], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_account_an_accelerator_is_looked_up_on_every_page_and_once() {
    let at = start().await;
    let nameless = AcceleratorConfig { account_id: None, ..config(format!("http://{}", at.proxy.address)) };
    let provider = Accelerator::new(&nameless);
    assert!(provider.policy(&[web()])[0].text.contains("::ACCOUNT:"));
    for _ in 0..2 {
        assert_eq!(provider.read(&web()).await.unwrap().rrset, Some(rrset(&REGIONS[..1])));
    }
    let lists = at.proxy.take_log().iter().filter(|call| call.ends_with(".ListAccelerators")).count();
    assert_eq!(lists, 3, "six accelerators, two a page, and it is the last");
    assert!(provider.policy(&[web()])[0].text.contains(ACCOUNT), "what was found goes into the policy");
    let error = provider.read(&record(LISTENER, "ffff-ffff")).await.unwrap_err().to_string();
    assert!(error.contains("no accelerator ffff-ffff in this account"), "{error}");
    at.fake.deny("ListAccelerators");
    let error = Accelerator::new(&nameless).read(&web()).await.unwrap_err().to_string();
    assert!(error.contains("globalaccelerator:ListAccelerators") && error.contains("account_id"), "{error}");
    let error = at.other().read(&record("7777", ACCELERATOR)).await.unwrap_err().to_string();
    assert!(
        error.contains("ListenerNotFoundException") && error.contains("no listener of this accelerator"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dial_that_somebody_left_half_way_shows_and_can_be_opened() {
    let at = start().await;
    let [a, b, _] = REGIONS;
    at.fake.turn(a, 37.5);
    let found = at.other().read(&web()).await.unwrap();
    assert_eq!(found.rrset, Some(rrset(&["eu-west-3@37.5"])));
    switch(&at.other(), &[a], 1).await.unwrap();
    at.must_stand(&[a], 1);
    let error = switch(&at.other(), &["eu-west-3@37.5"], 2).await.unwrap_err();
    assert!(matches!(error, ProviderError::Permanent { .. }), "{error:?}");
    let error = switch(&at.other(), &[b, "eu-north-1"], 2).await.unwrap_err().to_string();
    assert!(
        error.contains("no endpoint group in eu-north-1, only in: eu-west-3, us-east-1, ap-southeast-2"),
        "{error}"
    );
    at.must_stand(&[a], 1);
}

/// A write that is held at the call after `passed` ones of the same kind.
async fn held(
    at: &AtFake,
    call: (&str, &str),
    passed: usize,
    value: &str,
    epoch: u64,
) -> JoinHandle<Result<(), ProviderError>> {
    let provider = at.provider();
    let change = change(&*provider, &[value], epoch).await;
    (0..passed).for_each(|_| at.proxy.fail_next(call, Fault::Pass));
    at.proxy.fail_next(call, Fault::Hold);
    let writing = tokio::spawn(async move { provider.write(&change).await.map(drop) });
    tokio::time::timeout(BOUND, at.proxy.caught()).await.expect("the write is held");
    writing
}

async fn released(at: &AtFake, writing: JoinHandle<Result<(), ProviderError>>) -> ProviderError {
    at.proxy.release();
    tokio::time::timeout(BOUND, writing).await.expect("an end").expect("no panic").expect_err("it was overtaken")
}

/// Before each step a writer looks whether a newer epoch has claimed the listener.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overtaken_writer_turns_no_further_dial() {
    let [a, b, c] = REGIONS;
    // After its claim and before its first dial: the tags are read twice before the claim.
    let at = start().await;
    let old = held(&at, TAGS, 2, b, 1).await;
    switch(&at.other(), &[c], 2).await.unwrap();
    at.fake.take_history();
    let error = released(&at, old).await;
    assert!(matches!(&error, ProviderError::Indeterminate(why) if why.contains("epoch=2")), "{error:?}");
    assert!(at.fake.take_history().is_empty(), "it turned a dial");
    at.must_stand(&[c], 2);

    // With its first dial under way, which comes late: it is seen, and the old region is not shut by it.
    let at = start().await;
    let old = held(&at, TURN, 0, b, 1).await;
    switch(&at.other(), &[a], 2).await.unwrap();
    let error = released(&at, old).await;
    assert!(matches!(error, ProviderError::Indeterminate(_)), "{error:?}");
    at.must_stand(&[a, b], 2);
    let found = at.other().read(&web()).await.unwrap();
    assert_eq!(found.rrset, Some(rrset(&[a, b])), "a reading shows what came late");
    switch(&at.other(), &[a], 2).await.unwrap();
    at.must_stand(&[a], 2);
}

/// What stands must be what was read, values and fence, or nothing is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_condition_is_gone_does_nothing() {
    let at = start().await;
    let [a, b, c] = REGIONS;
    switch(&at.other(), &[a], 1).await.unwrap();
    let stale = change(&at.other(), &[b], 3).await;
    // Once with another's dials, once with another's fence.
    at.fake.turn(c, 100.0);
    for _ in 0..2 {
        let error = at.other().write(&stale).await.expect_err("its condition is gone");
        assert!(matches!(error, ProviderError::Stale(_)), "{error:?}");
        at.fake.turn(c, 0.0);
        at.fake.set_tag(TAG, Some(&fence(2).to_string()));
    }
    at.must_stand(&[a], 2);
    assert!(at.fake.take_history().is_empty(), "it turned a dial");
}

/// The last thing a write does is to look whether all of it is as it shall be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_that_comes_with_the_last_dial_is_seen() {
    let at = start().await;
    let [a, b, c] = REGIONS;
    let writing = held(&at, TURN, 1, b, 1).await;
    assert_eq!(at.fake.open(), sorted(&[a, b]), "the old region is about to be shut");
    at.fake.turn(c, 100.0);
    let error = released(&at, writing).await;
    assert!(matches!(&error, ProviderError::Indeterminate(why) if why.contains("read back as written")), "{error:?}");
    at.must_stand(&[b, c], 1);
}

/// Tags and groups are two calls: the fence of one epoch must not be read beside the dials of another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reading_is_of_one_moment() {
    let at = start().await;
    let [a, b, _] = REGIONS;
    switch(&at.other(), &[a], 1).await.unwrap();
    at.proxy.fail_next(TAGS, Fault::Pass);
    at.proxy.fail_next(TAGS, Fault::Hold);
    let provider = at.provider();
    let reading = tokio::spawn(async move { provider.read(&web()).await });
    tokio::time::timeout(BOUND, at.proxy.caught()).await.expect("the fence is read again after the dials");
    switch(&at.other(), &[b], 2).await.unwrap();
    at.proxy.release();
    let found = tokio::time::timeout(BOUND, reading).await.expect("an end").expect("no panic").expect("a reading");
    assert_eq!(found, Reading { rrset: Some(rrset(&[b])), fence: FenceReading::Present(fence(2)) });
}

/// AWS is left alone for as long as it asks, also when it asks between two dials.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dial_that_aws_puts_off_is_no_write_in_doubt() {
    for (passed, open) in [(0, &REGIONS[..1]), (1, &REGIONS[..2])] {
        let at = start().await;
        (0..passed).for_each(|_| at.proxy.fail_next(TURN, Fault::Pass));
        at.proxy.fail_next(TURN, Fault::Refuse(refusal(400, "ThrottlingException")));
        let error = switch(&*at.provider(), &REGIONS[1..2], 1).await.unwrap_err();
        let ProviderError::Unfinished { message, retry_after } = &error else { panic!("{error:?}") };
        assert!(message.contains("says epoch 1 already") && message.contains("ThrottlingException"), "{error:?}");
        assert_eq!(*retry_after, Some(RETRY_AFTER), "{error:?}");
        at.must_stand(open, 1);
        switch(&*at.provider(), &REGIONS[1..2], 1).await.unwrap();
        at.must_stand(&REGIONS[1..2], 1);
    }
}

/// Invariant 5: what shall take over is read back before the old region stops.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_region_that_takes_traffic_is_not_shut() {
    let at = start().await;
    let [a, b, _] = REGIONS;
    // The groups are read once before the first dial and once before the second, over two pages each.
    let writing = held(&at, GROUPS, 2, b, 1).await;
    assert_eq!(at.fake.open(), sorted(&[a, b]), "the new region is open");
    at.fake.turn(b, 0.0);
    let error = released(&at, writing).await;
    assert!(matches!(&error, ProviderError::Indeterminate(why) if why.contains("stay open")), "{error:?}");
    assert_eq!(at.fake.open(), [a]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_after_the_claim_does_not_read_as_if_nothing_had_changed() {
    let at = start().await;
    let [a, b, _] = REGIONS;
    at.fake.deny("UpdateEndpointGroup");
    let error = switch(&at.other(), &[b], 1).await.unwrap_err();
    let ProviderError::Permanent { message, hint } = &error else { panic!("{error:?}") };
    assert!(message.contains("says epoch 1 already") && hint.contains("provider policy"), "{error:?}");
    at.must_stand(&[a], 1);

    // The second dial was turned, and nobody heard of it; the same epoch is finished.
    let at = start().await;
    at.proxy.fail_next(TURN, Fault::Pass);
    at.proxy.fail_next(TURN, Fault::Drop { applied: false });
    let error = switch(&*at.provider(), &[b], 1).await.unwrap_err();
    assert!(matches!(error, ProviderError::Indeterminate(_)), "{error:?}");
    at.must_stand(&[a, b], 1);
    switch(&*at.provider(), &[b], 1).await.unwrap();
    at.must_stand(&[b], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_answer_is_no_accelerator_without_a_fence() {
    let at = start().await;
    switch(&at.other(), &REGIONS[..1], 7).await.unwrap();
    at.proxy.fail_next(TAGS, Fault::empty(false));
    let found = at.provider().read(&web()).await.expect("it is read anew");
    assert_eq!(found.fence, FenceReading::Present(fence(7)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_are_found_out_without_turning_anything() {
    let at = start().await;
    let outcomes = |findings: &[Finding]| findings.iter().map(|finding| finding.outcome).collect::<Vec<_>>();
    let findings = at.other().rights(&web()).await;
    let (pass, fail, unknown) = (RuleOutcome::Pass, RuleOutcome::Fail, RuleOutcome::Unknown);
    assert_eq!(outcomes(&findings), [pass, pass, pass, pass, pass, unknown], "{findings:?}");
    assert!(findings[5].figure.contains(TAG), "{findings:?}");
    at.fake.deny("UpdateEndpointGroup");
    let findings = at.other().rights(&web()).await;
    assert_eq!(outcomes(&findings), [pass, pass, pass, fail, pass, unknown], "{findings:?}");
    assert!(findings[3].hint.contains("provider policy global-accelerator"), "{findings:?}");
    assert!(at.fake.take_history().is_empty() && at.fence().is_none(), "something was changed");
    for (key, says) in [("expired", "expired"), ("unknown", "does not know the access key")] {
        at.fake.set_key(key);
        let findings = at.other().rights(&web()).await;
        assert!(findings.len() == 2 && findings[0].outcome == fail, "{findings:?}");
        assert_eq!(findings[0].subject, "credentials", "nothing is known of the zone: {findings:?}");
        assert!(format!("{findings:?}").contains(says), "{findings:?}");
    }
}
