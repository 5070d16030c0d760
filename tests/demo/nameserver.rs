//! The demo's DNS server against BIND's own clients.

use std::{
    io::Write,
    process::Stdio,
    time::{Duration, SystemTime},
};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        Name, RecordType, TSigner,
        rdata::tsig::{TsigAlgorithm, TsigError},
    },
};
use quorate::demo::nameserver::{HoldAt, Key, Nameserver};
use tokio::{net::UdpSocket, process::Command};

const SECRET: &[u8] = b"an example secret, not for use 1";
const SECRET_BASE64: &str = "YW4gZXhhbXBsZSBzZWNyZXQsIG5vdCBmb3IgdXNlIDE=";
const OTHER_BASE64: &str = "YW5vdGhlciBzZWNyZXQsIG5vdCBmb3IgdXNlIGhlcmU=";

/// Whether Debian's `bind9-dnsutils` is here; without it the test is skipped, or fails where skipping is forbidden.
fn tools() -> bool {
    let there = |tool: &str| {
        std::process::Command::new(tool).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    if there("nsupdate") && there("dig") {
        return true;
    }
    assert!(std::env::var_os("QUORATE_NO_SKIP").is_none(), "nsupdate and dig (bind9-dnsutils) are missing");
    println!("SKIP: nsupdate and dig (bind9-dnsutils) are missing");
    false
}

async fn server() -> Nameserver {
    let key = Key { name: Name::from_ascii("demo-key.").unwrap(), secret: SECRET.to_vec() };
    Nameserver::start(&Name::from_ascii("example.test").unwrap(), &key).await.unwrap()
}

/// Runs a script of `nsupdate`; gives its exit status and what it printed.
async fn nsupdate(server: &Nameserver, key: Option<&str>, options: &[&str], script: &str) -> (bool, String) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "server 127.0.0.1 {}\nzone example.test.\n{script}\nsend", server.address().port()).unwrap();
    let mut command = Command::new("nsupdate");
    if let Some(key) = key {
        command.args(["-y", key]);
    }
    let run = command.args(["-t", "5"]).args(options).arg(file.path()).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(20), run).await.expect("nsupdate hangs").unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn right_key() -> String {
    format!("hmac-sha256:demo-key:{SECRET_BASE64}")
}

async fn dig(server: &Nameserver, arguments: &[&str]) -> String {
    let port = server.address().port().to_string();
    let run = Command::new("dig").args(["@127.0.0.1", "-p", &port]).args(arguments).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(20), run).await.expect("dig hangs").unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const CREATE: &str = "prereq nxrrset app.example.test. A\nprereq nxrrset _quorate.app.example.test. TXT\n\
    update add app.example.test. 5 A 192.0.2.10\n\
    update add _quorate.app.example.test. 5 TXT \"v=1 cluster=demo epoch=1\"";
const SWITCH: &str = "prereq yxrrset app.example.test. A 192.0.2.10\n\
    prereq yxrrset _quorate.app.example.test. TXT \"v=1 cluster=demo epoch=1\"\n\
    update delete app.example.test. A\nupdate add app.example.test. 5 A 192.0.2.20\n\
    update delete _quorate.app.example.test. TXT\n\
    update add _quorate.app.example.test. 5 TXT \"v=1 cluster=demo epoch=2\"";

#[tokio::test]
async fn a_switch_is_one_conditional_update_and_a_stale_one_changes_nothing() {
    if !tools() {
        return;
    }
    let server = server().await;
    for (script, options) in [(CREATE, &[][..]), (SWITCH, &["-v"][..])] {
        let (ok, said) = nsupdate(&server, Some(&right_key()), options, script).await;
        assert!(ok, "{said}");
    }
    let (ok, said) = nsupdate(&server, Some(&right_key()), &[], SWITCH).await;
    assert!(!ok && said.contains("NXRRSET"), "{said}");
    let (ok, said) = nsupdate(&server, Some(&right_key()), &[], CREATE).await;
    assert!(!ok && said.contains("YXRRSET"), "{said}");

    for transport in ["+notcp", "+tcp"] {
        assert_eq!(dig(&server, &["+short", transport, "app.example.test", "A"]).await, "192.0.2.20\n");
    }
    let fence = dig(&server, &["+short", "_quorate.app.example.test", "TXT"]).await;
    assert_eq!(fence, "\"v=1 cluster=demo epoch=2\"\n");
    assert!(dig(&server, &["example.test", "SOA"]).await.contains("ns.example.test. ns.example.test. 3 "));

    let outcomes: Vec<_> = server.changes().iter().map(|change| (change.outcome, change.serial)).collect();
    assert_eq!(
        outcomes,
        [
            (ResponseCode::NoError, 2),
            (ResponseCode::NoError, 3),
            (ResponseCode::NXRRSet, 3),
            (ResponseCode::YXRRSet, 3)
        ]
    );
}

