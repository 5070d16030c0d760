//! Who gets in, and what is said to those who do not.

use std::{fs, sync::atomic::Ordering, time::Duration};

use quorate::{
    grpc::ClusterError,
    proto::v1::{self, admin_service_client::AdminServiceClient},
    tls::ANY_NODE,
};
use tokio::net::TcpListener;
use tonic::{
    Code,
    transport::{Channel, ClientTlsConfig, Endpoint},
};

use crate::{World, fake::Pki, run};

async fn channel(world: &World, tls: ClientTlsConfig) -> Result<Channel, tonic::transport::Error> {
    let uri = format!("https://{}", world.server.address);
    Endpoint::from_shared(uri)?.tls_config(tls)?.connect_timeout(Duration::from_secs(5)).connect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_nobody_gets_in() {
    let world = World::new().await;
    let (node, ca) = (world.server.address.to_string(), world.pki.file("ca.crt").display().to_string());
    let said = run(&["--node", &node, "--ca", &ca, "verdict", "list"]).await.ends(7);
    said.complains("the node wants a client certificate");
    said.complains("hint: check --ca, --cert and --key");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_another_ca_are_refused_by_either_side() {
    let (world, other) = (World::new().await, Pki::new("test"));
    let node = world.server.address.to_string();
    let file = |of: &Pki, name: &str| of.file(name).display().to_string();
    let (ours, theirs) = (file(&world.pki, "ca.crt"), file(&other, "ca.crt"));
    let (cert, key) = (file(&other, "admin-ada.crt"), file(&other, "admin-ada.key"));
    let said = run(&["--node", &node, "--ca", &ours, "--cert", &cert, "--key", &key, "verdict", "list"]).await.ends(7);
    said.complains("the node did not accept your certificate");
    let said =
        run(&["--node", &node, "--ca", &theirs, "--cert", &cert, "--key", &key, "verdict", "list"]).await.ends(7);
    said.complains("the node's certificate was not accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_kept_apart() {
    let world = World::new().await;
    world.run_as("viewer-ada", &["verdict", "list"]).await.ends(0);
    let said = world.run_as("viewer-ada", &["freeze", "app", "--reason", "x"]).await.ends(7);
    said.complains("needs the role operator, quorate://test/viewer/ada has the role viewer");
    said.complains("hint: ");
    world.run_as("operator-ada", &["freeze", "app", "--reason", "x"]).await.ends(0);
    world.run_as("operator-ada", &["service", "remove", "app"]).await.ends(7).complains("needs the role admin");
    world.run_as("node-1", &["verdict", "list"]).await.ends(0);
    world.run_as("node-1", &["unfreeze", "app"]).await.ends(7).complains("needs the role operator");
    world.run_as("admin-ada", &["unfreeze", "app"]).await.ends(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_peers_service_is_not_for_people_and_unknown_methods_for_nobody() {
    let world = World::new().await;
    let channel = channel(&world, world.pki.tls("admin-ada").client(ANY_NODE)).await.unwrap();
    let mut peers = quorate::proto::raft::peer_service_client::PeerServiceClient::new(channel.clone());
    let refused = peers.read_index(quorate::proto::raft::ReadIndexRequest {}).await.unwrap_err();
    assert_eq!((refused.code(), refused.message().contains("only nodes")), (Code::PermissionDenied, true));
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = http::uri::PathAndQuery::from_static("/quorate.v1.AdminService/Backup");
    let refused = grpc.unary(tonic::Request::new(()), path, codec).await.unwrap_err();
    assert_eq!((refused.code(), refused.message().contains("nobody may call")), (Code::PermissionDenied, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_tools_find_health_and_reflection() {
    use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let world = World::new().await;
    let channel = channel(&world, world.pki.tls("viewer-ada").client(ANY_NODE)).await.unwrap();
    for name in quorate::grpc::HEALTH_NAMES {
        let check = HealthCheckRequest { service: name.into() };
        let status = HealthClient::new(channel.clone()).check(check).await.unwrap().into_inner().status;
        assert_eq!(status, i32::from(ServingStatus::Serving), "{name}");
    }
    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(futures::stream::iter([list]))
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(services)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services");
    };
    let names: Vec<_> = services.service.iter().map(|of| of.name.as_str()).collect();
    for wanted in ["quorate.v1.VerdictService", "quorate.v1.AdminService", "grpc.health.v1.Health"] {
        assert!(names.contains(&wanted), "{names:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_request_lists_every_violation() {
    let world = World::new().await;
    let channel = channel(&world, world.pki.tls("admin-ada").client(ANY_NODE)).await.unwrap();
    let toml = include_str!("../fixtures/services/ten-errors.toml").to_owned();
    let apply = v1::ApplyServiceRequest { toml, dry_run: false, skip_provider_check: false };
    let refused = AdminServiceClient::new(channel).apply_service(apply).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(quorate::grpc::errors::violations(&refused).len() >= 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_tried_in_turn_and_each_is_named() {
    let world = World::new().await;
    // Bound and dropped: nothing listens there.
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let live = world.server.address;
    world.run_at(&format!("{dead},{live}"), "admin-ada", &["freeze", "--reason", "x"]).await.ends(0);
    let nodes = format!("{dead},localhost:{}", dead.rsplit_once(':').unwrap().1);
    let said = world.run_at(&nodes, "admin-ada", &["freeze", "--reason", "x"]).await.ends(5);
    said.complains("error: no node answered\n");
    for node in nodes.split(',') {
        said.complains(&format!("  {node}: "));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_says_nothing_is_left_behind() {
    let world = World::new().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let args = ["--timeout", "2s", "freeze", "--reason", "x"];
    world.run_at(&address, "admin-ada", &args).await.ends(5).complains("no connection within 2 s");
    world.run_at(&format!("{address},{}", world.server.address), "admin-ada", &args).await.ends(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_may_have_arrived_is_not_sent_again() {
    let (world, other) = (World::new().await, World::new().await);
    world.fake.hangs.store(true, Ordering::Relaxed);
    let nodes = format!("{},{}", world.server.address, other.server.address);
    let args = ["--timeout", "1s", "freeze", "app", "--reason", "x"];
    let said = world.run_at(&nodes, "admin-ada", &args).await.ends(6);
    said.complains("the outcome is unknown");
    said.complains("hint: read the state before trying again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_file_says_where_the_cluster_is() {
    let world = World::new().await;
    let file = world.pki.file("config.toml");
    let text = format!(
        "nodes = [\"{}\"]\nca = \"ca.crt\"\ncert = \"viewer-ada.crt\"\nkey = \"viewer-ada.key\"\ntimeout = \"5s\"\n\
         consistency = \"stale\"\n",
        world.server.address
    );
    fs::write(&file, &text).unwrap();
    let file = file.display().to_string();
    let said = run(&["--config", &file, "verdict", "list"]).await.ends(0);
    assert!(said.out.ends_with("\nas node 1 last heard 250 ms ago\n"), "{}", said.out);
    // Options win over the file.
    run(&["--config", &file, "--consistency", "linearizable", "verdict", "list"]).await.ends(0);
    fs::write(&file, text + "colour = true\n").unwrap();
    run(&["--config", &file, "verdict", "list"]).await.ends(2).complains("colour");
    run(&["--config", "/nonexistent/config.toml", "verdict", "list"]).await.ends(2).complains("cannot read");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_error_has_its_exit_code() {
    let world = World::new().await;
    let leader = Some((2, "192.0.2.2:7700".to_owned()));
    let forbidden = ClusterError::Forbidden { reason: "LAST_VOTER", description: "the last voter must stay".into() };
    for (error, code, text) in [
        (ClusterError::NotInitialised, 3, "hint: form the cluster once with `quoratectl cluster init"),
        (forbidden, 3, "the last voter must stay (LAST_VOTER)"),
        (ClusterError::NoMember(9), 4, "there is no member 9"),
        (ClusterError::Unavailable { why: "cut off".into(), leader }, 5, "leader: node 2 at 192.0.2.2:7700"),
        (ClusterError::OutcomeUnknown { after: Duration::from_secs(4) }, 6, "the outcome is unknown"),
        (ClusterError::Internal("disk".into()), 1, "disk"),
    ] {
        *world.fake.fails.lock().unwrap() = Some(error);
        world.run(&["unfreeze"]).await.ends(code).complains(text);
    }
    // A change of the members is not begun when it cannot be taken down that it begins.
    *world.fake.fails.lock().unwrap() = Some(ClusterError::OutcomeUnknown { after: Duration::from_secs(4) });
    world.run(&["member", "remove", "3"]).await.ends(5).complains("nothing was changed");
    *world.fake.fails.lock().unwrap() = Some(ClusterError::Internal("disk".into()));
    let json = world.run(&["-o", "json", "member", "remove", "3"]).await.ends(1);
    let error: serde_json::Value = serde_json::from_str(&json.err).unwrap();
    assert_eq!((&error["error"]["exit_code"], &error["error"]["reason"]), (&1.into(), &"INTERNAL".into()));
}
