//! Service files.

use quorate::service_file;

use crate::{assert_golden, read, with};

const GOOD: &[&str] =
    &["tests/fixtures/services/design.toml", "tests/fixtures/services/every-key.toml", "deploy/service.toml.example"];

/// `path: message` of each problem, for tables.
fn problems(text: &str) -> Vec<String> {
    let Err(problems) = service_file::parse(text) else { return Vec::new() };
    problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect()
}

fn warnings(text: &str) -> Vec<String> {
    let (_, warnings) = service_file::parse(text).unwrap_or_else(|problems| panic!("{problems}"));
    warnings.iter().map(|warning| format!("{}: {}", warning.path, warning.message)).collect()
}

#[test]
fn good_files_are_accepted_and_read_back_the_same() {
    for name in GOOD {
        let (service, _) = service_file::parse(&read(name)).unwrap_or_else(|problems| panic!("{problems}"));
        let written = service_file::write(&service);
        match service_file::parse(&written) {
            Ok((again, _)) => assert_eq!(again, service, "{written}"),
            Err(problems) => panic!("{problems}\n{written}"),
        }
    }
}

#[test]
fn the_example_shows_the_defaults() {
    let text = read("deploy/service.toml.example");
    let (without_policy, _) = text.split_once("[policy]").unwrap();
    assert_eq!(service_file::parse(&text), service_file::parse(without_policy));
}

#[test]
fn every_key_of_the_file_is_in_the_example_with_every_key() {
    let text = read("tests/fixtures/services/every-key.toml");
    let all = "provider zone name type ttl values probe dynamodb table region http tcp dns grpc interval timeout host sni key \
               insecure min_cert_validity method status json headers body redirects send expect query service fall rise \
               quorum cooldown budget budget_window failback dwell opinion_ttl max_replication_lag gate_unknown drift \
               reconcile windows";
    for key in all.split_whitespace() {
        assert!(text.contains(key), "{key}");
    }
}

#[test]
fn ten_mistakes_give_ten_errors_with_lines() {
    let text = read("tests/fixtures/services/ten-errors.toml");
    let problems = service_file::parse(&text).unwrap_err().in_file("ten-errors.toml");
    assert_eq!(problems.count(), 10);
    assert_golden("tests/fixtures/services/ten-errors.txt", &format!("{problems}\n"));
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    let problems = service_file::parse("name = \"app\"\n[[record]\nttl = = 3\nname = 'a'\nname = 'b'\n").unwrap_err();
    assert_golden("tests/fixtures/services/no-toml.txt", &format!("{}\n", problems.in_file("no.toml")));
}

#[test]
fn the_defaults_are_those_of_the_design() {
    let text = read("tests/fixtures/services/design.toml");
    let (without_policy, _) = text.split_once("[policy]").unwrap();
    let (written, _) = service_file::parse(&text).unwrap();
    let (mut defaults, _) = service_file::parse(without_policy).unwrap();
    assert_eq!(defaults.policy.max_replication_lag, None);
    defaults.policy.max_replication_lag = written.policy.max_replication_lag;
    assert_eq!(defaults, written);
}

