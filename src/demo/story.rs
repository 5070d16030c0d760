//! The demo's stage: everything that runs, what was learnt of it so far, and waiting with a reason.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use hickory_proto::{op::ResponseCode, rr::Name};
use serde_json::json;
use tokio::sync::watch;

use super::{
    audit::{Expected, Hashes},
    client::request,
    cluster::{CLUSTER, Cluster, PROVIDER},
    nameserver::{Change, Nameserver},
    output::{Kind, Output, SwitchLine},
    question,
    region::Region,
    view::{self, View},
};
use crate::{
    core::record::Fence,
    proto::v1::{self, Consistency, SwitchStatus},
};

/// The service that the demo applies.
pub const SERVICE: &str = "app";
/// The zone of the demo's DNS server. `test` is reserved for this (RFC 6761).
pub const ZONE: &str = "example.test";
/// The record that fails over.
pub const RECORD: &str = "app.example.test";
/// From one probe of a site to its next.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// How long a probe waits for its answer.
pub const TIMEOUT: Duration = Duration::from_millis(500);
/// Failures that make a site's opinion down.
pub const FALL: u32 = 3;
/// How long after a switch no automatic one follows. Short, so that the demo is.
pub const COOLDOWN: Duration = Duration::from_secs(3);
/// How often the demo looks whether its nodes still run.
const GLANCE: Duration = Duration::from_millis(100);

/// What is being waited for, for the error that says so.
#[derive(Debug, Clone, Default)]
pub struct Waiting(Arc<Mutex<String>>);

