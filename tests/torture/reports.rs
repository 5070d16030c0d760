//! The observations: which reports each node was told are taken, and which each node's recording holds.

use std::{collections::BTreeMap, fs};

use quorate::{
    core::state::Action,
    history::{Decoder, Item, Record},
};

use crate::{
    clients::Client,
    edn::{Edn, map, vector},
    world::World,
};

/// Writes down every report that a node was told is taken, out of its log.
pub fn acknowledged(world: &World) -> u64 {
    let mut count = 0;
    for (node, log) in world.fleet.logs() {
        let mut client = Client::new(&world.history);
        for line in log.lines().filter(|line| line.contains("the leader took the report")) {
            let Some(number) = line.rsplit("seq=").next().and_then(|rest| rest.trim().parse().ok()) else { continue };
            let element: Edn = vector([node, number]);
            let answer = crate::ctl::Answer { exit: 0, json: serde_json::Value::Null, stderr: String::new() };
            client.does("add", element.clone(), || answer, |_| Some(element));
            count += 1;
        }
    }
    count
}

/// Writes down what each node recorded: the reports with their places in the log, and which stretches of it are covered.
pub fn recorded(world: &World) {
    let mut client = Client::new(&world.history);
    for node in world.fleet.ids() {
        let file = world.fleet.dir().join(format!("recording-{node}"));
        let path = file.to_str().expect("UTF-8").to_owned();
        let export = || world.fleet.at(node, &["--timeout", "60s", "history", "export", "--out", &path]);
        client.does("reports", map([("node", node.into())]), export, |_| {
            let (elements, covered) = read(&fs::read(&file).ok()?);
            Some(map([("node", node.into()), ("elements", elements), ("covered", covered)]))
        });
    }
}

/// Writes down what a node recorded before it went.
pub fn tell(client: &mut Client, node: u64, bytes: &[u8]) {
    let (elements, covered) = read(bytes);
    let answer = crate::ctl::Answer { exit: 0, json: serde_json::Value::Null, stderr: String::new() };
    let told = map([("node", node.into()), ("elements", elements), ("covered", covered)]);
    client.does("reports", map([("node", node.into())]), || answer, |_| Some(told));
}

fn read(bytes: &[u8]) -> (Edn, Edn) {
    let mut decoder = Decoder::new();
    decoder.push(bytes);
    decoder.end();
    let mut entries = BTreeMap::<u64, Vec<(u64, u64)>>::new();
    while let Some(item) = decoder.next_item() {
        let Item::Record(record) = item else { continue };
        let Some(position) = record.position() else { continue };
        match *record {
            Record::Begin(_) | Record::State { .. } => {}
            Record::Entry { command, .. } => {
                let reports = match command.action {
                    Action::Reports(reports) => reports.iter().map(|report| (report.node, report.seq)).collect(),
                    _ => vec![],
                };
                entries.insert(position.index, reports);
            }
            _ => drop(entries.insert(position.index, vec![])),
        }
    }
    let mut covered: Vec<(u64, u64)> = vec![];
    for index in entries.keys() {
        match covered.last_mut() {
            Some((_, to)) if *to + 1 == *index => *to = *index,
            _ => covered.push((*index, *index)),
        }
    }
    let elements = entries.iter().flat_map(|(index, of)| of.iter().map(|(node, seq)| vector([*node, *seq, *index])));
    (vector(elements), vector(covered.into_iter().map(|(from, to)| vector([from, to]))))
}
