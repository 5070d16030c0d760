//! Changes of members under load: nodes are added, removed and replaced. An id is never used twice.

use std::time::{Duration, Instant};

use crate::{
    clients::Client,
    edn::{key, map},
    reports,
    world::World,
};

/// How many slots stay for a replacement's sake.
const MOST: usize = 4;
/// How long a newcomer may take to catch up.
const PROMOTION: Duration = Duration::from_secs(45);

/// Each of its changes is made while `World::membership` is held for writing.
pub struct Members<'w> {
    world: &'w World,
    client: Client,
}

impl<'w> Members<'w> {
    pub fn new(world: &'w World) -> Self {
        Self { world, client: Client::new(&world.history) }
    }

    /// One change through the leader, in the history.
    fn change(&mut self, change: &str, node: u64, old: Option<u64>, args: &[&str]) -> bool {
        let of = || map([("change", key(change)), ("node", node.into()), ("old", old.into())]);
        let world = self.world;
        let args = [&["--timeout", "60s", "member"], args].concat();
        let answer = self.client.does("member", of(), || world.fleet.any(&args), |_| Some(of()));
        if answer.exit != 0 {
            println!("    member {change} {node}: exit {} {}", answer.exit, answer.stderr.trim().replace('\n', " "));
        }
        answer.exit == 0
    }

    /// Adds a node at a free site and promotes it; where all sites are taken, one goes first.
    pub fn add(&mut self) {
        if self.world.voters().len() >= MOST {
            let goes = self.world.voters()[0];
            self.take(goes);
        }
        self.bring();
        self.agree();
    }

    /// Removes a voter; where only three are left, another comes first.
    pub fn remove(&mut self, node: u64) {
        if self.world.voters().len() > 3 || self.bring() {
            self.take(node);
        }
        self.agree();
    }

    /// A node loses its disk and comes back under a new id, at the same site.
    pub fn replace(&mut self, node: u64) {
        let world = self.world;
        let slot = world.fleet.slot(node);
        world.history.node(node, "dead", true);
        self.retire(node);
        let Some(newcomer) = world.fleet.new_node(slot) else { return };
        let member = world.fleet.as_member(newcomer);
        let deadline = Instant::now() + PROMOTION;
        let mut done = false;
        while !done && Instant::now() < deadline {
            done = self.change("replace", newcomer, Some(node), &["replace", &node.to_string(), &member]);
            // What had an unknown outcome may be half done: the newcomer is a learner, the old one is gone.
            if !done {
                std::thread::sleep(Duration::from_secs(1));
                done = self.listed().is_some_and(|voters| voters.contains(&newcomer) && !voters.contains(&node));
                if !done && self.listed().is_some_and(|voters| !voters.contains(&node)) {
                    done = self.promote(newcomer);
                }
            }
        }
        self.agree();
    }

    fn bring(&mut self) -> bool {
        let world = self.world;
        let Some(newcomer) = world.fleet.free_slot().and_then(|slot| world.fleet.new_node(slot)) else { return false };
        let member = world.fleet.as_member(newcomer);
        let deadline = Instant::now() + PROMOTION;
        let mut added = false;
        while !added && Instant::now() < deadline {
            added = self.change("add", newcomer, None, &["add", &member]);
            if !added {
                std::thread::sleep(Duration::from_secs(1));
                added = self.members().is_some_and(|members| members.iter().any(|(id, _)| *id == newcomer));
            }
        }
        added && self.promote(newcomer)
    }

    fn promote(&mut self, node: u64) -> bool {
        let deadline = Instant::now() + PROMOTION;
        while Instant::now() < deadline {
            if self.change("promote", node, None, &["promote", &node.to_string()]) {
                return true;
            }
            std::thread::sleep(Duration::from_secs(1));
            if self.listed().is_some_and(|voters| voters.contains(&node)) {
                return true;
            }
        }
        false
    }

    fn take(&mut self, node: u64) -> bool {
        let deadline = Instant::now() + PROMOTION;
        while Instant::now() < deadline {
            let removed = self.change("remove", node, None, &["remove", &node.to_string()]);
            if removed || self.listed().is_some_and(|voters| !voters.contains(&node)) {
                return true;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        false
    }

    /// The members and whether they vote, as a confirmed leader sees them.
    fn members(&self) -> Option<Vec<(u64, bool)>> {
        let leader = self.world.leader()?;
        let answer = self.world.fleet.at(leader, &["--timeout", "3s", "member", "list"]);
        let members = answer.json["members"].as_array()?;
        Some(members.iter().filter_map(|of| Some((of["id"].as_u64()?, of["role"] == "voter"))).collect())
    }

    fn listed(&self) -> Option<Vec<u64>> {
        Some(self.members()?.into_iter().filter(|(_, votes)| *votes).map(|(id, _)| id).collect())
    }

    /// Ends a node, and keeps what it recorded: those that stay may have begun with a snapshot.
    fn retire(&mut self, node: u64) {
        let bytes = self.world.fleet.retire(node);
        reports::tell(&mut self.client, node, &bytes);
    }

    /// Takes for true what the leader says, and ends the nodes that are no members any more.
    fn agree(&mut self) {
        let members = crate::until("the members are known", Duration::from_secs(90), || self.members());
        let voters: Vec<u64> = members.iter().filter(|(_, votes)| *votes).map(|(id, _)| *id).collect();
        for node in self.world.fleet.ids() {
            if !members.iter().any(|(id, _)| *id == node) {
                self.world.history.node(node, "dead", true);
                self.retire(node);
            }
        }
        self.world.set_voters(voters);
    }
}
