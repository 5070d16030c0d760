//! Node configurations.

use std::{os::unix::fs::PermissionsExt, time::Duration};

use quorate::{
    config::{self, Config},
    core::service::Check,
    dns::{Grade, cloudflare::CloudflareConfig, config::Access, tsig::Algorithm},
};

use crate::{assert_golden, read, with};

const EXAMPLE: &str = "deploy/node.toml.example";

/// Credentials as systemd would lay them out.
fn credentials() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("tsig", "aHVudGVyMg==\n"),
        ("ovh-application-key", "key\n"),
        ("ovh-application-secret", "application-hunter2\n"),
        ("ovh-consumer-key", "consumer-hunter2"),
        ("aws-access-key-id", "AKIAEXAMPLE"),
        ("aws-secret-access-key", "aws-hunter2"),
        ("cloudflare-token", "token-hunter2"),
        ("cloudflare-pools-token", "pools-hunter2"),
        ("powerdns-api-key", "key-hunter2"),
        ("ovh-client-id", "EU.0815"),
        ("ovh-client-secret", "client-hunter2"),
        ("webhook-secret", "hunter2-hunter2-hunter2"),
    ] {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
    }
    directory
}

fn parse(text: &str) -> Result<(Config, Vec<String>), Vec<String>> {
    let directory = credentials();
    let environment = |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| directory.path().display().to_string());
    match config::parse(text, &environment) {
        Ok((config, warnings)) => Ok((config, warnings.into_iter().map(|warning| warning.message).collect())),
        Err(problems) => Err(problems.iter().map(|p| format!("{}: {}", p.path, p.message)).collect()),
    }
}

fn problems(text: &str) -> Vec<String> {
    parse(text).err().unwrap_or_default()
}

#[test]
fn the_example_is_a_configuration() {
    let (config, warnings) = parse(&read(EXAMPLE)).unwrap();
    assert_eq!(warnings, [""; 0]);
    assert_eq!((config.node.cluster.as_str(), config.node.id, config.node.site.as_str()), ("prod", 1, "ovh-gra"));
    assert_eq!(config.node.advertise.host, "203.0.113.5");
    assert_eq!(config.timing, config::Timing::default(), "the example shows the defaults");
    assert_eq!(config.controls.len(), 3);
    assert!(matches!(&config.controls[0].check, Check::Tcp(check) if check.target.port == 53));
    assert_eq!(config.controls[2].interval, Duration::from_secs(10));
    let main = &config.providers["main"];
    let Access::Rfc2136(access) = &main.access else { panic!("main is rfc2136: {main:?}") };
    assert_eq!((access.algorithm, access.secret.expose()), (Algorithm::HmacSha256, "aHVudGVyMg=="));
    assert_eq!(main.nameservers.len(), 2);
    let ovh = &config.providers["ovh-main"];
    let Access::Ovh(access) = &ovh.access else { panic!("ovh-main is ovh: {ovh:?}") };
    assert_eq!(access.endpoint.to_string(), "https://eu.api.ovh.com/1.0");
    assert_eq!(access.consumer_key.expose(), "consumer-hunter2");
    let aws = &config.providers["aws"];
    let Access::Route53(access) = &aws.access else { panic!("aws is route53: {aws:?}") };
    assert_eq!(access.aws.keys.as_ref().unwrap().secret.expose(), "aws-hunter2");
    assert_eq!(access.hosted_zones[&"example.com".parse().unwrap()], "Z0123456789ABCDEFGHIJ");
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVyMg"), "{shown}");
}