/// Each row: what is changed in the example of the design, and the problems that this gives.
#[test]
fn each_mistake_is_one_error() {
    let good = read("tests/fixtures/services/design.toml");
    let table: &[(&str, &str, &[&str])] = &[
        ("name = \"app\"\n[[record]]", "[[record]]", &["name: `name` is missing"]),
        ("name = \"app\"\n[[record]]", "nam = \"app\"\n[[record]]", &["nam: unknown key `nam`"]),
        ("ttl = 60", "ttl = \"60\"", &["record[0].ttl: a text is not a whole number"]),
        ("ttl = 60", "", &["record[0].ttl: `ttl` is missing"]),
        ("ttl = 60", "ttl = 86401", &["record[0].ttl: a TTL of 86401 s is not between 1 and 86400"]),
        (
            "type = \"A\"",
            "type = \"TXT\"",
            &[
                "record[0].type: `TXT` is not a record type that can fail over: use A, AAAA or CNAME, or POOL for a switch that is no DNS record",
            ],
        ),
        (
            "name = \"app\"\ntype",
            "name = \"app.example.net.\"\ntype",
            &["record[0].name: `app.example.net` lies outside of the zone `example.com`"],
        ),
        (
            "name = \"app\"\ntype",
            "name = \"app.example.com\"\ntype",
            &[
                "record[0].name: `app.example.com` already ends with the zone: this would be `app.example.com.example.com`",
            ],
        ),
        (
            "name = \"app\"\ntype",
            "name = \"*\"\ntype",
            &[
                "record[0].name: a wildcard cannot fail over: its fence `_quorate.*.example.com` would be none of its names",
            ],
        ),
        (
            "name = \"app\"\ntype",
            "name = \"_quorate.app\"\ntype",
            &["record[0].name: names with the label `_quorate` belong to the fences"],
        ),
        ("name = \"us-east-1\"", "name = \"eu-west-3\"", &["region[1].name: there is a region `eu-west-3` already"]),
        (
            "values = { A = [\"198.51.100.20\"] }",
            "values = { }",
            &["region[1].values.A: the region has no value for A: the record would be left empty"],
        ),
        (
            "values = { A = [\"198.51.100.20\"] }",
            "values = { A = [] }",
            &["region[1].values.A: the region has no value for A: the record would be left empty"],
        ),
        (
            "values = { A = [\"198.51.100.20\"] }",
            "",
            &["region[1].values.A: the region has no value for A: the record would be left empty"],
        ),
        (
            "values = { A = [\"198.51.100.20\"] }",
            "values = { A = \"198.51.100.20\" }",
            &["region[1].values.A: a text is not a list of texts"],
        ),
        (
            "values = { A = [\"198.51.100.20\"] }",
            "values = { A = [\"198.51.100.20\", 5, \"198.51.100.20\"] }",
            &[
                "region[1].values.A[1]: a whole number is not a text",
                "region[1].values.A[2]: 198.51.100.20 is there already",
            ],
        ),
        (
            "values = { A = [\"198.51.100.20\"] }",
            "values = { A = [\"198.51.100.20\"], AAAA = [\"::1\"] }",
            &["region[1].values.AAAA: no record of this service has the type AAAA"],
        ),
        (
            "values = { A = [\"198.51.100.20\"] }",
            "values = { A = [\"203.0.113.10\"] }",
            &["region[1].values: the same values as region `eu-west-3`: a switch would change nothing"],
        ),
        (
            "https://198.51.100.20/",
            "https://203.0.113.10/",
            &["region[1].probe[0]: region `us-east-1` is probed at 203.0.113.10, an address of region `eu-west-3`"],
        ),
        (
            "https://198.51.100.20/",
            "https://APP.example.com/",
            &[
                "region[1].probe[0].http: `app.example.com` is the name that fails over: the probe would ask whichever region \
               is active",
            ],
        ),
        (
            "timeout = \"1s\"",
            "timeout = \"2s\"",
            &[
                "region[0].probe[0].timeout: the timeout of 2s is not less than the interval of 2s: probes would pile up",
            ],
        ),
        ("interval = \"2s\"", "interval = 2", &["region[0].probe[0].interval: a whole number is not a duration"]),
        ("interval = \"2s\"", "interval = \"6m\"", &["region[0].probe[0].interval: 6m is not between 500ms and 5m"]),
        ("host =", "hots =", &["region[0].probe[0].hots: unknown key `hots`"]),
        ("host =", "send =", &["region[0].probe[0].send: `send` means nothing to a http probe"]),
        ("http =", "htttp =", &["region[0].probe[0].htttp: unknown key `htttp`"]),
        (
            "https:",
            "ftp:",
            &["region[0].probe[0].http: `ftp://203.0.113.10/health` does not begin with http:// or https://"],
        ),
        ("\"/status\"", "\"status\"", &["region[0].probe[0].json.status: `status` is not a JSON pointer (RFC 6901)"]),
        ("\"/status\"", "\"/a~2\"", &["region[0].probe[0].json.\"/a~2\": `/a~2` is not a JSON pointer (RFC 6901)"]),
        (
            "region = \"us-east-1\"",
            "region = \"US\"",
            &["region[1].dynamodb.region: this is not the name of an AWS region such as eu-west-3"],
        ),
        (
            "fall = 3",
            "windows = [\"Sat 02:00-04:00\", \"Sat 2-4\"]",
            &["policy.windows[1]: `Sat 2-4` is no maintenance window: the times are HH:MM from 00:00 to 24:00"],
        ),
        (
            "fall = 3",
            "windows = [\"Mon-Sat 00:00-24:00\", \"Sun 00:00-00:00\", \"Sun 00:00-24:00\"]",
            &[
                "policy.windows: these maintenance windows leave no time in which anything could fail over",
                "policy.windows[1]: `Sun 00:00-00:00` is no maintenance window: it would last no time; a whole day is 00:00-24:00",
            ],
        ),
        ("fall = 3", "windows = \"Sat 02:00-04:00\"", &["policy.windows: a text is not a list of texts"]),
        ("fall = 3", "fall = 0", &["policy.fall: 0 is not between 1 and 100"]),
        ("fall = 3", "budget = 0", &["policy.budget: with a budget of 0 nothing ever fails over"]),
        ("quorum = \"majority\"", "quorum = 0", &["policy.quorum: `0` is not a quorum"]),
        ("\"manual\"", "\"auto\"", &["policy.failback: `auto` is neither \"manual\" nor \"automatic\""]),
        (
            "fall = 3",
            "opinion_ttl = \"2s\"",
            &[
                "policy.opinion_ttl: 2s is less than interval and timeout of a probe (3s): its opinions would expire between \
               two observations",
            ],
        ),
        ("[policy]", "policy = 5\n[polcy]", &["policy: a whole number is not a table", "polcy: unknown key `polcy`"]),
        ("[policy]", "[polcy]", &["polcy: unknown key `polcy`"]),
        (
            "[[region]]\nname = \"us",
            "[[regoin]]\nname = \"us",
            &[
                "region: a service needs at least two regions to fail over between, not 1",
                "regoin: unknown key `regoin`",
            ],
        ),
    ];
    for (old, new, wanted) in table {
        // `policy = 5` cannot follow a table: such rows are put in front.
        let text = match new.split_once('\n') {
            Some((first, rest)) if first.starts_with("policy =") => format!("{first}\n{}", with(&good, old, rest)),
            _ => with(&good, old, new),
        };
        assert_eq!(problems(&text), *wanted, "`{old}` -> `{new}`");
    }
}

