//! Credentials: they live on the node alone and come from the environment, a file or a systemd credential.
//!
//! A [`Secret`] is never serialised, compared or shown; whoever needs the text says so with [`Secret::expose`].

use std::{
    fmt,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The longest secret that is read, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// A text that nobody may see.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes a credential over; white space around it is dropped, because files end in a line feed.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The text itself. Never log it, nor put it into an error.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An environment variable.
    Variable(String),
    /// A file that others cannot read.
    File(PathBuf),
    /// A file in `$CREDENTIALS_DIRECTORY` (systemd.exec(5), "Credentials").
    Credential(String),
}

/// Why a secret could not be loaded. No variant carries any of it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// No conventional name of a variable: perhaps the secret itself, hence not shown.
    #[error("this is not the name of an environment variable: use A-Z, 0-9 and '_'")]
    VariableName,
    /// The variable is not set.
    #[error("the environment variable {0} is not set")]
    NotSet(String),
    /// Not started by systemd, or without `LoadCredential=`.
    #[error("$CREDENTIALS_DIRECTORY is not set: credentials come from systemd (LoadCredential=)")]
    NoCredentials,
    /// The name would leave the directory.
    #[error("this is not the name of a credential: use letters, digits, '-', '_' and '.'")]
    CredentialName,
    /// The file could not be read.
    #[error("cannot read {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Others may read the file.
    #[error("{} may be read by everybody (mode {mode:04o}): chmod 600 it, and change the secret", path.display())]
    WorldReadable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Empty, too long, or more than one line.
    #[error("{place} is not one line of text")]
    NotOneLine {
        /// The variable or file.
        place: String,
    },
}

/// The process environment, or a stand-in.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

impl Source {
    /// Loads the secret: one line, without the newline at its end.
    ///
    /// # Errors
    /// It is not there, others can read it, or it is not one line.
    pub fn load(&self, environment: Environment<'_>) -> Result<Secret, SecretError> {
        let (text, place) = match self {
            Self::Variable(name) => {
                let word = |c: u8| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_';
                if name.is_empty() || !name.bytes().all(word) {
                    return Err(SecretError::VariableName);
                }
                let text = environment(name).ok_or_else(|| SecretError::NotSet(name.clone()))?;
                (text, format!("the environment variable {name}"))
            }
            Self::File(path) => (read_private(path)?, path.display().to_string()),
            Self::Credential(name) => {
                let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
                if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
                    return Err(SecretError::CredentialName);
                }
                let directory = environment("CREDENTIALS_DIRECTORY");
                let directory = directory.ok_or(SecretError::NoCredentials)?;
                let path = Path::new(&directory).join(name);
                (read_private(&path)?, path.display().to_string())
            }
        };
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.trim().is_empty() || line.chars().any(char::is_control) {
            return Err(SecretError::NotOneLine { place });
        }
        Ok(Secret(line.to_owned()))
    }
}

/// Reads a file that must not be readable by everybody. The permissions are those of the file that is read, not of
/// another one that took its name in between.
///
/// # Errors
/// It cannot be read, everybody can read it, or it is longer than 64 KiB.
pub fn read_private(path: &Path) -> Result<String, SecretError> {
    let failed = |error| SecretError::File { path: path.to_owned(), error };
    let file = std::fs::File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(io::Error::other("it is not a file")));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o007 != 0 {
        return Err(SecretError::WorldReadable { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(failed(io::Error::other("it is longer than 64 KiB")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(mode: u32, text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    fn load(source: &Source) -> Result<String, String> {
        let environment = |name: &str| (name == "KEY").then(|| "from-env".to_owned());
        source.load(&environment).map(|secret| secret.expose().to_owned()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_secret_never_shows() {
        assert_eq!(format!("{:?}", Some(Secret::from("hunter2".to_owned()))), "Some(Secret(…))");
    }

    #[test]
    fn a_file_is_read_only_if_others_cannot_read_it() {
        let private = file(0o640, "s3cret\n");
        assert_eq!(load(&Source::File(private.path().into())), Ok("s3cret".into()));
        for mode in [0o644, 0o604, 0o602, 0o601] {
            let open = file(mode, "s3cret\n");
            let error = load(&Source::File(open.path().into())).unwrap_err();
            assert!(error.contains("chmod 600") && !error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn what_is_not_one_line_is_refused_without_being_shown() {
        for text in ["", "\n", "  \n", "s3cret\ns3cret\n", "s3cret\0"] {
            let bad = file(0o600, text);
            let error = load(&Source::File(bad.path().into())).unwrap_err();
            assert!(error.contains("not one line"), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
        let long = file(0o600, &"x".repeat(64 * 1024 + 1));
        assert!(load(&Source::File(long.path().into())).unwrap_err().contains("64 KiB"));
        assert!(load(&Source::File("/".into())).unwrap_err().contains("not a file"));
    }

    #[test]
    fn variables_and_credentials_are_named_when_they_are_missing() {
        assert_eq!(load(&Source::Variable("KEY".into())), Ok("from-env".into()));
        assert!(load(&Source::Variable("OTHER".into())).unwrap_err().contains("OTHER"));
        assert!(!load(&Source::Variable("hunter2".into())).unwrap_err().contains("hunter2"));
        assert!(load(&Source::Credential("tsig".into())).unwrap_err().contains("LoadCredential"));
        assert!(load(&Source::Credential("../tsig".into())).unwrap_err().contains("not the name"));
    }

    #[test]
    fn a_credential_comes_from_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tsig");
        std::fs::write(&path, "abc=\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        let environment =
            |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| directory.path().display().to_string());
        assert_eq!(Source::Credential("tsig".into()).load(&environment).unwrap().expose(), "abc=");
    }
}
