//! `quoratectl evidence export` and `verify`: evidence as a file, and what it proves without a cluster.

use std::{
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;

use super::{
    connect::{Kind, Session, verdicts},
    failure::{Exit, Failure},
    output::{Screen, printable, table},
};
use crate::{
    evidence::{self, Fault, Summary},
    grpc::Violation,
    proto::v1,
};

/// The largest file that is read, in bytes.
const FILE_LIMIT: u64 = 64 << 20;

/// What to export.
#[derive(Debug, Args)]
pub struct Export {
    /// The service; all of them without one
    service: Option<String>,
    /// One switch alone, by its epoch; every one that is over and still known without it
    #[arg(long, value_name = "N", requires = "service")]
    epoch: Option<u64>,
    /// Where to; a file that is there already is not written over [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What to verify, and against what.
#[derive(Debug, Args)]
pub struct Verify {
    /// A file that `evidence export` wrote
    file: PathBuf,
    /// The hash that the chain must end in, as another node or an earlier look told it
    #[arg(long, value_name = "[SERVICE=]HASH")]
    expect_head: Vec<String>,
    /// An earlier export: the chains must go on from where it ended
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,
}

#[derive(Serialize)]
struct Written {
    file: String,
    #[serde(flatten)]
    summary: Summary,
}

pub async fn export(export: Export, session: &Session, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let Export { service, epoch, out } = export;
    if let Some(out) = out.as_ref().filter(|out| out.exists()) {
        return Err(usage(format!("{} is there already", out.display())));
    }
    let request = v1::ExportEvidenceRequest {
        service: service.unwrap_or_default(),
        epoch: epoch.unwrap_or_default(),
        consistency: session.consistency(),
    };
    let get = |channel, request| async { verdicts(channel).export_evidence(request).await };
    let text = session.call(Kind::Read, request, get).await?.document_json;
    // A node whose evidence does not verify is not to be believed silently.
    let summary = evidence::verify(text.as_bytes()).map_err(|faults| wrong("what the node sent", &faults))?;
    let Some(out) = out else {
        screen.out.write_all(text.as_bytes())?;
        screen.out.flush()?;
        return Ok(Exit::Done);
    };
    write(&out, &text).map_err(|error| usage(format!("cannot write {}: {error}", out.display())))?;
    screen.answer(&Written { file: out.display().to_string(), summary }, |of| in_words(&of.file, &of.summary))?;
    Ok(Exit::Done)
}

fn write(out: &Path, text: &str) -> std::io::Result<()> {
    let temporary = out.with_extension("part");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let ended = written.and_then(|()| fs::rename(&temporary, out));
    if ended.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    ended
}

pub fn verify(verify: &Verify, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let Verify { file, expect_head, previous } = verify;
    let summary = summary_of(file)?;
    let mut faults = vec![];
    for wanted in expect_head {
        let (service, hash) = wanted.split_once('=').map_or((None, wanted.as_str()), |(of, hash)| (Some(of), hash));
        faults.extend(evidence::has_head(&summary, service, hash).err());
    }
    if let Some(previous) = previous {
        faults.extend(evidence::continues(&summary, &summary_of(previous)?).err().into_iter().flatten());
    }
    if !faults.is_empty() {
        return Err(wrong(&file.display().to_string(), &faults));
    }
    screen.answer(&Written { file: file.display().to_string(), summary }, |of| in_words(&of.file, &of.summary))?;
    Ok(Exit::Done)
}

fn summary_of(file: &Path) -> Result<Summary, Failure> {
    let cannot = |error: String| usage(format!("cannot read {}: {error}", file.display()));
    let length = fs::metadata(file).map_err(|error| cannot(error.to_string()))?.len();
    if length > FILE_LIMIT {
        return Err(cannot(format!("{length} bytes, {FILE_LIMIT} are the most")));
    }
    let bytes = fs::read(file).map_err(|error| cannot(error.to_string()))?;
    evidence::verify(&bytes).map_err(|faults| wrong(&file.display().to_string(), &faults))
}

fn wrong(what: &str, faults: &[Fault]) -> Failure {
    let count = if faults.len() == 1 { "1 fault".to_owned() } else { format!("{} faults", faults.len()) };
    let mut failure = Failure::new(Exit::Invalid, format!("{what} does not verify: {count}"));
    let violation = |of: &Fault| Violation { field: of.at.clone(), description: of.what.clone() };
    failure.more.violations = faults.iter().map(violation).collect();
    failure.more.reason = Some("EVIDENCE".to_owned());
    failure
}

fn usage(message: String) -> Failure {
    Failure::new(Exit::Usage, message)
}

/// What a person is shown of a file.
#[cfg(feature = "testing")]
pub(super) fn shown(bytes: &[u8]) -> String {
    match evidence::verify(bytes) {
        Ok(summary) => in_words("file", &summary),
        Err(faults) => {
            let mut shown = vec![];
            wrong("file", &faults).print(super::Output::Table, &mut shown).expect("memory takes it");
            String::from_utf8_lossy(&shown).into_owned()
        }
    }
}

fn in_words(file: &str, of: &Summary) -> String {
    let mut text = format!(
        "{}: verified, evidence of cluster {} as node {} had it\n\n",
        printable(file),
        printable(&of.cluster),
        of.node
    );
    let rows = of.services.iter().map(|(name, of)| {
        let epochs = match of.epochs.as_slice() {
            [] => String::new(),
            [one] => one.to_string(),
            [first, .., last] => format!("{first} to {last}"),
        };
        [
            name.clone(),
            of.epochs.len().to_string(),
            epochs,
            of.open.map(|epoch| epoch.to_string()).unwrap_or_default(),
            of.head.clone().unwrap_or_default(),
        ]
    });
    text += &table(["SERVICE", "SWITCHES", "EPOCHS", "OPEN", "HEAD"], rows);
    let _ = writeln!(text, "\nhash of the file's content: {}", of.hash);
    text
}
