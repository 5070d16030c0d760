//! What the cluster says of the service, followed on every node at once and put in the order of the log.
//!
//! Each node answers from what it has applied, so the first to tell is the leader, whoever that is, and the loss of any
//! one of them is no gap.

use std::time::{Duration, Instant};

use tokio::{sync::mpsc, task::JoinSet};

use super::{
    client::Client,
    output::{Kind, Output},
};
use crate::proto::v1::{self, Opinion, Phase, RegionVerdict, ServiceVerdict, Verdict};

/// How soon a lost stream is opened again.
const RETRY: Duration = Duration::from_millis(200);

/// One message of one node.
#[derive(Debug)]
struct News {
    at: Instant,
    index: u64,
    verdict: ServiceVerdict,
}

/// The service as it was last told of.
#[derive(Debug)]
pub struct View {
    news: mpsc::Receiver<News>,
    index: u64,
    /// When it was told.
    pub at: Instant,
    /// What was told; a service without a name until then.
    pub now: ServiceVerdict,
    _followers: JoinSet<()>,
}

impl View {
    /// Follows `service` on every node.
    pub fn follow(clients: impl Iterator<Item = Client>, service: &str) -> Self {
        let (sender, news) = mpsc::channel(256);
        let mut followers = JoinSet::new();
        for client in clients {
            followers.spawn(follow(client, service.to_owned(), sender.clone()));
        }
        Self { news, index: 0, at: Instant::now(), now: ServiceVerdict::default(), _followers: followers }
    }

    /// Waits for something newer, and returns what it was before. It may be cancelled.
    pub async fn change(&mut self) -> ServiceVerdict {
        loop {
            let Some(News { at, index, verdict }) = self.news.recv().await else {
                // The followers never end by themselves.
                return std::future::pending().await;
            };
            if index > self.index || self.now.service.is_empty() {
                (self.index, self.at) = (index, at);
                return std::mem::replace(&mut self.now, verdict);
            }
        }
    }

    /// The verdict on one region.
    pub fn verdict(&self, region: &str) -> Verdict {
        find(&self.now, region).map_or(Verdict::Unspecified, RegionVerdict::verdict)
    }

    /// How many sites hold the region up.
    pub fn sites_up(&self, region: &str) -> u32 {
        find(&self.now, region).map_or(0, |verdict| verdict.sites_up)
    }
}

async fn follow(client: Client, service: String, sender: mpsc::Sender<News>) {
    loop {
        let request = v1::WatchVerdictsRequest { services: vec![service.clone()] };
        if let Ok(stream) = client.verdicts().watch_verdicts(request).await {
            let mut stream = stream.into_inner();
            while let Ok(Some(message)) = stream.message().await {
                let index = message.read.map_or(0, |read| read.applied_index);
                let Some(verdict) = message.verdict.filter(|_| !message.removed) else { continue };
                if sender.send(News { at: Instant::now(), index, verdict }).await.is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn find<'a>(verdict: &'a ServiceVerdict, region: &str) -> Option<&'a RegionVerdict> {
    verdict.regions.iter().find(|other| other.region == region)
}

/// Tells what differs between two states of the service.
///
/// # Errors
/// Standard output is closed.
pub fn tell(out: &Output, at: Instant, before: &ServiceVerdict, after: &ServiceVerdict) -> std::io::Result<()> {
    for region in &after.regions {
        let old = find(before, &region.region);
        for vote in &region.opinions {
            let known = old.and_then(|old| old.opinions.iter().find(|other| other.site == vote.site));
            if known.map_or(Opinion::Unknown, v1::SiteOpinion::opinion) == vote.opinion() {
                continue;
            }
            let word = opinion_word(vote.opinion());
            let reason = if vote.reason.is_empty() { String::new() } else { format!(" ({})", vote.reason) };
            let text = format!("{:<9} says {} is {word}{reason}", vote.site, region.region);
            let fields = serde_json::json!({
                "site": vote.site, "region": region.region, "opinion": word, "reason": vote.reason,
            });
            out.event(at, Kind::Vote, &text, &fields)?;
        }
        if old.map_or(Verdict::Undecided, RegionVerdict::verdict) != region.verdict() {
            let word = verdict_word(region.verdict());
            let count = if region.verdict() == Verdict::Down { region.sites_down } else { region.sites_up };
            let text = match region.verdict() {
                Verdict::Up | Verdict::Down => format!(
                    "{} is {word}: {count} of {} sites say so, {} needed",
                    region.region, region.sites_total, region.sites_needed
                ),
                _ => format!("{} is {word}", region.region),
            };
            let fields = serde_json::json!({
                "region": region.region, "verdict": word, "sites_up": region.sites_up, "sites_down": region.sites_down,
                "sites_total": region.sites_total, "sites_needed": region.sites_needed,
            });
            out.event(at, Kind::Verdict, &text, &fields)?;
        }
    }
    tell_switch(out, at, before, after)
}

fn tell_switch(out: &Output, at: Instant, before: &ServiceVerdict, after: &ServiceVerdict) -> std::io::Result<()> {
    let changed = (before.phase, before.epoch) != (after.phase, after.epoch);
    let (epoch, active) = (after.epoch, &after.active_region);
    let (phase, text) = match after.phase() {
        Phase::Authorised => ("authorised", format!("epoch {epoch} to {active} is authorised and in the log")),
        Phase::Written => ("written", format!("epoch {epoch} is written, the provider accepted it")),
        Phase::Serving => ("observed", format!("epoch {epoch} is over: every nameserver answers {active}")),
        Phase::Adopting | Phase::Unspecified => ("adopting", "the record is about to be adopted".to_owned()),
    };
    if changed {
        let fields = serde_json::json!({ "epoch": epoch, "phase": phase, "region": active });
        out.event(at, Kind::Switch, &text, &fields)?;
    }
    if before.trouble != after.trouble && !after.trouble.is_empty() {
        let fields = serde_json::json!({ "epoch": epoch, "phase": "trouble", "region": active });
        out.event(at, Kind::Switch, &format!("trouble: {}", after.trouble), &fields)?;
    }
    Ok(())
}

fn opinion_word(opinion: Opinion) -> &'static str {
    match opinion {
        Opinion::Up => "up",
        Opinion::Down => "down",
        Opinion::Unknown | Opinion::Unspecified => "unknown",
    }
}

fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Up => "up",
        Verdict::Down => "down",
        Verdict::Undecided | Verdict::Unspecified => "undecided",
    }
}
