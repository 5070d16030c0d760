//! What DNS servers answer, signed and not, and what people write of them.

use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{Name, RData, Record as WireRecord, RecordType as WireType, rdata},
};

use super::{
    FenceReading, authoritative, hook, http,
    rfc2136::{Rfc2136, Rfc2136Config},
    tsig::{Algorithm, Key},
    wire::{self, Found, ServerAddress},
};
use crate::{
    core::record::{Record, RecordType},
    fuzz::{Target, joined, reads_back, split},
    secret::Secret,
};

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "dns-answer", run: answer, seeds: answers },
    Target { name: "dns-signed", run: signed, seeds: signatures },
    Target { name: "dns-server", run: server, seeds: servers },
    Target { name: "hook-answer", run: hook_answer, seeds: hook_answers },
];

const TYPES: [WireType; 5] = [WireType::A, WireType::AAAA, WireType::CNAME, WireType::TXT, WireType::NS];

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

/// The question, under the id that the answer has, so that the rest is looked at.
fn question(rtype: WireType, answer: &[u8]) -> Message {
    let mut question = wire::question(name("www.example.test."), rtype, false);
    if let Some((id, _)) = answer.split_first_chunk() {
        question.metadata.id = u16::from_be_bytes(*id);
    }
    question
}

/// The type that was asked for, and the answer.
fn answer(input: &[u8]) {
    let Some((kind, bytes)) = split(input) else { return };
    let rtype = TYPES[usize::from(kind) % TYPES.len()];
    let Ok(message) = Message::from_vec(bytes) else { return };
    let asked = question(rtype, bytes);
    for authority in [true, false] {
        match wire::read_answer(&asked, &message, authority) {
            Ok(Found::Records { data, .. }) => {
                assert!(!data.is_empty(), "no record is not an RRset");
                let _: Vec<_> = data.iter().map(wire::read_value).collect();
                let texts: Result<Vec<_>, _> = data.iter().map(wire::read_text).collect();
                let _ = texts.map(FenceReading::of);
                let _ = authoritative::nameservers(&data);
            }
            Ok(_) => {}
            Err(unusable) => assert!(!authoritative::describe(&unusable).is_empty()),
        }
    }
}

fn reply(rtype: WireType, data: Vec<RData>, code: ResponseCode) -> Message {
    let mut message = question(rtype, &[]);
    message.metadata.id = 7;
    message.metadata.message_type = MessageType::Response;
    message.metadata.authoritative = true;
    message.metadata.response_code = code;
    let record = |data| WireRecord::from_rdata(name("www.example.test."), 60, data);
    message.add_answers(data.into_iter().map(record));
    message
}

fn replies() -> Vec<(u8, Message)> {
    let fence = "v=1 cluster=prod epoch=42".to_owned();
    let alias = RData::CNAME(rdata::CNAME(name("eu.example.net.")));
    let of = |kind: u8, data| (kind, reply(TYPES[usize::from(kind)], data, ResponseCode::NoError));
    vec![
        of(0, vec![RData::A(rdata::A::new(192, 0, 2, 1)), RData::A(rdata::A::new(192, 0, 2, 2))]),
        of(1, vec![RData::AAAA(rdata::AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))]),
        of(2, vec![alias.clone()]),
        of(0, vec![alias]),
        of(3, vec![RData::TXT(rdata::TXT::new(vec![fence]))]),
        of(4, vec![RData::NS(rdata::NS(name("ns1.example.test.")))]),
        of(0, vec![]),
        (0, reply(WireType::A, vec![], ResponseCode::NXDomain)),
        (0, reply(WireType::A, vec![], ResponseCode::Refused)),
    ]
}

fn answers() -> Vec<Vec<u8>> {
    replies().into_iter().map(|(kind, message)| joined(kind, message.to_vec().expect("a message"))).collect()
}

const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";
const REQUEST_MAC: [u8; 32] = [7; 32];

fn key() -> Key {
    Key::new(&"quorate-key".parse().expect("a name"), Algorithm::HmacSha256, &Secret::new(SECRET)).expect("a key")
}

