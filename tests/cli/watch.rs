//! `verdict watch`, and what becomes of watchers that do not listen.

use std::{process::Stdio, time::Duration};

use futures::StreamExt;
use quorate::{
    grpc::verdict::Verdicts,
    proto::v1::{WatchVerdictsRequest, verdict_service_server::VerdictService},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request};

use crate::{World, fake::Fake, quoratectl};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn the_current_verdicts_then_each_change() {
    let world = World::new().await;
    let file = |name: &str| world.pki.file(name).display().to_string();
    let node = world.server.address.to_string();
    let (ca, cert, key) = (file("ca.crt"), file("viewer-ada.crt"), file("viewer-ada.key"));
    let args = ["--node", &node, "--ca", &ca, "--cert", &cert, "--key", &key, "-o", "json", "verdict", "watch", "app"];
    let mut child = quoratectl(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line = timeout(SOON, lines.next_line()).await.expect("a line in time").unwrap().expect("no end");
        serde_json::from_str::<serde_json::Value>(&line).unwrap()
    };
    assert_eq!(next().await["verdict"]["regions"][0]["verdict"], "up");
    world.fake.report(|_, region| region != "eu-west-3");
    let mut seen = next().await;
    while seen["verdict"]["regions"][0]["sites_down"] != 3 {
        seen = next().await;
    }
    assert_eq!(seen["verdict"]["regions"][0]["verdict"], "down");
    world.fake.apply(quorate::core::state::Action::RemoveService { service: "app".parse().unwrap() });
    assert_eq!(next().await["removed"], true);
    world.server.stop.cancel();
    let ended = timeout(SOON, child.wait_with_output()).await.expect("the stream ends with the node").unwrap();
    assert_eq!(ended.status.code(), Some(5), "{}", String::from_utf8_lossy(&ended.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_does_not_listen_is_cut_off_and_nothing_piles_up() {
    let fake = Fake::new().with_app();
    let server = Verdicts::new(fake.clone(), CancellationToken::new());
    let watch = server.watch_verdicts(Request::new(WatchVerdictsRequest::default())).await.unwrap();
    for round in 0..100 {
        fake.report(|node, region| region != "eu-west-3" || (node + round) % 2 == 0);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Nobody reads for longer than the server's patience.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let messages: Vec<_> = timeout(SOON, watch.into_inner().collect()).await.expect("the stream ends");
    assert!(messages.len() <= 32, "{} messages were kept", messages.len());
    let last = messages.last().unwrap().as_ref().unwrap_err();
    assert_eq!(last.code(), Code::ResourceExhausted, "{last:?}");
}
