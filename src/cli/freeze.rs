//! `quoratectl freeze` and `unfreeze`: the operator's hold on automatic switches.

use clap::Args;
use serde_json::json;

use super::{
    connect::{Kind, Session, admin},
    failure::{Exit, Failure},
    output::Screen,
};
use crate::proto::v1;

/// What to hold.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    quoratectl freeze app --reason 'database migration until 15:00'\n  \
    quoratectl freeze --reason 'provider maintenance'")]
pub struct FreezeArguments {
    /// One service; the whole cluster without one
    service: Option<String>,
    /// Why, for whoever finds it held
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// What to let go.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  quoratectl unfreeze app\n  quoratectl unfreeze")]
pub struct UnfreezeArguments {
    /// One service; the whole cluster without one (services held by themselves stay held)
    service: Option<String>,
}

pub async fn freeze(arguments: FreezeArguments, session: &Session, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let FreezeArguments { service, reason } = arguments;
    let request = v1::FreezeRequest { service: service.clone().unwrap_or_default(), reason };
    let freeze = |channel, request| async { admin(channel).freeze(request).await };
    session.call(Kind::Write, request, freeze).await?;
    said(service.as_deref(), true, screen)
}

pub async fn unfreeze(
    arguments: UnfreezeArguments,
    session: &Session,
    screen: &mut Screen<'_>,
) -> Result<Exit, Failure> {
    let service = arguments.service;
    let request = v1::UnfreezeRequest { service: service.clone().unwrap_or_default() };
    let unfreeze = |channel, request| async { admin(channel).unfreeze(request).await };
    session.call(Kind::Write, request, unfreeze).await?;
    said(service.as_deref(), false, screen)
}

fn said(service: Option<&str>, frozen: bool, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let state = if frozen { "frozen: automatic switches are held" } else { "not frozen" };
    let of = service.unwrap_or("the cluster");
    screen.answer(&json!({ "service": service, "frozen": frozen }), |_| format!("{of}: {state}\n"))?;
    Ok(Exit::Done)
}
