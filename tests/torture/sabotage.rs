//! Rules broken on purpose: the checkers must notice each, by its invariant, and must find nothing in the same story when no
//! rule is broken.

use std::{sync::Arc, time::Duration};

use nix::sys::signal::Signal;
use quorate::core::sabotage::Sabotage;
use tokio::runtime::Handle;

use crate::{
    LONG, alone,
    clients::{Chronicler, Client},
    edn::{key, map, vector},
    fleet::TIMING,
    netns::Cut,
    partition, run,
    services::{APP, REG},
    until,
    witness::Fault,
    world::World,
};

/// Nothing that was under way lasts longer here: no disk is slow and no fault is left.
const SLACK: Duration = Duration::from_millis(300);

type Story = fn(&World);

/// Tells a story twice, whole and with a rule broken; what the broken one violates, by invariant.
async fn broken(rule: Sabotage, timing: &str, story: Story, expected: &[&str]) {
    let _alone = alone().await;
    for sabotage in [None, Some(rule)] {
        let environment = sabotage.map(|rule| ("QUORATE_SABOTAGE".to_owned(), rule.as_str().to_owned()));
        let Some(world) = World::start(SLACK, timing, environment.into_iter().collect()).await else { return };
        let violations = tokio::task::block_in_place(|| tell(&world, story, rule as u64));
        println!("{rule:?} {sabotage:?}: {violations:#?}");
        if sabotage.is_none() {
            assert!(violations.is_empty(), "nothing is broken: {violations:#?}");
            continue;
        }
        for invariant in expected {
            let named = format!("{invariant}: ");
            let found = violations.iter().any(|why| why.trim_start_matches(':').starts_with(&named));
            assert!(found, "{rule:?} must violate {invariant}: {violations:#?}");
        }
    }
}

fn tell(world: &Arc<World>, story: Story, number: u64) -> Vec<String> {
    let mut chronicler = Chronicler::new(world);
    story(world);
    for service in [&APP, &REG] {
        chronicler.switches(service);
    }
    run::end(world);
    run::judge(world, number)
}

/// Cuts a node off from the others, with the truth in the history.
fn isolate(world: &World, node: u64) -> partition::Partition {
    let cut = partition::alone(&world.voters(), node);
    cut.cut(&world.fleet);
    world.history.node(node, "isolated", true);
    cut
}

fn mend(world: &World, node: u64, cut: &partition::Partition) {
    world.history.node(node, "isolated", false);
    cut.heal(&world.fleet);
    until("the node follows again", LONG, || {
        (world.fleet.at(node, &["--timeout", "2s", "verdict", "get", REG.name]).exit == 0).then_some(())
    });
}

fn leader(world: &World) -> u64 {
    until("somebody leads", LONG, || world.leader())
}

/// Another voter than this one.
fn other(world: &World, than: u64) -> u64 {
    world.voters().into_iter().find(|node| *node != than).expect("another voter")
}

/// The register is switched at this node, as soon as it can be.
fn switch(world: &World, client: &mut Client, node: u64, expected: u64, to: &str) {
    until("the register is switched", LONG, || client.switch(world, node, expected, to));
    until("and written", LONG, || (world.witness.standing(REG.name)?.epoch == Some(expected + 1)).then_some(()));
}

