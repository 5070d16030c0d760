//! `quoratectl cluster`, `member`, `leader`: who forms the cluster, and who leads it.

use std::str::FromStr;

use clap::Subcommand;
use serde::Serialize;
use serde_json::json;

use super::{
    connect::{Kind, Session, admin},
    failure::{Exit, Failure},
    output::{Screen, ms, table},
};
use crate::{core::names::Site, proto::v1, view::Member};

/// `ID=SITE@HOST:PORT`.
#[derive(Debug, Clone)]
pub struct MemberArgument(v1::Member);

impl FromStr for MemberArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').and_then(|(id, rest)| Some((id, rest.split_once('@')?)));
        let Some((id, (site, address))) = parts else {
            return Err("use ID=SITE@HOST:PORT, such as 1=paris@192.0.2.1:7700".into());
        };
        let id = id.parse().ok().filter(|id| *id > 0).ok_or(format!("`{id}` is no member id: use a number from 1"))?;
        let site: Site = site.parse().map_err(|error| format!("{error}"))?;
        let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(1..))) {
            return Err(format!("`{address}` is no HOST:PORT"));
        }
        Ok(Self(v1::Member { id, site: site.to_string(), address: address.to_owned() }))
    }
}

/// `quoratectl cluster`.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  quoratectl cluster init --member 1=paris@192.0.2.1:7700")]
pub enum ClusterCommand {
    /// Forms the cluster, once, from nodes that are running and empty
    #[command(after_help = "Examples:\n  quoratectl --node 192.0.2.1:7700 cluster init \
        --member 1=paris@192.0.2.1:7700 --member 2=oslo@192.0.2.2:7700 --member 3=rome@192.0.2.3:7700")]
    Init {
        /// A voter; the node that is asked must be among them
        #[arg(long = "member", value_name = "ID=SITE@HOST:PORT", required = true)]
        members: Vec<MemberArgument>,
    },
}

/// `quoratectl member`.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  quoratectl member list")]
pub enum MemberCommand {
    /// The members as the node that answers sees them; the leader also knows their progress
    #[command(
        after_help = "Examples:\n  quoratectl member list\n  quoratectl --node 192.0.2.2:7700 member list -o json"
    )]
    List,
    /// Adds a learner, which replicates but does not vote
    #[command(after_help = "Examples:\n  quoratectl member add 4=berlin@192.0.2.4:7700")]
    Add {
        /// The member
        #[arg(value_name = "ID=SITE@HOST:PORT")]
        member: MemberArgument,
    },
    /// Makes a learner that has caught up a voter
    #[command(after_help = "Examples:\n  quoratectl member promote 4")]
    Promote {
        /// The learner
        id: u64,
    },
    /// Removes a member
    #[command(after_help = "Examples:\n  quoratectl member remove 3")]
    Remove {
        /// The member
        id: u64,
    },
    /// Puts a new member, with a new id, in the place of one that lost its store
    #[command(after_help = "Examples:\n  quoratectl member replace 3 4=rome@192.0.2.3:7700")]
    Replace {
        /// The member that lost its store
        old: u64,
        /// Who takes its place; ids are never used twice
        #[arg(value_name = "ID=SITE@HOST:PORT")]
        new: MemberArgument,
    },
}

/// `quoratectl leader`.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  quoratectl leader transfer --to 2")]
pub enum LeaderCommand {
    /// Hands leadership to a voter
    #[command(after_help = "Examples:\n  quoratectl leader transfer --to 2")]
    Transfer {
        /// The voter
        #[arg(long, value_name = "ID")]
        to: u64,
    },
}

#[derive(Serialize)]
struct Members {
    members: Vec<Member>,
}

#[derive(Serialize)]
struct Seen {
    cluster: String,
    leader: Option<u64>,
    term: u64,
    last_log_index: u64,
    applied_index: u64,
    state_hash: String,
    answered_by: u64,
    members: Vec<Member>,
}

pub async fn run(command: ClusterCommand, session: &Session, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let ClusterCommand::Init { members } = command;
    let members: Vec<_> = members.into_iter().map(|of| of.0).collect();
    let count = members.len();
    let init = |channel, request| async { admin(channel).init_cluster(request).await };
    session.call(Kind::Write, v1::InitClusterRequest { members }, init).await?;
    screen.answer(&json!({ "voters": count }), |_| format!("the cluster is formed, {count} voters\n"))?;
    Ok(Exit::Done)
}

