//! Inspections: this node's own, those that its peers ask for, and all of them together.

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tonic::Status;

use super::Node;
use crate::{
    inspect::{Inspected, Inspection, NodeAnswer, PATIENCE, Subject},
    raft::MemberStatus,
};

impl Node {
    /// Looks from here.
    async fn look(&self, inspection: &Inspection) -> Result<Inspected, String> {
        let late = |_| format!("not done within {} s", PATIENCE.as_secs());
        let look = async {
            let permit = self.inspections.acquire().await.map_err(|_| "the node is shutting down".to_owned())?;
            let subject = self.raft.with_state(|state| Subject::of(state, inspection));
            let inspected = self.eyes.inspect(subject, inspection).await;
            drop(permit);
            Ok(inspected)
        };
        timeout(PATIENCE, look).await.map_err(late)?
    }

    /// Has every member look, and hands on each answer as it comes.
    pub(super) async fn inspect_everywhere(&self, inspection: Inspection, to: mpsc::Sender<NodeAnswer>) {
        let question = encode(&inspection);
        let members = self.raft.status().members;
        let mut asked: FuturesUnordered<_> =
            members.into_iter().map(|of| self.inspect_at(of, &inspection, question.clone())).collect();
        while let Some(answer) = asked.next().await {
            // Whoever wanted to know may have gone.
            if to.send(answer).await.is_err() {
                return;
            }
        }
    }

    async fn inspect_at(&self, of: MemberStatus, inspection: &Inspection, question: Bytes) -> NodeAnswer {
        let began = Instant::now();
        let found = if of.id == self.raft.id() {
            self.look(inspection).await
        } else {
            match self.raft.peers().inspect(of.id, &of.member, question, PATIENCE).await {
                Ok(answer) => {
                    ciborium::from_reader(&*answer).map_err(|error| format!("an answer that is none: {error}"))
                }
                Err(status) => Err(status.message().to_owned()),
            }
        };
        NodeAnswer { node: of.id, site: of.member.site, voter: of.voter, found, took: began.elapsed() }
    }

    /// Looks for a peer.
    pub(super) async fn look_for_peer(&self, question: Bytes) -> Result<Bytes, Status> {
        let inspection = ciborium::from_reader(&*question)
            .map_err(|error| Status::invalid_argument(format!("no inspection: {error}")))?;
        let inspected = self.look(&inspection).await.map_err(Status::unavailable)?;
        Ok(encode(&inspected))
    }
}

fn encode(value: &impl serde::Serialize) -> Bytes {
    let mut bytes = vec![];
    ciborium::into_writer(value, &mut bytes).expect("a vector takes everything, and these types encode");
    bytes.into()
}