/// A leader is cut off, the others go on, and a client of the old one reads.
fn a_cut_off_leader_is_read(world: &World) {
    let (mut writer, mut reader) = (Client::new(&world.history), Client::new(&world.history));
    let old = leader(world);
    reader.read(world, old).expect("a leader answers");
    let cut = isolate(world, old);
    switch(world, &mut writer, other(world, old), 1, "south");
    for _ in 0..3 {
        reader.read(world, old);
    }
    mend(world, old, &cut);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stale_reads_are_noticed() {
    broken(Sabotage::StaleReads, TIMING, a_cut_off_leader_is_read, &["linearizability"]).await;
}

/// Leases as always, and elections so long that a cut-off leader is in office for twelve seconds before it sees that nobody
/// follows it.
const PATIENT: &str = "[timing]\nheartbeat = '200ms'\nelection = ['1s', '6s']\nreport = '500ms'\n";

/// A leader is about to write and waits for what the provider says of the record; it is cut off, its lease ends, and the
/// answer comes. Nothing but the lease keeps it from writing, and it would write at once.
fn a_cut_off_leader_has_an_intent(world: &World) {
    let mut client = Client::new(&world.history);
    let old = leader(world);
    // The others cannot do it instead, so that it is seen whether the old one does.
    let others: Vec<u8> =
        world.voters().into_iter().filter(|node| *node != old).map(|node| world.fleet.slot(node)).collect();
    for slot in &others {
        world.fleet.net.cut_to(*slot, world.witness.proxy);
    }
    let offices_left = || {
        let logs = world.fleet.logs().into_iter().filter(|(node, _)| *node == old);
        logs.map(|(_, log)| log.matches("left office").count()).sum::<usize>()
    };
    let before = offices_left();
    world.witness.set(Fault::HoldQuestions);
    until("the intent is committed", LONG, || client.switch(world, old, 1, "south"));
    until("the leader asks what the record is", LONG, || world.witness.asks(old, REG.name).then_some(()));
    let cut = isolate(world, old);
    // Longer than any lease. A question that was given up meanwhile is asked again, and waits as well.
    std::thread::sleep(Duration::from_millis(crate::fleet::LEASE_MS) + SLACK * 2);
    assert_eq!(offices_left(), before, "the leader must be in office when the answer comes, for this to show anything");
    world.witness.set(Fault::None);
    // From then on it cannot write any more, whatever was broken.
    until("the old leader leaves office", LONG, || (offices_left() > before).then_some(()));
    for slot in others {
        world.fleet.net.heal(slot, Cut::Ways);
    }
    until("epoch 2 is written", LONG, || (world.witness.standing(REG.name)?.epoch == Some(2)).then_some(()));
    mend(world, old, &cut);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_without_a_quorum_are_noticed() {
    broken(Sabotage::NoReadIndex, PATIENT, a_cut_off_leader_has_an_intent, &["2"]).await;
}

/// Two sites are blind, and the third alone does not reach the active region.
fn one_site_of_three_reports(world: &World) {
    let [dissenter, blind @ ..] = world.voters().try_into().unwrap_or([1, 2, 3]);
    let net = &world.fleet.net;
    for node in blind {
        world.history.node(node, "blind", true);
        for control in &world.controls {
            net.cut_to_as(Cut::Controls, world.fleet.slot(node), control.address());
        }
    }
    let region = |dead_for: &[u64]| {
        map([
            ("service", APP.name.into()),
            ("region", APP.regions[0].0.into()),
            ("dead-for", vector(dead_for.iter().copied())),
            ("outage", false.into()),
            ("kind", key("region-half-reachable")),
        ])
    };
    world.history.nemesis("region", region(&[dissenter]));
    let slot = world.fleet.slot(dissenter);
    net.cut_to_as(Cut::Region(0), slot, world.regions[APP.name][0].address());
    std::thread::sleep(Duration::from_secs(12));
    net.heal(slot, Cut::Region(0));
    world.history.nemesis("region", region(&[]));
    for node in blind {
        net.heal(world.fleet.slot(node), Cut::Controls);
        world.history.node(node, "blind", false);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quorum_of_those_that_report_is_noticed() {
    broken(Sabotage::QuorumOfReachable, TIMING, one_site_of_three_reports, &["3"]).await;
}

/// A leader's write is on its way while the leader stands still; a successor ends the epoch and moves back; then it arrives.
fn a_write_arrives_late(world: &World) {
    let mut client = Client::new(&world.history);
    let old = leader(world);
    world.witness.set(Fault::Hold);
    until("the intent is committed", LONG, || client.switch(world, old, 1, "south"));
    let caught = tokio::time::timeout(LONG, world.witness.caught());
    Handle::current().block_on(caught).expect("the leader's update is on its way");
    world.history.node(old, "paused", true);
    world.fleet.signal(old, Signal::SIGSTOP);
    until("a successor ends epoch 2", LONG, || (world.witness.standing(REG.name)?.epoch == Some(2)).then_some(()));
    switch(world, &mut client, other(world, old), 2, "north");
    world.witness.release();
    std::thread::sleep(Duration::from_secs(2));
    world.fleet.signal(old, Signal::SIGCONT);
    world.history.node(old, "paused", false);
    until("the old leader follows", LONG, || {
        (world.fleet.at(old, &["--timeout", "2s", "verdict", "get", REG.name]).exit == 0).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_without_a_fence_are_noticed() {
    broken(Sabotage::NoFence, TIMING, a_write_arrives_late, &["6"]).await;
}
