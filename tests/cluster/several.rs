//! One service with records at two providers: when one of them hangs, the other's are switched all the same, and the one that
//! hangs is told of by name.

use quorate::dns::rfc2136::Rfc2136Config;

use crate::{
    cluster::{Cluster, EAST, Place, RECORD, SOON, WEST, ZONE, rfc2136, until},
    dns_server::DnsServer,
    stage::{Health, POLICY, Regions},
};

/// A provider that does not answer is told of by name before whoever applies the service has given up, and nothing is applied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_whose_provider_hangs_is_refused_in_time() {
    // Takes connections and says nothing.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", mute.local_addr().expect("an address"));
    let place = format!("[provider.main]\ntype = 'powerdns'\nbase_url = '{url}'\napi_key_env = 'E2E_AWS'\n");
    let cluster = Cluster::start(vec![Place::local(place)]);
    let regions = Regions::start().await;
    let slow = regions.service(&POLICY.replace("cooldown = '1s'", "cooldown = '2m'"));
    let file = cluster.file("app.toml", &slow);
    let apply = ["service", "apply", file.to_str().expect("a path")];
    let refused = cluster.ctl(&apply).refused(3);
    let problem = refused["violations"][0]["description"].as_str().unwrap_or_default();
    assert!(problem.contains("app.example.test A at main: ") && problem.contains("no answer"), "{refused}");
    assert!(refused["hint"].as_str().is_some_and(|hint| hint.contains("--skip-provider-check")), "{refused}");
    assert_eq!(cluster.ctl(&["service", "list"]).ok()["services"].as_array().map(Vec::len), Some(0));
    // What must hold whether or not the provider is up is not skipped: it cannot refuse a late write (grade C).
    let hasty = cluster.file("hasty.toml", &regions.service(POLICY));
    let skip = |file: &std::path::Path| {
        cluster.ctl(&["service", "apply", "--skip-provider-check", file.to_str().expect("a path")])
    };
    let refused = skip(&hasty).refused(3);
    assert!(refused.to_string().contains("set cooldown to that or more"), "{refused}");
    skip(&file).ok();
}

const SIX: [&str; 2] = ["2001:db8::10", "2001:db8::20"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_hangs_keeps_nobody_waiting_and_is_named() {
    let (Some(first), Some(second)) = (DnsServer::bind(ZONE, &["app"]), DnsServer::knot(ZONE, &["app"])) else {
        return;
    };
    let regions = Regions::start().await;
    let at_second = rfc2136(second.address(), second.address()).replace("[provider.main]", "[provider.elsewhere]");
    let providers = format!("{}{at_second}", rfc2136(first.address(), first.address()));
    let cluster = Cluster::start(vec![Place::local(providers); 3]);

    // A and AAAA at the first, A at the second, whose name comes first: whoever took them one by one would begin with it.
    let record = |provider: &str, rtype: &str| {
        format!("[[record]]\nprovider = '{provider}'\nzone = '{ZONE}'\nname = 'app'\ntype = '{rtype}'\nttl = 30\n")
    };
    let more = format!("{}{}[[region]]", record("main", "AAAA"), record("elsewhere", "A"));
    let mut service = regions.service(POLICY).replacen("[[region]]", &more, 1);
    for (four, six) in [(WEST, SIX[0]), (EAST, SIX[1])] {
        service = service.replace(&format!("A = ['{four}']"), &format!("A = ['{four}'], AAAA = ['{six}']"));
    }
    cluster.apply(&service);
    cluster.serves("west", 1);
    assert_eq!((first.dig(RECORD, "A"), first.dig(RECORD, "AAAA")), (vec![WEST.into()], vec![SIX[0].into()]));
    assert_eq!(second.dig(RECORD, "A"), [WEST]);

    second.stand_still();
    let died = regions.west.set(Health::BlackHole);
    until("the switch is authorised", SOON, || (cluster.app()?["epoch"] == 2).then_some(()));
    let authorised = std::time::Instant::now();
    until("the first provider's records are switched", SOON, || {
        (first.dig(RECORD, "A") == [EAST] && first.dig(RECORD, "AAAA") == [SIX[1]]).then_some(())
    });
    let switched = died.elapsed();
    // Whoever took one after the other would first have waited for the one that hangs, which sorts first.
    let took = authorised.elapsed();
    assert!(took < Rfc2136Config::TIMEOUT * 4 / 5, "the first provider waited for the second: {took:?}");
    let trouble = until("the one that hangs is named", SOON * 2, || {
        cluster.app()?["trouble"].as_str().map(str::to_owned).filter(|text| text.contains("elsewhere"))
    });
    let (hangs, stand) = trouble.split_once("(as wanted: ").unwrap_or_else(|| panic!("{trouble}"));
    assert!(hangs.contains("app.example.test A at elsewhere") && !hangs.contains("at main"), "{trouble}");
    assert!(
        stand.contains("app.example.test A at main") && stand.contains("app.example.test AAAA at main"),
        "{trouble}"
    );

    second.go_on();
    cluster.serves("east", 2);
    assert_eq!(second.dig(RECORD, "A"), [EAST]);
    println!("MEASURED two providers, one hangs: the other's records after {} ms", switched.as_millis());
    cluster.check_switches(&["adopt", "failover"]);
}
