//! What Cloudflare's API answers: envelopes, records, errors.

use super::{Batch, client, entry, entry::Entry};
use crate::{
    core::{
        names::Epoch,
        record::{Fence, Record, RecordType},
    },
    fuzz::{Target, joined, split},
};

pub(crate) const TARGETS: &[Target] = &[Target { name: "cloudflare-answer", run: answer, seeds: answers }];

fn answer(input: &[u8]) {
    let Some((kind, body)) = split(input) else { return };
    let status = if kind % 2 == 0 { 200 } else { 400 };
    let record = Record {
        provider: "main".parse().expect("a name"),
        zone: "example.test".parse().expect("a name"),
        name: "www.example.test".parse().expect("a name"),
        rtype: [RecordType::A, RecordType::Aaaa, RecordType::Cname][usize::from(kind / 2 % 3)],
        ttl: 60,
    };
    match client::decoded::<Vec<Entry>>(status, body) {
        Ok(entries) => {
            let _ =
                (entry::fence(&entries), entries.iter().filter(|entry| entry.is_at("www.example.test", "A")).count());
            if let Ok(Some(rrset)) = entry::rrset(&record, &entries) {
                let fence = Fence { cluster: "prod".parse().expect("a name"), epoch: Epoch(1) };
                let batch = Batch::new(&record, &entries, &[], &rrset, &fence);
                assert_eq!(batch.deletes.len(), entries.len(), "each old value is a condition");
                let batch = Batch::new(&record, &entries, &entries[..1], &rrset, &fence);
                assert_eq!(batch.patches.len(), rrset.values.len(), "values that stay are changed in place");
            }
        }
        Err(said) => {
            assert!(
                said.len() < 4096 && !said.contains(char::is_control),
                "an answer must not flood the log: {said:?}"
            );
        }
    }
}

fn answers() -> Vec<Vec<u8>> {
    let record = r#"{"id":"023e105f4ecef8ad9ca31a8372d0c353","type":"A","name":"www.example.test","content":"192.0.2.1",
        "ttl":60,"proxied":false,"comment":null,"tags":[],"settings":{}}"#;
    vec![
        joined(0, format!(r#"{{"success":true,"errors":[],"messages":[],"result":[{record},{record}]}}"#)),
        joined(0, r#"{"success":false,"errors":[{"code":81044,"message":"Record does not exist."}],"result":null}"#),
        joined(1, r#"{"success":false,"errors":[{"code":10000,"message":"Authentication error"}]}"#),
        joined(1, "<html>"),
        joined(2, "[".repeat(10_000)),
    ]
}
