//! What the demo shows, in four chapters: a cluster forms, a region dies, a leader dies in mid-switch, all is well again.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use hickory_proto::op::ResponseCode;
use serde_json::json;
use tonic::Code;

use super::{
    audit::{Hashes, violations},
    client::{Client, request},
    nameserver::{Change, HoldAt},
    output::{Kind, Summary, millis},
    region::{Health, Region},
    story::{FALL, INTERVAL, SERVICE, Story, TIMEOUT, fence, line, values},
};
use crate::proto::v1::{self, Consistency, Phase, RuleOutcome, SwitchStatus, Verdict};

/// What the outage cost.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    to_verdict: Duration,
    to_dns: Duration,
    floor: Duration,
}

impl Story<'_> {
    /// Starts the nodes, forms the cluster and applies the service.
    ///
    /// # Errors
    /// Something does not come up in time.
    pub async fn begin(&mut self) -> Result<()> {
        self.tell(Kind::Step, "1. Three nodes, two regions and a DNS server that takes signed updates", &json!({}))?;
        for region in [self.first, self.second] {
            let text = format!("{} serves http://{}/health", region.name(), region.address());
            self.tell(Kind::Region, &text, &json!({ "region": region.name(), "state": "up" }))?;
        }
        for id in 1..=self.cluster.nodes().len() as u64 {
            self.start_node(id, "started")?;
        }
        let wait = self.wait("the nodes answer", Duration::from_secs(15));
        while let Err(error) = self.cluster.form().await {
            let transient = error.downcast_ref::<tonic::Status>().is_none_or(is_transient);
            if !transient {
                return Err(error);
            }
            wait.check().context(format!("{error:#}"))?;
            self.pump().await?;
        }
        self.elected(None).await?;
        self.apply().await?;
        let (first, second) = (self.first.name().to_owned(), self.second.name().to_owned());
        self.until("every site holds both regions up and the record is adopted", Duration::from_secs(20), |view| {
            view.now.phase() == Phase::Serving
                && view.now.epoch == 1
                && view.now.active_region == first
                && view.sites_up(&first) == 3
                && view.sites_up(&second) == 3
        })
        .await?;
        self.ask_dns(self.first).await?;
        self.cooled_down().await
    }

    /// Kills the first region and watches the failover.
    ///
    /// # Errors
    /// A part of it does not come in time.
    pub async fn outage(&mut self, health: Health) -> Result<Measured> {
        let (first, second) = (self.first.name().to_owned(), self.second.name().to_owned());
        self.tell(Kind::Step, &format!("2. {first} dies; a quorum of sites must say so"), &json!({}))?;
        let known = self.nameserver.changes().len();
        let outage = self.first.set(health);
        let how = if health == Health::BlackHole { "takes connections and answers nothing" } else { "is closed" };
        let fields = json!({ "region": first, "state": "dead" });
        self.out.event(outage, Kind::Region, &format!("{first} {how} from now on"), &fields)?;
        let limit = Duration::from_secs(20);
        let verdict = self.until("the verdict down", limit, |view| view.verdict(&first) == Verdict::Down).await?;
        let written = self.written(known, self.second, "DNS answers the other region", limit).await?;
        self.until("the switch is observed", limit, |view| {
            view.now.phase() == Phase::Serving && view.now.epoch == 2 && view.now.active_region == second
        })
        .await?;
        self.ask_dns(self.second).await?;
        let first_probe = self.first.first_probe().context("no probe met the dead region")?;
        let timeout = if health == Health::BlackHole { TIMEOUT } else { Duration::ZERO };
        Ok(Measured {
            to_verdict: verdict.saturating_duration_since(outage),
            to_dns: written.at.saturating_duration_since(outage),
            floor: first_probe.saturating_duration_since(outage) + timeout + (FALL - 1) * INTERVAL,
        })
    }

    /// Fails back by hand, and kills the leader while its update is held at the DNS server.
    ///
    /// # Errors
    /// A part of it does not come in time.
    pub async fn failback(&mut self, hold_at: HoldAt) -> Result<()> {
        let first = self.first.name().to_owned();
        let title = format!("3. {first} is back; the operator switches, and the leader dies in mid-switch");
        self.tell(Kind::Step, &title, &json!({}))?;
        self.first.set(Health::Up);
        let fields = json!({ "region": first, "state": "up" });
        self.tell(Kind::Region, &format!("{first} answers again"), &fields)?;
        let limit = Duration::from_secs(20);
        self.until("every site holds the region up again", limit, |view| view.sites_up(&first) == 3).await?;
        self.cooled_down().await?;

        let known = self.nameserver.changes().len();
        let mut hold = self.nameserver.hold(hold_at);
        let (leader, term) = self.elected(None).await?;
        let mut call = Some(self.switch_by_hand(leader));
        let wait = self.wait("the switch's update reaches the DNS server", limit);
        loop {
            tokio::select! {
                Some(_) = hold.arrived() => break,
                result = self.pump() => result?,
            }
            // The answer may come as soon as the intent is committed, and must not be a refusal.
            if let Some(done) = call.take_if(|call| call.is_finished()) {
                done.await?.context("Switch")?;
            }
            wait.check()?;
        }
        // The leader's own word that the intent is committed and open, at the instant before it dies.
        let intent = self.switches(Some(leader)).await?.pop().context("no switch is listed")?;
        let (pid, at) = self.cluster.node_mut(leader)?.kill().await?;
        hold.let_others_pass();
        if let Some(call) = call {
            call.abort();
        }
        let open = intent.epoch == 3 && intent.status() == SwitchStatus::Authorised;
        if !open {
            bail!("the leader was not in mid-switch when it was killed: {:?}", line(&intent));
        }
        let applied = if hold_at == HoldAt::BeforeApply { "not applied yet" } else { "applied, not answered" };
        let text = format!(
            "kill -9 of node {leader} (pid {pid}), the leader: epoch {} is authorised, its update {applied}",
            intent.epoch
        );
        self.tell_updates()?;
        self.out.event(at, Kind::Node, &text, &json!({ "node": leader, "pid": pid, "state": "killed" }))?;

        let (successor, new_term) = self.elected(Some(leader)).await?;
        if new_term <= term {
            self.violations.push(format!("node {successor} leads in term {new_term}, not after term {term} (2)"));
        }
        self.written(known, self.first, "the successor's update, or the one that was held", limit).await?;
        let before_release = self.nameserver.changes().len();
        hold.release();
        if hold_at == HoldAt::BeforeApply {
            self.refused(before_release, limit).await?;
        }
        self.until("the successor ends the same epoch", limit, |view| {
            view.now.phase() == Phase::Serving && view.now.epoch == 3 && view.now.active_region == first
        })
        .await?;
        self.ask_dns(self.first).await?;
        self.same_intent(&intent).await
    }

    /// Brings the killed node back and compares all states; then judges everything.
    ///
    /// # Errors
    /// The node does not catch up in time.
    pub async fn end(&mut self, measured: Measured) -> Result<Summary> {
        self.tell(Kind::Step, "4. The killed node comes back; the books are checked", &json!({}))?;
        let dead: Vec<u64> =
            self.cluster.nodes().iter().filter(|node| node.pid().is_none()).map(|node| node.id).collect();
        for id in dead {
            self.start_node(id, "started again")?;
        }
        let nodes = self.cluster.nodes().len();
        let wait = self.wait("all nodes tell their state at the same index", Duration::from_secs(20));
        let mut hashes = Hashes::new();
        let index = loop {
            self.cluster.note_hashes(&mut hashes).await;
            if let Some((index, _)) = hashes.iter().find(|(_, by_node)| by_node.len() == nodes) {
                break *index;
            }
            wait.check()?;
            self.pump().await?;
        };
        self.hashes = hashes;
        let text = format!("all {nodes} nodes told their state at index {index}");
        self.tell(Kind::Check, &text, &json!({ "index": index }))?;

        let switches: Vec<_> = self.switches(None).await?.iter().map(line).collect();
        let changes = self.nameserver.changes();
        let mut found = std::mem::take(&mut self.violations);
        found.extend(violations(&self.expected(), &changes, &switches, &self.hashes));
        let text = format!("{} updates at the DNS server judged, {} violations", changes.len(), found.len());
        self.tell(Kind::Check, &text, &json!({ "updates": changes.len(), "violations": found.len() }))?;
        let floor = measured.floor.as_secs_f64();
        // Three digits are what the clock of a busy machine is good for.
        let ratio = (measured.to_dns.as_secs_f64() / floor * 1000.0).round() / 1000.0;
        Ok(Summary {
            outage_to_verdict_ms: millis(measured.to_verdict),
            outage_to_dns_ms: millis(measured.to_dns),
            floor_ms: millis(measured.floor),
            ratio,
            switches,
            violations: found,
        })
    }

    fn start_node(&mut self, id: u64, word: &str) -> Result<()> {
        let node = self.cluster.node_mut(id)?;
        let at = node.start()?;
        let text = format!("node {id} {word}: {:<9} {} (pid {})", node.site, node.grpc, node.pid().unwrap_or(0));
        let fields = json!({ "node": id, "site": node.site, "pid": node.pid(), "state": "started" });
        Ok(self.out.event(at, Kind::Node, &text, &fields)?)
    }

    /// Waits until all nodes that run agree on a leader other than `not`.
    async fn elected(&mut self, not: Option<u64>) -> Result<(u64, u64)> {
        let wait = self.wait("the nodes agree on a leader", Duration::from_secs(20));
        let (leader, term) = loop {
            match self.cluster.leader().await {
                Some((leader, term)) if Some(leader) != not => break (leader, term),
                _ => self.pump().await?,
            }
            wait.check()?;
        };
        let fields = json!({ "node": leader, "term": term });
        self.tell(Kind::Leader, &format!("node {leader} leads in term {term}"), &fields)?;
        Ok((leader, term))
    }

    async fn apply(&mut self) -> Result<()> {
        let message = v1::ApplyServiceRequest { toml: self.service_toml(), dry_run: false, skip_provider_check: false };
        let wait = self.wait("the service is applied", Duration::from_secs(15));
        let answer = loop {
            let call = |client: Client| {
                let message = message.clone();
                async move { client.admin().apply_service(request(message)).await }
            };
            match self.cluster.ask(None, call).await {
                Ok(answer) => break answer,
                Err(status) if is_transient(&status) => wait.check().context(status)?,
                Err(status) => return Err(status).context("ApplyService"),
            }
            self.pump().await?;
        };
        let fields = json!({ "service": answer.service, "warnings": answer.warnings });
        self.tell(Kind::Service, &format!("{} applied", answer.service), &fields)
    }

    /// Waits until the rule `cooldown` passes.
    async fn cooled_down(&mut self) -> Result<()> {
        let wait = self.wait("the cooldown is over", Duration::from_secs(20));
        let message = v1::ExplainRequest {
            service: SERVICE.to_owned(),
            to: String::new(),
            consistency: Consistency::Linearizable.into(),
        };
        loop {
            let call = |client: Client| {
                let message = message.clone();
                async move { client.verdicts().explain(request(message)).await }
            };
            let passed = |rule: &v1::RuleReading| rule.rule == "cooldown" && rule.outcome() == RuleOutcome::Pass;
            match self.cluster.ask(None, call).await {
                Ok(answer) if answer.rules.iter().any(passed) => return Ok(()),
                Ok(_) => wait.check()?,
                Err(status) if is_transient(&status) => wait.check().context(status)?,
                Err(status) => return Err(status).context("Explain"),
            }
            self.pump().await?;
        }
    }

    /// Asks for the failback at a node other than the leader, which hands it on.
    fn switch_by_hand(&self, leader: u64) -> tokio::task::JoinHandle<Result<v1::SwitchResponse, tonic::Status>> {
        let message = v1::SwitchRequest {
            service: SERVICE.to_owned(),
            to: self.first.name().to_owned(),
            r#override: Vec::new(),
            expected_epoch: Some(2),
            reason: "demo: the preferred region is back".to_owned(),
        };
        let nodes = self.cluster.nodes();
        let client = nodes.iter().find(|node| node.id != leader).map(|node| node.client.clone());
        tokio::spawn(async move {
            let client = client.ok_or_else(|| tonic::Status::internal("there is no follower"))?;
            client.admin().switch(request(message)).await.map(tonic::Response::into_inner)
        })
    }

    /// Waits for an update after the first `known` that the server took and that left the region's value.
    async fn written(&mut self, known: usize, region: &Region, what: &str, within: Duration) -> Result<Change> {
        let value = region.address().ip().to_string();
        let took = |change: &Change| change.outcome == ResponseCode::NoError && values(change) == [value.clone()];
        let wait = self.wait(what, within);
        loop {
            if let Some(change) = self.nameserver.changes().into_iter().skip(known).find(|change| took(change)) {
                return Ok(change);
            }
            wait.check()?;
            self.pump().await?;
        }
    }

    /// Waits until the update that was held is refused for its condition.
    async fn refused(&mut self, known: usize, within: Duration) -> Result<()> {
        let wait = self.wait("the dead leader's update is refused", within);
        let change = loop {
            if let Some(change) = self.nameserver.changes().into_iter().nth(known) {
                break change;
            }
            wait.check()?;
            self.pump().await?;
        };
        let stale = matches!(change.outcome, ResponseCode::NXRRSet | ResponseCode::YXRRSet);
        if !stale {
            self.violations.push(format!("the dead leader's update ended with {}, not refused (6)", change.outcome));
        }
        let epoch = fence(&change).map(|fence| fence.epoch.0);
        let text = "the dead leader's update came late and found its condition gone";
        self.tell(Kind::Check, text, &json!({ "refused": stale, "epoch": epoch }))
    }

    /// The switch that the successor ended is the one that the dead leader had committed.
    async fn same_intent(&mut self, intent: &v1::Switch) -> Result<()> {
        let now = self.switches(None).await?.pop().context("no switch is listed")?;
        let place = |switch: &v1::Switch| (switch.epoch, switch.term, switch.index);
        let same = place(&now) == place(intent);
        if !same {
            let text = format!("the successor ended {:?}, not the intent {:?} (10)", place(&now), place(intent));
            self.violations.push(text);
        }
        let text = format!("the successor ended the same intent: epoch {} of term {}", now.epoch, now.term);
        self.tell(Kind::Check, &text, &json!({ "epoch": now.epoch, "term": now.term, "same": same }))
    }
}

/// Worth another try while a cluster comes up or elects: nobody leads yet, or the call came too late.
fn is_transient(status: &tonic::Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted)
}
