//! What the cluster does: elect, replicate, refuse the deposed, feed the newcomer, change its members.

use quorate::{
    core::{
        report::Report,
        state::{Action, Response},
    },
    raft::{MemberError, ProposeError, Raft, StartError},
};

use crate::{
    cluster::{Cluster, LIMIT, tick},
    common::eventually,
};

const ALL: [u64; 3] = [1, 2, 3];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elects_replicates_and_survives_restarts() {
    let mut cluster = Cluster::new(1_000).await;
    let (leader, term) = cluster.leader(&ALL).await;
    let mut last = 0;
    for at in 1..=20 {
        let (position, response) = cluster.nodes[&leader].raft.propose(term, tick(at)).await.unwrap();
        assert_eq!((position.term, response), (term, Response::Done));
        assert!(position.index > last);
        last = position.index;
    }
    cluster.agree(last).await;
    let sites = cluster.nodes[&1].raft.with_state(|s| s.voters.clone());
    assert_eq!(sites.into_values().map(|s| s.to_string()).collect::<Vec<_>>(), ["site-1", "site-2", "site-3"]);

    let stopped = tokio::spawn({
        let raft = cluster.nodes[&1].raft.clone();
        async move { raft.stopped().await }
    });
    // Any order, the leader too: what was acknowledged stays.
    for id in ALL {
        cluster.stop(id).await;
        let others: Vec<u64> = ALL.into_iter().filter(|o| *o != id).collect();
        let (leader, term) = cluster.leader(&others).await;
        last = cluster.nodes[&leader].raft.propose(term, tick(100 + id)).await.unwrap().0.index;
        cluster.start(id).await;
        cluster.agree(last).await;
    }
    assert!(stopped.await.unwrap().contains("stopped"));
    // All at once.
    for id in ALL {
        cluster.stop(id).await;
    }
    for id in ALL {
        cluster.start(id).await;
    }
    cluster.leader(&ALL).await;
    cluster.agree(last).await;
    assert_eq!(cluster.nodes[&2].raft.with_state(|s| s.log_time.0), 103);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_confirms_and_writes_nothing() {
    let cluster = Cluster::new(1_000).await;
    let (old, old_term) = cluster.leader(&ALL).await;
    let deposed = &cluster.nodes[&old].raft;
    let confirmed = deposed.confirm().await.unwrap();
    cluster.isolate(old, true);
    let cut = tokio::time::Instant::now();
    // Whatever it believes of itself, it can show nothing to anyone.
    assert!(deposed.confirm().await.is_err());
    let refused = deposed.propose(old_term, tick(666)).await.unwrap_err();
    assert!(matches!(refused, ProposeError::Unknown(_) | ProposeError::NotLeader { .. }), "{refused:?}");

    let others: Vec<u64> = ALL.into_iter().filter(|o| *o != old).collect();
    let (new, new_term) = cluster.leader(&others).await;
    assert!(new_term > old_term);
    assert!(confirmed.lease_until <= cut + crate::cluster::TIMING.election_min, "the lease is bounded");
    let (position, _) = cluster.nodes[&new].raft.propose(new_term, tick(1)).await.unwrap();
    // The new leader does not write in the name of the old term either.
    let refused = cluster.nodes[&new].raft.propose(old_term, tick(667)).await.unwrap_err();
    assert!(matches!(refused, ProposeError::NotLeader { .. }), "{refused:?}");

    cluster.isolate(old, false);
    cluster.agree(position.index).await;
    let refused = deposed.propose(old_term, tick(668)).await.unwrap_err();
    assert!(matches!(refused, ProposeError::NotLeader { .. }), "{refused:?}");
    assert_eq!(deposed.with_state(|s| s.log_time.0), 1, "nothing of the old term's came through");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_learns_by_snapshot_votes_and_replaces() {
    let mut cluster = Cluster::new(20).await;
    let (leader, term) = cluster.leader(&ALL).await;
    let mut last = 0;
    for at in 1..=150 {
        last = cluster.nodes[&leader].raft.propose(term, tick(at)).await.unwrap().0.index;
    }
    let raft = cluster.nodes[&leader].raft.clone();
    eventually("a snapshot", LIMIT, || raft.status().snapshot.is_some_and(|at| at > 100)).await;

    cluster.prepare(4).await;
    cluster.prepare(5).await;
    for id in ALL {
        // The links to the newcomers are routes of the others only from their next start.
        assert!(cluster.nodes[&id].raft.member(4).is_none());
    }
    cluster.start(4).await;
    raft.add_learner(4, cluster.member(4)).await.unwrap();
    assert!(matches!(raft.add_learner(4, cluster.member(4)).await, Err(MemberError::Refused(_))));
    cluster.nodes[&4].raft.wait_applied(last, LIMIT).await.unwrap();
    assert!(cluster.nodes[&4].raft.status().snapshot.is_some(), "it came by snapshot");
    assert_eq!(raft.with_state(|s| s.voters.len()), 3, "a learner has no vote");

    // A node that is not there does not get to vote.
    let absent = raft.add_learner(5, cluster.member(5)).await;
    absent.unwrap();
    assert!(matches!(raft.promote(5).await, Err(MemberError::Behind { .. })));
    raft.remove(5).await.unwrap();

    raft.promote(4).await.unwrap();
    assert_eq!(raft.with_state(|s| s.voters.len()), 4);
    let gone = ALL.into_iter().find(|id| *id != leader).unwrap();
    raft.remove(gone).await.unwrap();
    cluster.stop(gone).await;
    assert!(!raft.with_state(|s| s.voters.contains_key(&gone)));
    let second = ALL.into_iter().find(|id| *id != leader && *id != gone).unwrap();
    cluster.start(5).await;
    raft.replace(second, 5, cluster.member(5), LIMIT).await.unwrap();
    cluster.stop(second).await;
    let voters: Vec<u64> = raft.with_state(|s| s.voters.keys().copied().collect());
    assert_eq!(voters.len(), 3);
    assert!(voters.contains(&4) && voters.contains(&5));

    raft.transfer_leader(4).await.unwrap();
    let (now, term) = cluster.leader(&[4]).await;
    let (position, _) = cluster.nodes[&now].raft.propose(term, tick(1_000)).await.unwrap();
    cluster.agree(position.index).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_report_propose_and_read_through_the_leader() {
    let cluster = Cluster::new(1_000).await;
    let (leader, _) = cluster.leader(&ALL).await;
    let other = ALL.into_iter().find(|id| *id != leader).unwrap();
    let (raft, member) = (&cluster.nodes[&other].raft, cluster.member(leader));
    let report = |node| Report { node, seq: 9, ..Report::default() };
    let answer = raft.peers().report(leader, &member, &report(other), LIMIT).await.unwrap();
    assert_eq!((answer.needs_full, answer.last_seq), (false, 9));
    assert_eq!(*cluster.nodes[&leader].handler.reports.lock().unwrap(), [report(other)]);
    let forged = raft.peers().report(leader, &member, &report(leader), LIMIT).await.unwrap_err();
    assert_eq!(forged.code(), tonic::Code::PermissionDenied);

    let (position, response) = raft.peers().propose(leader, &member, &Action::Tick, LIMIT).await.unwrap();
    assert_eq!(response, Response::Done);
    let read = raft.peers().read_index(leader, &member, LIMIT).await.unwrap();
    assert!(read.index >= position.index);
    raft.wait_applied(read.index, LIMIT).await.unwrap();

    let status = cluster.nodes[&leader].raft.status();
    assert!(status.members.iter().all(|m| m.voter) && status.members.len() == 3);
    let silent = || {
        let members = cluster.nodes[&leader].raft.status().members;
        members.into_iter().find(|m| m.id == other).and_then(|m| m.silent_ms)
    };
    eventually("answers are counted", LIMIT, || silent().is_some_and(|ms| ms < 1_000)).await;
    cluster.isolate(other, true);
    eventually("silence is counted", LIMIT, || silent().is_some_and(|ms| ms > 1_000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_only_with_what_is_its_own() {
    let mut cluster = Cluster::new(1_000).await;
    cluster.leader(&ALL).await;
    let options = cluster.options(3);
    assert!(matches!(Raft::start(options.clone()).await, Err(StartError::Store(_))), "in use");
    cluster.stop(3).await;
    let mut other = options.clone();
    other.node = 2;
    assert!(matches!(Raft::start(other).await, Err(StartError::OtherNode { .. })));
    let mut other = options.clone();
    other.tls = cluster.pki.node(2);
    assert!(matches!(Raft::start(other).await, Err(StartError::OtherIdentity { .. })));
    let mut other = options.clone();
    other.data = options.data.join("absent");
    assert!(matches!(Raft::start(other).await, Err(StartError::Store(_))), "a lost disk");
    let mut other = options;
    other.timing.heartbeat = other.timing.election_min;
    assert!(matches!(Raft::start(other).await, Err(StartError::Timing(_))));
    cluster.start(3).await;
    cluster.agree(1).await;
}
