//! `quoratectl dynamodb lag`: what the cluster measures.

use crate::{
    cli::{
        connect::{Kind, Session, verdicts},
        failure::{Exit, Failure},
        output::{Screen, ms, table},
        verdict::age,
    },
    proto::v1,
    view::{Replication, Replications},
};

pub(super) async fn run(service: String, session: &Session, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let request = v1::ListReplicationRequest { service, consistency: session.consistency() };
    let list = |channel, request| async { verdicts(channel).list_replication(request).await };
    let answer = session.call(Kind::Read, request, list).await?;
    screen.answer(&Replications::from(answer), in_words)?;
    Ok(Exit::Done)
}

fn in_words(of: &Replications) -> String {
    if of.replications.is_empty() {
        return format!("no region but the active ones has a table\n{}", age(&of.read));
    }
    let row = |of: &Replication| {
        let outcome =
            |rule: &Option<crate::view::Rule>| rule.as_ref().map(|rule| rule.outcome.clone()).unwrap_or_default();
        let figure =
            |rule: &Option<crate::view::Rule>| rule.as_ref().map(|rule| rule.figure.clone()).unwrap_or_default();
        [
            of.service.clone(),
            of.region.clone(),
            of.through.clone().unwrap_or_default(),
            outcome(&of.replica),
            figure(&of.replica),
            outcome(&of.lag),
            of.lag_ms.map_or_else(|| "not known".to_owned(), ms),
            of.lag_text.clone().unwrap_or_default(),
            of.limit_ms.map(ms).unwrap_or_default(),
            of.read_ms_ago.map(|ago| format!("{} ago", ms(ago))).unwrap_or_default(),
        ]
    };
    let header =
        ["SERVICE", "REGION", "WRITTEN THROUGH", "REPLICA", "FIGURE", "LAG", "AT MOST", "BECAUSE", "ALLOWED", "READ"];
    format!("{}{}", table(header, of.replications.iter().map(row)), age(&of.read))
}