pub async fn member(command: MemberCommand, session: &Session, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let answer = match command {
        MemberCommand::List => return list(session, screen).await,
        MemberCommand::Add { member } => {
            let request = v1::AddMemberRequest { member: Some(member.0) };
            let add = |channel, request| async { admin(channel).add_member(request).await };
            session.call(Kind::Write, request, add).await?
        }
        MemberCommand::Promote { id } => {
            let promote = |channel, request| async { admin(channel).promote_member(request).await };
            session.call(Kind::Write, v1::PromoteMemberRequest { id }, promote).await?
        }
        MemberCommand::Remove { id } => {
            let remove = |channel, request| async { admin(channel).remove_member(request).await };
            session.call(Kind::Write, v1::RemoveMemberRequest { id }, remove).await?
        }
        MemberCommand::Replace { old, new } => {
            let request = v1::ReplaceMemberRequest { old_id: old, member: Some(new.0) };
            let replace = |channel, request| async { admin(channel).replace_member(request).await };
            session.call(Kind::Write, request, replace).await?
        }
    };
    let members = Members { members: answer.members.into_iter().map(Member::from).collect() };
    screen.answer(&members, |of| listed(&of.members))?;
    Ok(Exit::Done)
}

async fn list(session: &Session, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let list = |channel, request| async { admin(channel).list_members(request).await };
    let answer = session.call(Kind::Read, v1::ListMembersRequest {}, list).await?;
    let seen = Seen {
        cluster: answer.cluster,
        leader: Some(answer.leader).filter(|leader| *leader != 0),
        term: answer.term,
        last_log_index: answer.last_log_index,
        applied_index: answer.applied_index,
        state_hash: answer.state_hash,
        answered_by: answer.answered_by,
        members: answer.members.into_iter().map(Member::from).collect(),
    };
    screen.answer(&seen, in_words)?;
    Ok(Exit::Done)
}

pub async fn leader(command: LeaderCommand, session: &Session, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let LeaderCommand::Transfer { to } = command;
    let transfer = |channel, request| async { admin(channel).transfer_leadership(request).await };
    let leader = session.call(Kind::Write, v1::TransferLeadershipRequest { to }, transfer).await?.leader;
    screen.answer(&json!({ "leader": leader }), |_| format!("node {leader} leads\n"))?;
    Ok(Exit::Done)
}

fn in_words(of: &Seen) -> String {
    let leader = of.leader.map_or("no leader known".into(), |leader| format!("node {leader} leads"));
    let of_it = of.members.is_empty() || of.members.iter().any(|member| member.id == of.answered_by);
    let outsider = if of_it { "" } else { ", which is no member: what it knows may be old, ask another" };
    format!(
        "cluster {}: {leader}, term {}, applied {} of {}, as node {} sees it{outsider}\n\n{}",
        of.cluster,
        of.term,
        of.applied_index,
        of.last_log_index,
        of.answered_by,
        listed(&of.members)
    )
}

fn listed(members: &[Member]) -> String {
    let row = |of: &Member| {
        let role = if of.leader { "leader".into() } else { of.role.clone() };
        let matched = of.matched_index.map(|index| index.to_string()).unwrap_or_default();
        [
            of.id.to_string(),
            of.site.clone(),
            of.address.clone(),
            role,
            matched,
            of.silent_ms.map(ms).unwrap_or_default(),
        ]
    };
    table(["ID", "SITE", "ADDRESS", "ROLE", "MATCHED", "SILENT FOR"], members.iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_no_member_any_more_says_so() {
        let member = |id| {
            let member = v1::Member { id, site: "rome".into(), address: "[2001:db8::3]:7700".into() };
            Member::from(v1::MemberStatus { member: Some(member), voter: true, ..Default::default() })
        };
        let seen = |answered_by| Seen {
            cluster: "prod".into(),
            leader: None,
            term: 3,
            last_log_index: 8,
            applied_index: 8,
            state_hash: String::new(),
            answered_by,
            members: vec![member(1), member(3)],
        };
        let said = "as node 2 sees it, which is no member: what it knows may be old, ask another\n";
        assert!(in_words(&seen(2)).contains(said), "{}", in_words(&seen(2)));
        assert!(!in_words(&seen(3)).contains("no member"), "{}", in_words(&seen(3)));
    }

    #[test]
    fn members_are_checked_before_anything_is_sent() {
        let member = "3=rome@[2001:db8::3]:7700".parse::<MemberArgument>().unwrap().0;
        assert_eq!((member.id, &*member.site, &*member.address), (3, "rome", "[2001:db8::3]:7700"));
        for bad in ["", "1", "1=rome", "0=rome@h:1", "x=rome@h:1", "1=Rome@h:1", "1=rome@h", "1=rome@:1", "1=rome@h:0"]
        {
            assert!(bad.parse::<MemberArgument>().is_err(), "{bad}");
        }
    }
}