#[tokio::test]
async fn only_the_right_key_at_the_right_time_may_update() {
    if !tools() {
        return;
    }
    let server = server().await;
    let (ok, said) = nsupdate(&server, None, &[], CREATE).await;
    assert!(!ok && said.contains("REFUSED"), "{said}");
    let wrong_secret = format!("hmac-sha256:demo-key:{OTHER_BASE64}");
    let (ok, said) = nsupdate(&server, Some(&wrong_secret), &[], CREATE).await;
    assert!(!ok && said.contains("BADSIG"), "{said}");
    let wrong_name = format!("hmac-sha256:other-key:{SECRET_BASE64}");
    let (ok, said) = nsupdate(&server, Some(&wrong_name), &[], CREATE).await;
    assert!(!ok && said.contains("BADKEY"), "{said}");
    let other_algorithm = format!("hmac-sha512:demo-key:{SECRET_BASE64}");
    let (ok, said) = nsupdate(&server, Some(&other_algorithm), &[], CREATE).await;
    assert!(!ok && said.contains("BADKEY"), "{said}");
    let (ok, said) =
        nsupdate(&server, Some(&right_key()), &[], "zone example.org.\nupdate add a.example.org. 5 A 192.0.2.1").await;
    assert!(!ok && said.contains("NOTAUTH"), "{said}");
    assert!(server.contents().is_empty());
    // A signed question gets a signed answer that dig verifies.
    let answer = dig(&server, &["-y", &right_key(), "example.test", "NS"]).await;
    assert!(answer.contains("NOERROR") && answer.contains("TSIG") && !answer.contains("verify failure"), "{answer}");
}

#[tokio::test]
async fn a_held_update_waits_before_or_after_it_is_applied() {
    if !tools() {
        return;
    }
    let server = server().await;
    for (at, script, applied_while_held) in [(HoldAt::BeforeApply, CREATE, false), (HoldAt::BeforeAnswer, SWITCH, true)]
    {
        let mut hold = server.hold(at);
        let before = server.contents();
        let key = right_key();
        let update = nsupdate(&server, Some(&key), &["-v"], script);
        let release = async {
            hold.arrived().await.expect("the server runs");
            assert_eq!(server.contents() != before, applied_while_held, "{at:?}");
            assert!(!dig(&server, &["example.test", "SOA"]).await.is_empty(), "others are served meanwhile");
            hold.release();
        };
        let ((ok, said), ()) = tokio::join!(update, release);
        assert!(ok, "{said}");
        assert_ne!(server.contents(), before);
    }
}

#[tokio::test]
async fn questions_that_the_zone_cannot_answer_get_the_right_code() {
    if !tools() {
        return;
    }
    let server = server().await;
    for (arguments, expected) in [
        (["gone.example.test", "A"], "NXDOMAIN"),
        (["example.test", "A"], "NOERROR"),
        (["example.org", "A"], "REFUSED"),
        (["example.test", "AXFR"], "failed"),
    ] {
        let answer = dig(&server, &arguments).await;
        assert!(answer.contains(expected), "{arguments:?}: {answer}");
    }
}

#[tokio::test]
async fn a_signature_from_another_time_is_refused_with_the_servers_own_time() {
    let server = server().await;
    let name = Name::from_ascii("demo-key.").unwrap();
    let signer = TSigner::new(SECRET.to_vec(), TsigAlgorithm::HmacSha256, name, 300).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let mut message = Message::new(7, MessageType::Query, OpCode::Update);
    message.add_query(Query::query(Name::from_ascii("example.test.").unwrap(), RecordType::SOA));
    message.finalize(&signer, now - 301).unwrap();
    let request_mac = message.signature.as_ref().unwrap().data.mac.clone();

    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&message.to_vec().unwrap(), server.address()).await.unwrap();
    let mut bytes = [0; 1232];
    let length = tokio::time::timeout(Duration::from_secs(5), socket.recv(&mut bytes)).await.unwrap().unwrap();
    let answer = Message::from_vec(&bytes[..length]).unwrap();
    let tsig = &answer.signature.as_ref().expect("a BADTIME answer is signed").data;
    assert_eq!(
        (answer.response_code, tsig.error, tsig.time),
        (ResponseCode::NotAuth, Some(TsigError::BadTime), now - 301)
    );
    let told = tsig.other.iter().fold(0, |time, byte| time << 8 | u64::from(*byte));
    assert!((now..now + 60).contains(&told), "{told}");
    signer.verify_message_byte(&bytes[..length], Some(&request_mac), true).expect("the MAC of the answer");
}
