//! Who may ask what: without a certificate of this cluster nothing, with one what its role allows. Stock gRPC tools find health
//! and reflection.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use quorate::tls::{ANY_NODE, PeerTls};
use serde_json::Value;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::{
    cluster::{CLUSTER, Cluster, Person, ZONE, make_ca, make_person, quoratectl},
    dns_server::DnsServer,
    stage::{POLICY, Regions},
};

/// Signs a certificate of any identity with the cluster's own CA, as `pki issue` refuses to.
fn forged(cluster: &Cluster, identity: &str) -> Person {
    let pki = cluster.pki();
    let ca = rcgen::Issuer::from_ca_cert_pem(
        &fs::read_to_string(pki.join("ca.crt")).unwrap(),
        rcgen::KeyPair::from_pem(&fs::read_to_string(pki.join("ca.key")).unwrap()).unwrap(),
    )
    .unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![rcgen::SanType::URI(identity.try_into().unwrap())];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &ca).unwrap();
    let certificate = cluster.file("forged.crt", &certificate.pem());
    Person { ca: pki.join("ca.crt"), certificate, key: cluster.file("forged.key", &key.serialize_pem()) }
}

#[track_caller]
fn refused(person: &Person, node: SocketAddr, args: &[&str], why: &str) {
    let error = person.ctl(&node.to_string(), args).refused(7);
    assert!(error.to_string().contains(why), "{why}: {error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_holds_a_certificate_and_a_role_is_served() {
    let Some(server) = DnsServer::bind(ZONE, &["app"]) else { return };
    let regions = Regions::start().await;
    let cluster = Cluster::on(&server);
    cluster.apply(&regions.service(POLICY));
    let before = cluster.switches();
    let (node, pki) = (cluster.nodes[0].grpc, cluster.pki());
    let good = make_person(&pki, "eve", "viewer");
    let read = ["verdict", "get", "app"];
    good.ctl(&node.to_string(), &read).ok();

    // Nobody's certificate.
    let without = quoratectl(&["--node", &node.to_string(), "--ca", good.ca.to_str().unwrap(), "verdict", "list"]);
    assert!(without.refused(7).to_string().contains("the node wants a client certificate"));
    no_tls_and_no_certificate(node, &pki);
    // Another CA's, of a cluster of the same name: the node refuses the client, the client the node.
    let elsewhere = cluster.dir().join("elsewhere");
    make_ca(&elsewhere, CLUSTER);
    let stranger = make_person(&elsewhere, "eve", "admin");
    refused(&Person { ca: good.ca.clone(), ..stranger.clone() }, node, &read, "did not accept your certificate");
    refused(
        &Person { ca: stranger.ca.clone(), ..good.clone() },
        node,
        &read,
        "the node's certificate was not accepted",
    );
    refused(&stranger, node, &read, "certificate was not accepted");
    // This CA's, and yet not of this cluster, or of nobody.
    refused(&forged(&cluster, "quorate://other/admin/eve"), node, &read, "another cluster");
    refused(&forged(&cluster, "quorate://e2e/emperor/eve"), node, &read, "certificate");

    roles(&cluster, node, &good, &pki);
    assert_eq!(cluster.switches(), before, "nothing was changed");
    stock_tools(node, &good).await;
}

/// What is no TLS, and TLS without a certificate, gets no answer at all.
fn no_tls_and_no_certificate(node: SocketAddr, pki: &Path) {
    let mut plain = TcpStream::connect(node).expect("to connect");
    plain.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").expect("to write");
    let mut answer = vec![];
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.windows(4).any(|bytes| bytes == b"grpc"), "plain text was answered");

    let output = Command::new("openssl")
        .args(["s_client", "-quiet", "-alpn", "h2", "-servername", ANY_NODE, "-verify_return_error"])
        .args(["-connect", &node.to_string(), "-CAfile", pki.join("ca.crt").to_str().unwrap()])
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else {
        println!("SKIP: `openssl` is missing: TLS without a certificate is not tried");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("certificate required"), "{said}");
}

fn roles(cluster: &Cluster, node: SocketAddr, viewer: &Person, pki: &Path) {
    let file = cluster.file("app2.toml", "name = 'x'\n");
    let file = file.to_str().unwrap();
    let operator = make_person(pki, "otto", "operator");
    let operators: [&[&str]; 5] = [
        &["switch", "start", "app", "--to", "east"],
        &["switch", "abort", "app"],
        &["freeze", "--reason", "x"],
        &["unfreeze", "app"],
        &["leader", "transfer", "--to", "1"],
    ];
    let admins: [&[&str]; 6] = [
        &["service", "apply", file],
        &["service", "remove", "app"],
        &["member", "add", "9=oslo@127.0.0.1:9"],
        &["member", "promote", "2"],
        &["member", "remove", "2"],
        &["member", "replace", "2", "9=oslo@127.0.0.1:9"],
    ];
    for args in operators {
        refused(viewer, node, args, "needs the role operator");
    }
    for args in admins {
        refused(viewer, node, args, "needs the role admin");
        refused(&operator, node, args, "needs the role admin");
    }
    // A node reads, and changes nothing through the public API.
    let certificate = |suffix: &str| pki.join(format!("node-1.{suffix}"));
    let as_node = Person { ca: viewer.ca.clone(), certificate: certificate("crt"), key: certificate("key") };
    as_node.ctl(&node.to_string(), &["verdict", "list"]).ok();
    refused(&as_node, node, operators[0], "needs the role operator");
    // What the role allows is done.
    let frozen = operator.ctl(&node.to_string(), &["freeze", "app", "--reason", "by otto"]).ok();
    assert_eq!(frozen["frozen"], true);
    let app = cluster.app().expect("the service");
    assert!(app["frozen"].as_str().is_some_and(|why| why.contains("otto") && why.contains("by otto")), "{app}");
    operator.ctl(&node.to_string(), &["unfreeze", "app"]).ok();
    assert_eq!(cluster.app().expect("the service")["frozen"], Value::Null);
}

async fn connect(node: SocketAddr, person: &Person) -> Channel {
    let tls = PeerTls::load(&person.ca, &person.certificate, &person.key).expect("the files");
    let endpoint = Endpoint::from_shared(format!("https://{node}")).unwrap();
    endpoint.tls_config(tls.client(ANY_NODE)).unwrap().connect().await.expect("to connect")
}

async fn stock_tools(node: SocketAddr, viewer: &Person) {
    let channel = connect(node, viewer).await;
    for service in ["", "quorate.v1.VerdictService", "quorate.v1.AdminService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = HealthClient::new(channel.clone()).check(request).await.expect("health").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "`{service}`");
    }
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let requests = tokio_stream::once(request);
    let mut answers =
        ServerReflectionClient::new(channel).server_reflection_info(requests).await.expect("reflection").into_inner();
    let answer = answers.message().await.expect("an answer").expect("one");
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("another answer: {answer:?}")
    };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&"quorate.v1.VerdictService") && names.contains(&"quorate.v1.AdminService"), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("raft")), "the peers' service is nobody else's business: {names:?}");
}
