//! What OVH's API answers of load balancers.

use super::{
    caption::Caption,
    farm::{Farm, Named, Pending, Place, Server, Task},
};
use crate::{
    core::record::{Record, RecordType},
    fuzz::{Target, joined, split},
};

pub(crate) const TARGETS: &[Target] = &[Target { name: "ovh-iplb-answer", run: answer, seeds: answers }];

fn answer(input: &[u8]) {
    let Some((kind, body)) = split(input) else { return };
    match kind {
        0 => drop(serde_json::from_slice::<Vec<Pending>>(body)),
        1 => drop(serde_json::from_slice::<Task>(body)),
        2 => {
            let Ok(name) = std::str::from_utf8(body) else { return };
            let caption = Caption::parse(name);
            assert_eq!(caption.to_string(), name, "a name reads back");
        }
        // The number's place holds the length of the name.
        _ => {
            let (name, servers) = body.split_at_checked(usize::from(kind)).unwrap_or((b"", body));
            let name = String::from_utf8_lossy(name).into_owned();
            if let Ok(servers) = serde_json::from_slice::<Vec<Server>>(servers) {
                farm(&Named { display_name: Some(name) }, servers);
            }
        }
    }
}

fn farm(named: &Named, servers: Vec<Server>) {
    let record = Record {
        provider: "main".parse().expect("a name"),
        zone: "ip-203.0.113.1".parse().expect("a name"),
        name: "http-7.ip-203.0.113.1".parse().expect("a name"),
        rtype: RecordType::Pool,
        ttl: 0,
    };
    let place = Place::of(&record).expect("a farm");
    let farm = Farm::new(named, servers);
    if let Ok(reading) = farm.reading(&place)
        && let Some(rrset) = reading.rrset
    {
        let servers = farm.servers_of(&place, &rrset).expect("what was read can be written");
        assert_eq!(servers, farm.intended(), "each value is one server");
    }
}

fn answers() -> Vec<Vec<u8>> {
    let server = |id: u64, name: Option<&str>, status: &str| {
        serde_json::json!({ "serverId": id, "backendId": 7, "displayName": name, "address": "192.0.2.1", "port": 80,
            "status": status, "weight": 1, "probe": true, "ssl": false, "backup": false, "serverState": [] })
    };
    let servers = serde_json::json!([server(1, Some("web-a"), "active"), server(2, None, "inactive")]);
    let marked = "web _quorate v=1 cluster=prod epoch=1 next=2 +2 -1 task=3";
    let length = u8::try_from(marked.len()).expect("a short name");
    vec![
        joined(0, r#"[{"number": 2, "zone": "gra"}]"#),
        joined(1, r#"{"id": 7031, "action": "refreshIplb", "status": "doing", "progress": 10, "zones": ["gra"]}"#),
        joined(2, marked),
        joined(2, "web _quorate in use"),
        joined(3, format!("web{servers}")),
        joined(length, format!("{marked}{servers}")),
    ]
}
