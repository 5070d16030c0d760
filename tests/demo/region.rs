//! The demo's regions against a plain HTTP client.

use std::{net::Ipv4Addr, time::Duration};

use quorate::demo::region::{Health, Region};
use reqwest::Client;

fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().timeout(Duration::from_millis(300)).build().unwrap()
}

#[tokio::test]
async fn a_region_answers_for_itself_and_dies_both_ways() {
    let region = Region::start("eu-west-3", Ipv4Addr::LOCALHOST).await.unwrap();
    let url = format!("http://{}/health", region.address());
    // One client keeps its connection, the other makes a new one.
    let (kept, fresh) = (client(), client());
    let body: serde_json::Value =
        serde_json::from_str(&kept.get(&url).send().await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!((&body["status"], &body["region"]), (&"UP".into(), &"eu-west-3".into()));

    let killed = region.set(Health::BlackHole);
    assert_eq!(region.first_probe(), None);
    for (client, which) in [(&kept, "existing"), (&fresh, "new")] {
        let error = client.get(&url).send().await.unwrap_err();
        assert!(error.is_timeout(), "{which} connection: {error:?}");
    }
    let first = region.first_probe().expect("a probe came");
    assert!(killed <= first && first.elapsed() > Duration::from_millis(300), "the first, not the last");

    region.set(Health::Closed);
    for _ in 0..2 {
        let error = kept.get(&url).send().await.unwrap_err();
        assert!(!error.is_timeout(), "{error:?}");
    }
    assert!(region.first_probe().is_some());

    region.set(Health::Up);
    assert!(kept.get(&url).send().await.unwrap().status().is_success());
}
