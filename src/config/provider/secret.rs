//! The place of one secret, as it is written: a file, an environment variable or a systemd credential.

use crate::{
    config::absolute,
    reader::Table,
    secret::{Environment, Secret, Source},
};

/// The keys under which the place of one secret is written.
pub(in crate::config) struct SecretKeys {
    pub(in crate::config) inline: &'static str,
    pub(in crate::config) variable: &'static str,
    pub(in crate::config) file: &'static str,
    pub(in crate::config) credential: &'static str,
}

macro_rules! secret_keys {
    ($name:literal) => {
        $crate::config::provider::secret::SecretKeys {
            inline: $name,
            variable: concat!($name, "_env"),
            file: concat!($name, "_file"),
            credential: concat!($name, "_credential"),
        }
    };
}
pub(in crate::config) use secret_keys;

/// Loads a secret from the one place that is written.
pub(in crate::config) fn secret(
    table: &Table<'_, '_>,
    keys: &SecretKeys,
    environment: Environment<'_>,
) -> Option<Secret> {
    let SecretKeys { inline, variable, file, credential } = keys;
    let hint = format!("write {file} = \"/path\" of a file that others cannot read, or {variable} or {credential}");
    if let Some(value) = table.get(inline) {
        value.refuse(format!("`{inline}` itself does not belong into a configuration"), Some(&hint));
        return None;
    }
    let places = [
        table.get(file).map(|value| (absolute(&value).map(Source::File), value)),
        table.get(variable).map(|value| (value.text().map(Source::Variable), value)),
        table.get(credential).map(|value| (value.text().map(Source::Credential), value)),
    ];
    let mut written: Vec<_> = places.into_iter().flatten().collect();
    if written.len() > 1 {
        table.refuse(
            format!("`{inline}` has more than one place: give one of {file}, {variable} and {credential}"),
            None,
        );
        return None;
    }
    let Some((source, value)) = written.pop() else {
        table.need_one_of(&[inline, file, variable, credential], format!("`{inline}` is missing"), Some(&hint));
        return None;
    };
    source?.load(environment).map_err(|error| value.refuse(error.to_string(), None)).ok()
}