/// The providers of the example that are comments, taken for what they show.
#[test]
fn the_providers_that_the_example_has_as_comments_are_configurations() {
    let example = read(EXAMPLE);
    let (before, rest) = example.split_once("# Other types;").unwrap();
    let (comments, after) = rest.split_once("\n\n").unwrap();
    let shown: Vec<_> = comments.lines().skip(1).map(|line| line.trim_start_matches('#').trim_start()).collect();
    let text = shown.join("\n").replace("Without these", "# Without these").replace("With both", "# With both");
    let whole = format!("{before}\n{text}\n\n{after}");
    let (config, warnings) = parse(&whole).unwrap();
    assert_eq!(warnings, [""; 0]);
    let Access::Cloudflare(access) = &config.providers["cloudflare-main"].access else { panic!("{config:?}") };
    assert_eq!((access.zone_ids.len(), access.base_url.to_string().as_str()), (1, CloudflareConfig::BASE_URL));
    let Access::CloudflarePools(access) = &config.providers["cloudflare-lb"].access else { panic!("{config:?}") };
    assert_eq!((access.access.zone_ids.len(), access.pool_ids.len()), (1, 2));
    assert_eq!(access.pool_ids[&"us".parse().unwrap()], "9290f38c5d07c2e2f4df57b1f61d4196");
    let Access::PowerDns(access) = &config.providers["powerdns-main"].access else { panic!("{config:?}") };
    assert_eq!((access.server.as_str(), access.base_url.to_string().as_str()), ("localhost", "http://127.0.0.1:8081"));
    let Access::OvhOAuth2(access) = &config.providers["ovh-account"].access else { panic!("{config:?}") };
    assert_eq!((access.client_id.expose(), access.token_url.as_ref()), ("EU.0815", None));
    let Access::Webhook(access) = &config.providers["own-endpoint"].access else { panic!("{config:?}") };
    assert_eq!((access.grade, access.timeout), (Grade::C, Duration::from_secs(10)));
    let Access::Exec(access) = &config.providers["own-program"].access else { panic!("{config:?}") };
    assert_eq!((access.grade, access.arguments.len()), (Grade::C, 3));
    assert!(!format!("{config:?}").contains("hunter2"));
    for (old, new, wanted) in [
        ("17b5962d", "xyz", "provider.cloudflare-lb.pool_ids.eu: a pool's id is 32 digits of 0-9 and a-f"),
        (
            "us = \"9290f38c",
            "\"u s\" = \"9290f38c",
            "provider.cloudflare-lb.pool_ids.\"u s\": `u s` is not a value of an POOL record",
        ),
        (
            "023e105f",
            "xyz",
            "provider.cloudflare-main.zone_ids.\"example.com\": a zone's id is 32 digits of 0-9 and a-f",
        ),
        (
            "token_credential",
            "token",
            "provider.cloudflare-main.token: `token` itself does not belong into a configuration",
        ),
    ] {
        assert!(
            problems(&with(&whole, old, new)).iter().any(|told| told.contains(wanted)),
            "{:?}",
            problems(&with(&whole, old, new))
        );
    }
}

#[test]
fn all_that_is_left_out_has_a_default() {
    let text = "[node]\ncluster = 'c'\nid = 7\nsite = 's'\ndata = '/d'\nlisten = '127.0.0.1:7700'\n\
                [tls]\nca = '/a'\ncertificate = '/b'\nkey = '/c'\n";
    let (config, warnings) = parse(text).unwrap();
    assert_eq!(config.node.advertise.port, 7700);
    assert_eq!(config.node.http, Some("127.0.0.1:7701".parse().unwrap()));
    assert_eq!(config.log, config::LogSection::default());
    assert_eq!(warnings.len(), 1, "no controls: {warnings:?}");
    let (config, _) = parse(&with(text, "id = 7", "id = 7\nhttp = 'off'")).unwrap();
    assert_eq!(config.node.http, None);
}

#[test]
fn every_error_is_told_at_once_and_no_secret_with_it() {
    let text = read("tests/fixtures/nodes/many-errors.toml");
    let problems = config::parse(&text, &|_| None).unwrap_err().in_file("node.toml");
    let told = format!("{problems}\n");
    assert_golden("tests/fixtures/nodes/many-errors.txt", &told);
    for secret in ["aHVudGVyMg", "EXEgWIz07P0"] {
        assert!(text.contains(secret) && !told.contains(secret), "{told}");
    }
}

#[test]
fn a_file_that_is_no_toml_shows_no_line_of_itself() {
    let told = config::parse("[provider.a]\nsecret = \"hunter2\n", &|_| None).unwrap_err().to_string();
    assert!(told.contains("input:2:") && !told.contains("hunter2"), "{told}");
}

