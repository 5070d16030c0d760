//! Who may not speak to a node's peer listener.

use quorate::{
    core::names::NodeId,
    proto::raft::{self as pb, peer_service_client::PeerServiceClient},
    tls::{ANY_NODE, Identity, PeerTls, Role, node_name},
};
use tonic::{
    Code, Status,
    transport::{Channel, ClientTlsConfig, Endpoint},
};

use crate::{
    cluster::{Cluster, LIMIT},
    common::pki::Pki,
};

type Client = PeerServiceClient<Channel>;

async fn connect(address: impl std::fmt::Display, tls: ClientTlsConfig) -> Result<Client, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls)?.timeout(LIMIT);
    Ok(PeerServiceClient::new(endpoint.connect().await?))
}

fn vote(node: NodeId) -> pb::VoteRequest {
    // Of a term so high that any node that listened would follow it.
    let vote = pb::Vote { term: 1_000, node, committed: false };
    let last = Some(pb::LogId { term: 999, index: 999 });
    pb::VoteRequest { vote: Some(vote), last, leadership_transfer: true }
}

/// The answer to a vote, wherever on the way it is refused.
async fn ask(cluster: &Cluster, tls: &PeerTls, node: NodeId) -> Result<pb::VoteResponse, Status> {
    let address = cluster.nodes[&1].address;
    let mut client = connect(address, tls.client(ANY_NODE)).await.map_err(|e| Status::unavailable(e.to_string()))?;
    client.vote(vote(node)).await.map(tonic::Response::into_inner)
}

/// The connection itself was refused; when that shows depends on who is faster.
fn broken(refused: &Status) -> bool {
    matches!(refused.code(), Code::Unavailable | Code::Unknown | Code::Cancelled)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_nodes_of_the_cluster_are_heard_and_each_for_itself() {
    let cluster = Cluster::new(1_000).await;
    let (leader, term) = cluster.leader(&[1, 2, 3]).await;
    let address = cluster.nodes[&1].address;
    let (pki, foreign) = (&cluster.pki, Pki::new("test"));

    // Another CA, even with the right names in its certificate: the handshake fails.
    let stranger = Identity::Node { cluster: pki.cluster.clone(), id: 2 };
    let refused = ask(&cluster, &foreign.issue(&stranger, pki.ca()), 2).await.unwrap_err();
    assert!(broken(&refused), "{refused:?}");
    // No certificate at all.
    let bare =
        ClientTlsConfig::new().ca_certificate(tonic::transport::Certificate::from_pem(pki.ca())).domain_name(ANY_NODE);
    let refused = match connect(address, bare).await {
        Ok(mut client) => client.vote(vote(2)).await.unwrap_err(),
        Err(e) => Status::unavailable(e.to_string()),
    };
    assert!(broken(&refused), "{refused:?}");
    // A person, whatever their role.
    for role in [Role::Viewer, Role::Operator, Role::Admin] {
        let refused = ask(&cluster, &pki.person(role, "ada"), 2).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    }
    // A node that speaks for another.
    let refused = ask(&cluster, &pki.node(3), 2).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    // A node that was never a member may not report, propose or read.
    let mut client = connect(address, pki.node(77).client(ANY_NODE)).await.unwrap();
    let refused = client.read_index(pb::ReadIndexRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    // A listener that is not the node that was called.
    assert!(connect(address, pki.node(2).client(&node_name(3))).await.is_err());
    connect(address, pki.node(2).client(&node_name(1))).await.unwrap();

    // Nonsense of a node is refused, and harms nobody.
    let mut client = connect(address, pki.node(2).client(ANY_NODE)).await.unwrap();
    let empty = pb::VoteRequest { vote: None, last: None, leadership_transfer: false };
    assert_eq!(client.vote(empty).await.unwrap_err().code(), Code::InvalidArgument);
    let gap = pb::AppendEntriesRequest {
        vote: Some(pb::Vote { term: 1_000, node: 2, committed: true }),
        prev: None,
        entries: vec![pb::Entry { log_id: Some(pb::LogId { term: 1, index: 7 }), payload: None }],
        committed: None,
    };
    let mut answers = client.stream_append(tokio_stream::iter([gap])).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap_err().code(), Code::InvalidArgument);
    let header = pb::SnapshotHeader { vote: Some(pb::Vote { term: 1_000, node: 2, committed: true }), length: 4 };
    let chunk = pb::SnapshotChunk { header: Some(header), data: b"nope".as_slice().into() };
    let refused = client.install_snapshot(tokio_stream::iter([chunk])).await.unwrap_err();
    assert_eq!(refused.code(), Code::DataLoss, "{refused:?}");

    assert_eq!(cluster.leader(&[1, 2, 3]).await, (leader, term), "nobody's term moved");
}