fn record(rtype: RecordType) -> Record {
    Record {
        provider: "main".parse().expect("a name"),
        zone: "example.test".parse().expect("a name"),
        name: "www.example.test".parse().expect("a name"),
        rtype,
        ttl: 60,
    }
}

/// What the server said with its signature, and what that means.
fn signed(input: &[u8]) {
    let Ok(reply) = key().verify(input, &REQUEST_MAC) else { return };
    let config = Rfc2136Config {
        server: "192.0.2.53".parse().expect("a server"),
        key_name: "quorate-key".parse().expect("a name"),
        algorithm: Algorithm::HmacSha256,
        secret: Secret::new(SECRET),
        timeout: Rfc2136Config::TIMEOUT,
    };
    let record = record(RecordType::A);
    let provider = Rfc2136::new(&config).expect("a provider");
    let said = provider.refusal(&reply, &record).to_string();
    assert!(!said.is_empty() && !said.contains(SECRET));
    // The answer code and the counts are signed. (Of the id the copy in the signature is, RFC 8945 §4.3.1.)
    for at in (2..12).filter(|_| reply.authentic) {
        let mut changed = input.to_vec();
        changed[at] ^= 1;
        let believed = key().verify(&changed, &REQUEST_MAC).is_ok_and(|reply| reply.authentic);
        assert!(!believed, "byte {at} was changed, and the signature still holds");
    }
}

fn signatures() -> Vec<Vec<u8>> {
    let sign = |mut message: Message| {
        let bytes = message.to_vec().expect("a message");
        let own = key().sign(&mut message).expect("a signature").0;
        [bytes, own, key().sign_answer(&mut message, &REQUEST_MAC)]
    };
    replies().into_iter().flat_map(|(_, message)| sign(message)).collect()
}

/// A server's address, or a `resolv.conf`.
fn server(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    reads_back::<ServerAddress>(text);
    assert!(authoritative::parse_resolv_conf(text).len() <= 3);
}

fn servers() -> Vec<Vec<u8>> {
    let texts =
        ["192.0.2.53:5300", "[2001:db8::53]:5300", "ns1.example.net", "fe80::1%eth0", "search x\nnameserver ::1\n"];
    texts.map(Vec::from).to_vec()
}

/// What a webhook or a program answers: to a reading of a record of this type, to a write, and when it asks for time.
fn hook_answer(input: &[u8]) {
    let Some((kind, body)) = split(input) else { return };
    let types = [RecordType::A, RecordType::Aaaa, RecordType::Cname, RecordType::Pool];
    match types.get(usize::from(kind)) {
        Some(rtype) => match hook::reading(&record(*rtype), body) {
            Ok(reading) => assert!(reading.rrset.is_none_or(|rrset| !rrset.values.is_empty()), "no value is no RRset"),
            Err(why) => assert!(!why.is_empty() && why.len() < 4096, "an answer must not flood the log: {why}"),
        },
        None if kind == 4 => {
            let Ok(receipt) = hook::receipt(body) else { return };
            assert!(
                receipt.0.len() < 4096 && !receipt.0.contains(char::is_control),
                "it goes into the log: {receipt:?}"
            );
        }
        None => assert!(hook::retry_after(body).is_none_or(|wait| wait <= http::RETRY_AFTER_LIMIT)),
    }
}

fn hook_answers() -> Vec<Vec<u8>> {
    let standing = r#"{"values": ["192.0.2.1", "192.0.2.2"], "ttl": 60, "fence": "v=1 cluster=prod epoch=42"}"#;
    vec![
        joined(0, standing),
        joined(1, r#"{"values": ["2001:db8::1"], "fence": null}"#),
        joined(2, r#"{"values": ["eu.example.net."], "ttl": 4294967296}"#),
        joined(3, r#"{"values": ["farm/123", "x"], "ttl": null, "fence": "in use"}"#),
        joined(4, r#"{"receipt": "change 7\u0000\u001b[31m"}"#),
        joined(5, r#"{"retry_after": 4294967295}"#),
    ]
}