#[test]
fn each_mistake_is_one_error() {
    let good = read(EXAMPLE);
    let table: &[(&str, &str, &[&str])] = &[
        ("advertise =", "advertize =", &["node.advertize: unknown key `advertize`"]),
        (
            "advertise = \"203.0.113.5:7700\"",
            "",
            &["node.advertise: `advertise` is missing: nobody can connect to 0.0.0.0"],
        ),
        ("id = 1", "", &["node.id: `id` is missing"]),
        ("[tls]", "[tsl]", &["tsl: unknown key `tsl`"]),
        (
            "127.0.0.1:7701",
            "127.0.0.1:7700",
            &["node: listen (0.0.0.0:7700) and http (127.0.0.1:7700) cannot share a port"],
        ),
        (
            "[\"1s\", \"2s\"]",
            "[\"2s\", \"1s\"]",
            &["timing.election: the first is not less than the second: nodes would stand for election together"],
        ),
        ("[\"1s\", \"2s\"]", "\"1s\"", &["timing.election: a text is not a list of two durations"]),
        ("[\"1s\", \"2s\"]", "[\"700ms\", \"2s\"]", &["timing.election[0]: less than three heartbeats of 250ms"]),
        ("tcp = \"1.1.1.1:53\"", "tpc = \"1.1.1.1:53\"", &["control[0].tpc: unknown key `tpc`"]),
        ("tcp = \"1.1.1.1:53\"", "", &["control[0]: the probe does not say what to ask"]),
        (
            "secret_credential = \"tsig\"",
            "secret_credential = \"ovh-application-key\"",
            &["provider.main.key: the secret of this key is not base64"],
        ),
        ("secret_credential = \"tsig\"", "", &["provider.main.key.secret: `secret` is missing"]),
        (
            "secret_credential = \"tsig\"",
            "secret_credental = \"tsig\"",
            &["provider.main.key.secret_credental: unknown key `secret_credental`"],
        ),
        (
            "secret_credential = \"tsig\"",
            "secret_credential = \"tsig\", secret_env = \"TSIG\"",
            &[
                "provider.main.key: `secret` has more than one place: give one of secret_file, secret_env and secret_credential",
            ],
        ),
        ("endpoint = \"ovh-eu\"", "", &["provider.ovh-main.endpoint: `endpoint` is missing"]),
        (
            "endpoint = \"ovh-eu\"",
            "base_url = \"https://user:hunter2@a/1.0\"",
            &[
                "provider.ovh-main.base_url: a URL here carries no user or password: it would be in the log for all to read",
            ],
        ),
        ("type = \"ovh\"", "type = \"gandi\"", &["provider.ovh-main.type: there is no provider of this type"]),
        ("level = \"info\"", "level = 3", &["log.level: a whole number is not a text"]),
    ];
    for (old, new, wanted) in table {
        assert_eq!(problems(&with(&good, old, new)), *wanted, "`{old}` -> `{new}`");
    }
}

#[test]
fn a_secret_file_that_others_can_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tsig");
    std::fs::write(&path, "aHVudGVyMg==").unwrap();
    let text = with(&read(EXAMPLE), "secret_credential = \"tsig\"", &format!("secret_file = \"{}\"", path.display()));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let told = problems(&text);
    assert!(told.len() == 1 && told[0].contains("may be read by everybody (mode 0644)"), "{told:?}");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(problems(&text), [""; 0]);
}

#[test]
fn a_file_is_loaded_by_its_name() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[node]\n").unwrap();
    let told = config::load(file.path()).unwrap_err().to_string();
    assert!(told.starts_with(&format!("{}:1:1: error: ", file.path().display())), "{told}");
    let told = config::load("/nonexistent/node.toml".as_ref()).unwrap_err().to_string();
    assert!(told.starts_with("cannot read /nonexistent/node.toml: "), "{told}");
}

/// Every credential that the example names is loaded by the unit, or the example would not start as it stands.
#[test]
fn the_unit_loads_the_credentials_of_the_example() {
    let unit = read("deploy/quorated.service");
    let example: String = read(EXAMPLE).lines().filter(|line| !line.starts_with('#')).collect();
    let named: Vec<_> = example.split("_credential = \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(named.len(), 6);
    for name in named {
        assert!(unit.contains(&format!("LoadCredential={name}:")), "{name}");
    }
}
