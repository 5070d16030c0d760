//! What an HTTP body says: JSON expectations, the region that answers, and its failing dependencies.

use serde_json::Value;

use super::check::Failure;
use crate::core::{
    names::RegionName,
    service::{HttpCheck, Scalar},
};

/// What dependencies call themselves when they are well, in lower case.
const WELL: [&str; 9] = ["up", "ok", "healthy", "pass", "passing", "active", "available", "connected", "true"];

/// The first thing in the JSON that is not as it should be: a pointer's value, or the region's name when the body carries
/// another one than that probed.
pub(super) fn judge(json: &Value, check: &HttpCheck, region: Option<&RegionName>) -> Option<Failure> {
    wrong_region(json, region)
        .or_else(|| check.json.iter().find_map(|(pointer, wanted)| mismatch(json, pointer, wanted)))
}

fn mismatch(json: &Value, pointer: &str, wanted: &Scalar) -> Option<Failure> {
    let Some(found) = json.pointer(pointer) else { return Some(Failure::JsonMissing(pointer.to_owned())) };
    let (equal, wanted) = match wanted {
        Scalar::Bool(wanted) => (found.as_bool() == Some(*wanted), wanted.to_string()),
        Scalar::Integer(wanted) => (found.as_i64() == Some(*wanted), wanted.to_string()),
        Scalar::Text(wanted) => (found.as_str() == Some(wanted), format!("{wanted:?}")),
    };
    (!equal).then(|| Failure::Json { pointer: pointer.to_owned(), wanted })
}

fn wrong_region(json: &Value, region: Option<&RegionName>) -> Option<Failure> {
    let (region, named) = (region?, json.get("region")?.as_str()?);
    let wrong = !named.is_empty() && !named.eq_ignore_ascii_case(region.as_str());
    // Only what can be a region's name is repeated: a reason carries nothing else of a body.
    wrong.then(|| Failure::WrongRegion(named.parse::<RegionName>().map_or("of another name".to_owned(), String::from)))
}

/// The dependencies that the body calls failing.
///
/// `dependencies` is an object from names, or a list of objects with a `name`; what stands for a dependency is a text, a
/// bool, or an object with a `status` (or `healthy`, or `ok`). What says nothing, such as null or a number, is not failing.
pub(super) fn failing_dependencies(json: &Value) -> Vec<String> {
    let failing = |state: &Value| is_well(state) == Some(false);
    match json.get("dependencies") {
        Some(Value::Object(by_name)) => {
            by_name.iter().filter(|(_, state)| failing(state)).map(|(name, _)| name.clone()).collect()
        }
        Some(Value::Array(list)) => {
            let names = list.iter().filter(|state| failing(state)).filter_map(|state| state.get("name")?.as_str());
            names.map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

/// `None`: it does not say.
fn is_well(state: &Value) -> Option<bool> {
    match state {
        Value::Bool(well) => Some(*well),
        Value::String(word) => Some(WELL.contains(&word.to_ascii_lowercase().as_str())),
        Value::Object(fields) => {
            ["status", "healthy", "ok"].iter().find_map(|key| fields.get(*key)).and_then(|state| match state {
                Value::Bool(_) | Value::String(_) => is_well(state),
                _ => None,
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failing_dependencies_in_every_shape() {
        let cases = [
            ("{}", vec![]),
            (r#"{"dependencies": null}"#, vec![]),
            (r#"{"dependencies": "DOWN"}"#, vec![]),
            (r#"{"dependencies": {"db": "UP", "cache": "ok", "queue": true}}"#, vec![]),
            (r#"{"dependencies": {"db": "DOWN", "cache": false, "queue": null, "disk": 3}}"#, vec!["cache", "db"]),
            (
                r#"{"dependencies": {"db": {"status": "DOWN"}, "cache": {"status": "Up"}, "x": {"latency": 3}}}"#,
                vec!["db"],
            ),
            (r#"{"dependencies": {"db": {"healthy": false}, "cache": {"ok": true}}}"#, vec!["db"]),
            (r#"{"dependencies": [{"name": "db", "status": "ERROR"}, {"name": "s3", "status": "UP"}]}"#, vec!["db"]),
            (r#"{"dependencies": ["db", 1, {"status": "DOWN"}, null]}"#, vec![]),
        ];
        for (body, expected) in cases {
            assert_eq!(failing_dependencies(&serde_json::from_str(body).unwrap()), expected, "{body}");
        }
    }

    #[test]
    fn a_body_names_its_region_or_says_nothing() {
        let region: RegionName = "eu-west-3".parse().unwrap();
        let wrong = |body: &str| {
            wrong_region(&serde_json::from_str(body).unwrap(), Some(&region)).map(|failure| failure.to_string())
        };
        for right in ["{}", r#"{"region": "eu-west-3"}"#, r#"{"region": "EU-WEST-3"}"#, r#"{"region": ""}"#, "[]"] {
            assert_eq!(wrong(right), None, "{right}");
        }
        assert_eq!(wrong(r#"{"region": 3}"#), None);
        assert_eq!(
            wrong(r#"{"region": "us-east-1"}"#).as_deref(),
            Some("answers for region us-east-1 (wrong backend)")
        );
        assert_eq!(
            wrong(r#"{"region": "<script>"}"#).as_deref(),
            Some("answers for region of another name (wrong backend)")
        );
    }
}
