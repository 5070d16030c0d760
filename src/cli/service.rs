//! `quoratectl service`: service files, applied, shown, removed and checked.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{
    connect::{Kind, Session, admin},
    failure::{Exit, Failure},
    output::{Output, Screen, printable, table},
    verdict::age,
};
use crate::{
    core::service::Service,
    diagnostic::{Diagnostic, Problems},
    proto::v1,
    service_file,
    view::Read,
};

/// The largest service file, in bytes.
const FILE_LIMIT: u64 = 1 << 20;

/// The commands.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  quoratectl service check app.toml\n  quoratectl service apply app.toml")]
pub enum Command {
    /// Creates or replaces services
    #[command(
        after_help = "Examples:\n  quoratectl service apply app.toml --dry-run\n  quoratectl service apply a.toml b.toml"
    )]
    Apply(Apply),
    /// The services that are applied
    #[command(after_help = "Examples:\n  quoratectl service list\n  quoratectl service list -o json")]
    List,
    /// A service file as it was applied
    #[command(after_help = "Examples:\n  quoratectl service show app > app.toml")]
    Show {
        /// The service
        name: String,
    },
    /// Forgets a service; its record and fence are left as they are
    #[command(after_help = "Examples:\n  quoratectl service remove app")]
    Remove {
        /// The service
        name: String,
    },
    /// Checks service files here, without a cluster: every problem at once, with its line
    #[command(after_help = "Examples:\n  quoratectl service check app.toml\n  quoratectl service check a.toml b.toml")]
    Check {
        /// TOML; `-` reads stdin
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

/// What to apply, and how.
#[derive(Debug, Args)]
pub struct Apply {
    /// TOML; `-` reads stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Validate and check with the provider, change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not read the records at their provider first; for one that is down
    #[arg(long)]
    skip_provider_check: bool,
}

#[derive(Serialize)]
struct Applied {
    file: String,
    service: String,
    /// `created`, `changed`, `unchanged`; with `--dry-run` what it would have been.
    result: &'static str,
    dry_run: bool,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct One {
    name: String,
    toml: String,
}

#[derive(Serialize)]
struct Many {
    services: Vec<One>,
    read: Read,
}

pub async fn run(command: Command, session: &Session, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    match command {
        Command::Apply(arguments) => apply(arguments, session, screen).await,
        Command::Check { files } => check(&files, screen),
        Command::List => {
            let many = list(session).await?;
            screen.answer(&many, |many| {
                let lines = |of: &One| of.toml.lines().count().to_string();
                let rows = many.services.iter().map(|of| [of.name.clone(), lines(of)]);
                format!("{}{}", table(["SERVICE", "LINES"], rows), age(&many.read))
            })?;
            Ok(Exit::Done)
        }
        Command::Show { name } => {
            let Some(one) = list(session).await?.services.into_iter().find(|of| of.name == name) else {
                return Err(Failure::new(Exit::NotFound, format!("there is no service `{name}`"))
                    .hint("`quoratectl service list` names the services"));
            };
            // As written, so that it can be applied again; only what a terminal would obey is taken out.
            let safe = |c: char| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c };
            screen.answer(&one, |one| one.toml.replace("\r\n", "\n").chars().map(safe).collect())?;
            Ok(Exit::Done)
        }
        Command::Remove { name } => {
            let remove = |channel, request| async { admin(channel).remove_service(request).await };
            session.call(Kind::Write, v1::RemoveServiceRequest { service: name.clone() }, remove).await?;
            screen.answer(&serde_json::json!({ "service": name, "removed": true }), |_| {
                format!("{name}: removed; its record and fence are left as they are\n")
            })?;
            Ok(Exit::Done)
        }
    }
}

async fn list(session: &Session) -> Result<Many, Failure> {
    let request = v1::ListServicesRequest { consistency: session.consistency() };
    let list = |channel, request| async { admin(channel).list_services(request).await };
    let answer = session.call(Kind::Read, request, list).await?;
    let services = answer.services.into_iter().map(|of| One { name: of.name, toml: of.toml }).collect();
    Ok(Many { services, read: answer.read.unwrap_or_default().into() })
}

/// Applies file after file and stops at the first that is refused: what follows may rest on it.
async fn apply(arguments: Apply, session: &Session, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let Apply { files, dry_run, skip_provider_check } = arguments;
    // All are read before the first is applied: a name mistyped at the end must not leave half of them applied.
    let texts: Vec<_> = files.iter().map(|file| Ok((name(file), read(file)?))).collect::<Result<_, Failure>>()?;
    check_apart(&texts)?;
    for (file, toml) in texts {
        let request = v1::ApplyServiceRequest { toml, dry_run, skip_provider_check };
        let apply = |channel, request| async { admin(channel).apply_service(request).await };
        let answer = session.call(Kind::Write, request, apply).await.map_err(|mut failure| {
            failure.message = format!("{file}: {}", failure.message);
            failure
        })?;
        let result = match (answer.unchanged, answer.created) {
            (true, _) => "unchanged",
            (false, true) => "created",
            (false, false) => "changed",
        };
        let applied = Applied { file, service: answer.service, result, dry_run, warnings: answer.warnings };
        screen.event(&applied, said)?;
    }
    Ok(Exit::Done)
}

/// That no two of the files switch the same record. What else is wrong with a file is the cluster's to say.
fn check_apart(texts: &[(String, String)]) -> Result<(), Failure> {
    let mut before = vec![];
    for (file, text) in texts {
        let Ok((service, _)) = service_file::parse(text) else { continue };
        apart(text, &service, &before).map_err(|problems| {
            let said: Vec<_> = problems.iter().map(|of| format!("line {}: {}", of.line, of.message)).collect();
            Failure::new(Exit::Invalid, format!("{file}: {}", said.join("; ")))
                .hint("put the records into one service, or take one of them out; nothing was applied")
        })?;
        before.push((file.clone(), service));
    }
    Ok(())
}

/// What of the service one of those before it has, whichever is found first.
fn apart(text: &str, service: &Service, before: &[(String, Service)]) -> Result<(), Problems> {
    before.iter().try_for_each(|(theirs, other)| service_file::check_apart(text, service, other, theirs))
}

fn said(of: &Applied) -> String {
    let dry = if of.dry_run { " (dry run: nothing was changed)" } else { "" };
    let mut text = format!("{}: {}{dry}\n", printable(&of.service), of.result);
    for warning in &of.warnings {
        let _ = writeln!(text, "warning: {}", printable(warning));
    }
    text
}

#[derive(Serialize)]
struct Checked {
    file: String,
    /// `null` when the file is not valid.
    service: Option<String>,
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
}

#[derive(Serialize)]
struct Finding {
    line: usize,
    column: usize,
    field: String,
    message: String,
    hint: Option<String>,
}

impl From<&Diagnostic> for Finding {
    fn from(of: &Diagnostic) -> Self {
        let (field, message) = (of.path.to_string(), of.message.clone());
        Self { line: of.line, column: of.column, field, message, hint: of.hint.clone() }
    }
}

/// Checks every file, also after one that is wrong. Findings for people go to stderr, as a compiler's do.
pub fn check(files: &[PathBuf], screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let mut exit = Exit::Done;
    let mut before = vec![];
    for file in files {
        let (name, text) = (name(file), read(file)?);
        let mut checked = Checked { file: name.clone(), service: None, errors: vec![], warnings: vec![] };
        let parsed = service_file::parse(&text);
        let parsed =
            parsed.and_then(|(service, warnings)| apart(&text, &service, &before).map(|()| (service, warnings)));
        let told = match parsed {
            Ok((service, warnings)) => {
                checked.service = Some(service.name.to_string());
                checked.warnings = warnings.iter().map(Finding::from).collect();
                before.push((name.clone(), service));
                warnings.iter().map(|warning| warning.as_warning(&name).to_string()).collect()
            }
            Err(problems) => {
                exit = Exit::Invalid;
                checked.errors = problems.iter().map(Finding::from).collect();
                format!("{}\n", problems.in_file(name))
            }
        };
        if screen.format == Output::Table {
            screen.err.write_all(told.as_bytes())?;
        }
        screen.event(&checked, |of| match &of.service {
            Some(service) => format!("{}: service `{service}` is valid\n", of.file),
            None => String::new(),
        })?;
    }
    Ok(exit)
}

fn name(file: &Path) -> String {
    if file == Path::new("-") { "stdin".into() } else { file.display().to_string() }
}

fn read(file: &Path) -> Result<String, Failure> {
    let cannot = |error: io::Error| Failure::new(Exit::Usage, format!("cannot read {}: {error}", name(file)));
    let mut text = String::new();
    let mut source: Box<dyn io::Read> =
        if file == Path::new("-") { Box::new(io::stdin()) } else { Box::new(fs::File::open(file).map_err(cannot)?) };
    source.by_ref().take(FILE_LIMIT + 1).read_to_string(&mut text).map_err(cannot)?;
    if text.len() as u64 > FILE_LIMIT {
        let message = format!("{} has more than {FILE_LIMIT} bytes, the most that a service file may have", name(file));
        return Err(Failure::new(Exit::Usage, message));
    }
    Ok(text)
}