impl Waiting {
    /// The words.
    pub fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, what: &str) {
        what.clone_into(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Something that must happen in time.
#[derive(Debug)]
pub struct Wait {
    what: String,
    within: Duration,
    until: Instant,
}

impl Wait {
    /// Fails once the time is over.
    ///
    /// # Errors
    /// It is.
    pub fn check(&self) -> Result<()> {
        if Instant::now() < self.until {
            return Ok(());
        }
        bail!("waited {} for this in vain: {}", humantime::format_duration(self.within), self.what)
    }
}

/// Everything that runs.
#[derive(Debug)]
pub struct Story<'a> {
    /// Where the story is told.
    pub out: &'a Output,
    /// The nodes.
    pub cluster: &'a mut Cluster,
    /// The DNS server.
    pub nameserver: &'a Nameserver,
    /// The region that fails.
    pub first: &'a Region,
    /// The region that takes over.
    pub second: &'a Region,
    /// What the cluster says.
    pub view: View,
    /// State hashes seen.
    pub hashes: Hashes,
    /// What was seen to be wrong on the way.
    pub violations: Vec<String>,
    updates: watch::Receiver<Vec<Change>>,
    told: usize,
    waiting: Waiting,
}

impl<'a> Story<'a> {
    /// Sets the stage.
    pub fn new(
        out: &'a Output,
        cluster: &'a mut Cluster,
        nameserver: &'a Nameserver,
        regions: (&'a Region, &'a Region),
        waiting: Waiting,
    ) -> Self {
        let view = View::follow(cluster.nodes().iter().map(|node| node.client.clone()), SERVICE);
        Self {
            out,
            cluster,
            nameserver,
            first: regions.0,
            second: regions.1,
            view,
            hashes: Hashes::new(),
            violations: Vec::new(),
            updates: nameserver.watch(),
            told: 0,
            waiting,
        }
    }

    /// The service file.
    pub fn service_toml(&self) -> String {
        let region = |region: &Region| {
            format!(
                "[[region]]\nname = '{}'\nvalues = {{ A = ['{}'] }}\nprobe = {{ http = 'http://{}/health', interval = '{}', \
                 timeout = '{}', json = {{ '/status' = 'UP' }} }}\n",
                region.name(),
                region.address().ip(),
                region.address(),
                humantime::format_duration(INTERVAL),
                humantime::format_duration(TIMEOUT),
            )
        };
        format!(
            "name = '{SERVICE}'\n\
             [[record]]\nprovider = '{PROVIDER}'\nzone = '{ZONE}'\nname = 'app'\ntype = 'A'\nttl = 5\n\
             {}{}\
             [policy]\nfall = {FALL}\nrise = 2\nquorum = 'majority'\ncooldown = '{}'\nfailback = 'manual'\n",
            region(self.first),
            region(self.second),
            humantime::format_duration(COOLDOWN),
        )
    }

    /// What the audit measures by.
    pub fn expected(&self) -> Expected {
        let (first, second) = (self.first.name().to_owned(), self.second.name().to_owned());
        let value = |region: &Region| (region.name().to_owned(), region.address().ip().to_string());
        Expected {
            record: RECORD.to_owned(),
            fence: format!("{}.{RECORD}", crate::core::record::FENCE_LABEL),
            cluster: CLUSTER.to_owned(),
            values: BTreeMap::from([value(self.first), value(self.second)]),
            switches: vec![("adopt", first.clone()), ("failover", second), ("manual", first)],
        }
    }

    /// Begins to wait.
    pub fn wait(&self, what: &str, within: Duration) -> Wait {
        self.waiting.set(what);
        Wait { what: what.to_owned(), within, until: Instant::now() + within }
    }

    /// Tells one event that happens now.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn tell(&self, kind: Kind, text: &str, fields: &serde_json::Value) -> Result<()> {
        Ok(self.out.event(Instant::now(), kind, text, fields)?)
    }

    /// Waits until the view is as wanted, telling every change on the way; returns when it was told.
    ///
    /// # Errors
    /// It takes too long, a node ended by itself, or standard output is closed.
    pub async fn until(&mut self, what: &str, within: Duration, done: impl Fn(&View) -> bool) -> Result<Instant> {
        let wait = self.wait(what, within);
        while !done(&self.view) {
            wait.check()?;
            self.pump().await?;
        }
        Ok(self.view.at)
    }

    /// Takes up one piece of news, or none for a short while.
    ///
    /// # Errors
    /// A node ended by itself, or standard output is closed.
    pub async fn pump(&mut self) -> Result<()> {
        tokio::select! {
            before = self.view.change() => view::tell(self.out, self.view.at, &before, &self.view.now)?,
            changed = self.updates.changed() => {
                changed.context("the DNS server stopped")?;
                self.tell_updates()?;
            }
            () = tokio::time::sleep(GLANCE) => self.cluster.check()?,
        }
        Ok(())
    }

    /// Tells the updates that the DNS server has met and nobody has told yet.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn tell_updates(&mut self) -> Result<()> {
        let fresh = self.updates.borrow_and_update().get(self.told..).unwrap_or_default().to_vec();
        self.told += fresh.len();
        for change in fresh {
            let fence = fence(&change).map_or_else(|| "no fence".to_owned(), |fence| format!("epoch {}", fence.epoch));
            let text = if change.outcome == ResponseCode::NoError {
                format!("the DNS server took an update: {RECORD} is {} now, {fence}", values(&change).join(" "))
            } else {
                format!("the DNS server refused an update ({}): {fence} stays", code(change.outcome))
            };
            let fields = json!({
                "outcome": code(change.outcome), "values": values(&change), "serial": change.serial,
                "epoch": self::fence(&change).map(|fence| fence.epoch.0),
            });
            self.out.event(change.at, Kind::Update, &text, &fields)?;
        }
        Ok(())
    }

    /// Asks the DNS server as the world does, tells the answer and holds it against the region that should answer.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn ask_dns(&mut self, region: &Region) -> Result<()> {
        let answer = question::addresses(self.nameserver.address(), &Name::from_ascii(RECORD)?).await?;
        let expected = region.address().ip().to_string();
        let text = format!("{RECORD} answers {} ({})", answer.join(" "), region.name());
        self.tell(Kind::Dns, &text, &json!({ "name": RECORD, "answer": answer, "region": region.name() }))?;
        if answer != [expected.clone()] {
            self.violations.push(format!("DNS answers {answer:?}, not {expected} of {} (5)", region.name()));
        }
        Ok(())
    }

    /// The switches that the cluster knows, the oldest first.
    ///
    /// # Errors
    /// No node answers.
    pub async fn switches(&self, first: Option<u64>) -> Result<Vec<v1::Switch>> {
        let message = v1::ListSwitchesRequest {
            service: SERVICE.to_owned(),
            limit: 0,
            consistency: Consistency::Linearizable.into(),
        };
        let call = |client: super::client::Client| {
            let message = message.clone();
            async move { client.verdicts().list_switches(request(message)).await }
        };
        let mut switches = self.cluster.ask(first, call).await.context("ListSwitches")?.switches;
        switches.sort_by_key(|switch| switch.epoch);
        Ok(switches)
    }
}

/// A switch as the summary has it.
pub fn line(switch: &v1::Switch) -> SwitchLine {
    let status = match switch.status() {
        SwitchStatus::Authorised => "authorised",
        SwitchStatus::Written => "written",
        SwitchStatus::Observed => "observed",
        SwitchStatus::Superseded => "superseded",
        SwitchStatus::Unspecified => "unspecified",
    };
    SwitchLine {
        epoch: switch.epoch,
        from: switch.from.clone(),
        to: switch.to.clone(),
        cause: switch.cause.clone(),
        status: status.to_owned(),
    }
}

/// The record's values after an update.
pub fn values(change: &Change) -> &[String] {
    let key = (RECORD.to_owned(), hickory_proto::rr::RecordType::A);
    change.contents.get(&key).map_or(&[], Vec::as_slice)
}

/// The fence after an update.
pub fn fence(change: &Change) -> Option<Fence> {
    let key = (format!("{}.{RECORD}", crate::core::record::FENCE_LABEL), hickory_proto::rr::RecordType::TXT);
    change.contents.get(&key)?.first()?.parse().ok()
}

/// The mnemonic of a response code, as `dig` prints it.
fn code(code: ResponseCode) -> String {
    match code {
        ResponseCode::NoError => "NOERROR".to_owned(),
        other => format!("{other:?}").to_uppercase(),
    }
}