#[test]
fn records_that_cannot_stand_together_are_refused() {
    let good = read("tests/fixtures/services/design.toml");
    let record = |name: &str, rtype: &str| {
        format!(
            "[[record]]\nprovider = \"ovh-main\"\nzone = \"example.com\"\nname = \"{name}\"\ntype = \"{rtype}\"\nttl = 60\n"
        )
    };
    let beside = |name: &str, rtype: &str, values: [&str; 2]| {
        let text = format!("{}\n{}", good, record(name, rtype));
        let text = with(&text, "{ A = [\"203.0.113.10\"]", &format!("{{ {} A = [\"203.0.113.10\"]", values[0]));
        with(&text, "{ A = [\"198.51.100.20\"]", &format!("{{ {} A = [\"198.51.100.20\"]", values[1]))
    };
    let cname = ["CNAME = [\"a.example.net\"],", "CNAME = [\"b.example.net\"],"];
    assert_eq!(problems(&beside("www", "CNAME", cname)), [""; 0]);
    assert_eq!(problems(&beside("APP", "A", ["", ""])), ["record[1]: app.example.com A is there already"]);
    assert_eq!(
        problems(&beside("app", "CNAME", cname)),
        ["record[1]: a CNAME cannot stand beside another record of the same name, app.example.com"]
    );
    assert_eq!(
        problems(&beside("@", "CNAME", cname)),
        ["record[1].type: a CNAME cannot stand at the apex of a zone (example.com), beside its SOA and NS records"]
    );
    assert_eq!(
        problems(&beside("www", "CNAME", ["CNAME = [\"a.example.net\", \"c.example.net\"],", cname[1]])),
        ["region[0].values.CNAME: a CNAME has exactly one value, not 2 (RFC 2181 §10.1)"]
    );
    let long = [("a", 63), ("b", 63), ("c", 63), ("d", 42)].map(|(letter, length)| letter.repeat(length)).join(".");
    let told = problems(&beside(&long, "A", ["", ""]));
    assert!(told[0].contains("longer than the 253 characters"), "{told:?}");
}

#[test]
fn what_is_allowed_but_risky_is_a_warning() {
    let good = read("tests/fixtures/services/design.toml");
    let table = [
        (
            "ttl = 60",
            "ttl = 301",
            "record[0].ttl: resolvers may answer the old region for 301 s after a switch: use 60 or less",
        ),
        (
            "ttl = 60",
            "ttl = 29",
            "record[0].ttl: a TTL of 29 s is often raised by providers and resolvers, and costs queries",
        ),
        ("fall = 3", "fall = 1", "policy.fall: one lost probe makes a site's opinion down"),
        ("\"10m\"", "\"0s\"", "policy.cooldown: a cooldown of 0s lets the record follow every flap"),
        ("fall = 3", "dwell = \"1m\"", "policy.dwell: without effect while failback is manual"),
        (
            "\"majority\"",
            "\"all\"",
            "policy.quorum: while one site is blind or silent, no region is down and nothing fails over",
        ),
        (
            "https://198.51.100.20/health\", host = \"app.example.com\"",
            "https://198.51.100.20/health\"",
            "region[1].probe[0].http: the certificate must be valid for the address 198.51.100.20: set `host` or `sni`",
        ),
    ];
    assert_eq!(warnings(&good), [""; 0]);
    for (old, new, wanted) in table {
        assert_eq!(warnings(&with(&good, old, new)), [wanted]);
    }
}

#[test]
fn a_flood_of_mistakes_is_counted_and_cut() {
    let flood: Vec<_> = (0..20_000).map(|i| format!("x{i} = 1")).collect();
    let text = format!("{}\n{}", flood.join("\n"), read("tests/fixtures/services/design.toml"));
    let problems = service_file::parse(&text).unwrap_err();
    assert_eq!((problems.count(), problems.iter().count()), (20_000, 100));
    assert!(problems.to_string().ends_with("20000 errors, the first 100 shown"));
    let long = service_file::parse(&"#".repeat(256 * 1024 + 1)).unwrap_err();
    assert!(long.to_string().contains("longer than 262144 bytes"));
}
