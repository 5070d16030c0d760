//! A fake of OVH's API for DNS zones and load balancers ([`balancer`]), and of the nameservers behind it, in the process of
//! the test.
//!
//! It keeps what makes OVH hard: edits are staged until `refresh` publishes everyone's, a TTL below 60 becomes 60 in silence, the
//! filters of `GET record` are patterns, and nothing is conditional. Faults are injected per call. Its DNS side answers
//! from what is published, so that `dig @fake.dns` shows what the world would see.
//!
//! It shares no code with the client under test; python-ovh, OVH's own client, passes against it (`ovh_client_check.py`).
#![allow(dead_code)]

mod api;
pub mod balancer;
mod nameserver;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

use tokio::{net::TcpListener, task::JoinHandle};

use balancer::{Balancer, FakeFarm, FakeServer, Farms};

pub const APPLICATION_KEY: &str = "fake-application-key";
pub const APPLICATION_SECRET: &str = "fake-application-secret";
pub const CONSUMER_KEY: &str = "fake-consumer-key";
pub const CLIENT_ID: &str = "fake-client";
pub const CLIENT_SECRET: &str = "fake-client-secret";

/// What goes wrong with a call.
#[derive(Debug, Clone)]
pub enum Fault {
    /// An error as OVH words it; nothing is done.
    Error { status: u16, code: &'static str, retry_after: Option<u32> },
    /// A gateway's timeout: 408 with HTML, after the call was carried out or not.
    Html408 { applied: bool },
    /// 502 with HTML, after the call was carried out or not.
    Html502 { applied: bool },
    /// The connection closes without an answer, after the call was carried out or not.
    Drop { applied: bool },
    /// No answer, ever; nothing is done.
    Hang,
    /// 200 and bytes that are no JSON; the call is carried out.
    Garbage,
    /// 200 and a megabyte of JSON; the call is carried out.
    Flood,
    /// Somebody else changes a staged record just before the call, which goes well.
    Meddle { id: u64, target: &'static str },
    /// The call goes well: to count those before the one that does not.
    Pass,
    /// Somebody else switches a staged server of a farm just before the call, which goes well.
    Switch { server: u64, active: bool },
}

/// A record: staged or published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeRecord {
    pub id: u64,
    pub field_type: String,
    pub sub_domain: String,
    pub target: String,
    pub ttl: u32,
}

#[derive(Debug, Default)]
struct Zone {
    staged: BTreeMap<u64, FakeRecord>,
    published: Vec<FakeRecord>,
    serial: u64,
    /// What `status` complains of; while there is something, `refresh` succeeds and publishes nothing.
    errors: Vec<String>,
}

struct State {
    zones: BTreeMap<String, Zone>,
    balancers: BTreeMap<String, Balancer>,
    /// What our clock is ahead of the machine's, in seconds.
    skew: i64,
    /// The one token that is good.
    token: Option<String>,
    grants: Vec<(String, String)>,
    /// Which calls go wrong, the first match first; each once.
    faults: Vec<(String, String, Fault)>,
    log: Vec<String>,
    published_sets: Vec<Vec<FakeRecord>>,
    /// When each set was published, and who asked for it.
    published_at: Vec<(Instant, IpAddr)>,
    /// Who makes the call that is being answered.
    caller: IpAddr,
    next_id: u64,
    /// Somebody publishes the zone after every single edit.
    impatient: bool,
    /// The consumer key may read its own rules.
    reads_itself: bool,
    /// `validated`, `pendingValidation`, `refused` or `expired`.
    credential_status: &'static str,
}

type Shared = Arc<Mutex<State>>;

/// The running fake; it stops when dropped.
pub struct FakeOvh {
    pub http: SocketAddr,
    pub dns: SocketAddr,
    state: Shared,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for FakeOvh {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl FakeOvh {
    /// Starts with one zone, all rights, and no records.
    pub async fn start(zone: &str) -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST, zone).await
    }

    /// The same on an address that clients in other namespaces reach.
    pub async fn start_on(ip: Ipv4Addr, zone: &str) -> Self {
        let grants = ["GET", "PUT", "POST", "DELETE"].map(|method| (method.to_owned(), "/*".to_owned())).into();
        let zones = BTreeMap::from([(zone.to_owned(), Zone { serial: 2_026_010_101, ..Zone::default() })]);
        let state: Shared = Arc::new(Mutex::new(State {
            zones,
            balancers: BTreeMap::new(),
            skew: 0,
            token: None,
            grants,
            faults: Vec::new(),
            log: Vec::new(),
            published_sets: Vec::new(),
            published_at: Vec::new(),
            caller: ip.into(),
            next_id: 5_386_578_361,
            impatient: false,
            reads_itself: true,
            credential_status: "validated",
        }));
        let listener = TcpListener::bind((ip, 0)).await.expect("a port");
        let http = listener.local_addr().expect("its address");
        let (udp, tcp) = nameserver::bind(ip).await;
        let dns = udp.local_addr().expect("its address");
        let tasks = vec![
            tokio::spawn(api::serve(listener, Arc::clone(&state))),
            tokio::spawn(nameserver::serve_udp(udp, Arc::clone(&state))),
            tokio::spawn(nameserver::serve_tcp(tcp, Arc::clone(&state))),
        ];
        Self { http, dns, state, tasks }
    }

    /// The API's base URL.
    pub fn url(&self) -> String {
        format!("http://{}/1.0", self.http)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under the lock")
    }

    /// Stages and publishes a record, as if it had always been there.
    pub fn seed(&self, zone: &str, sub_domain: &str, field_type: &str, target: &str, ttl: u32) -> u64 {
        let id = self.stage(zone, sub_domain, field_type, target, ttl);
        self.publish(zone);
        id
    }

    /// Stages a record without publishing it: another person's half-done work.
    pub fn stage(&self, zone: &str, sub_domain: &str, field_type: &str, target: &str, ttl: u32) -> u64 {
        let mut state = self.state();
        state.next_id += 1;
        let id = state.next_id;
        let (sub_domain, field_type, target) = (sub_domain.to_owned(), field_type.to_owned(), target.to_owned());
        let record = FakeRecord { id, field_type, sub_domain, target, ttl };
        state.zones.get_mut(zone).expect("the zone").staged.insert(id, record);
        id
    }

    /// Changes a staged record behind everybody's back.
    pub fn restage(&self, zone: &str, id: u64, target: &str) {
        let mut state = self.state();
        let record = state.zones.get_mut(zone).and_then(|zone| zone.staged.get_mut(&id)).expect("the record");
        target.clone_into(&mut record.target);
    }

    /// A handle that shows values of somebody else's.
    pub fn mirror(&self) -> Mirror {
        Mirror(Arc::clone(&self.state))
    }

    /// Publishes what is staged, as `refresh` does.
    pub fn publish(&self, zone: &str) {
        publish(&mut self.state(), zone);
    }

    /// What is staged, by id.
    pub fn staged(&self, zone: &str) -> Vec<FakeRecord> {
        self.state().zones[zone].staged.values().cloned().collect()
    }

    /// What is published.
    pub fn published(&self, zone: &str) -> Vec<FakeRecord> {
        self.state().zones[zone].published.clone()
    }

    /// The zone as it was after each publication so far.
    pub fn publications(&self) -> Vec<Vec<FakeRecord>> {
        self.state().published_sets.clone()
    }

    /// When each of those publications was made, and who asked for it.
    pub fn publishers(&self) -> Vec<(Instant, IpAddr)> {
        self.state().published_at.clone()
    }

    /// A farm of a load balancer as it always was: name, and the servers' numbers, names and whether they are active.
    pub fn seed_farm(&self, balancer: &str, farm: (&str, u64), name: &str, servers: &[(u64, &str, bool)]) {
        let mut state = self.state();
        let balancer = state.balancers.entry(balancer.to_owned()).or_default();
        let server = |(id, name, active): &(u64, &str, bool)| {
            let weight = (farm.0 != "udp").then_some(1);
            let address = format!("192.0.2.{}", id % 250);
            (*id, FakeServer { display_name: Some((*name).to_owned()), address, active: *active, weight })
        };
        let servers = servers.iter().map(server).collect();
        let made = FakeFarm { display_name: Some(name.to_owned()), zone: "gra".to_owned(), servers };
        balancer.staged.insert((farm.0.to_owned(), farm.1), made);
        balancer.settle();
    }

    /// Looks at a load balancer, or changes it behind everybody's back.
    pub fn balancer<T>(&self, name: &str, act: impl FnOnce(&mut Balancer) -> T) -> T {
        let mut state = self.state();
        let balancer = state.balancers.get_mut(name).expect("the load balancer");
        balancer.advance();
        act(balancer)
    }

    /// What is deployed at a load balancer.
    pub fn deployed(&self, name: &str) -> Farms {
        self.balancer(name, |balancer| balancer.deployed.clone())
    }

    /// No call goes wrong any more.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// Makes the next call whose method and path match (`*`: any method; the path by a part of it) go wrong, once.
    pub fn fail_next(&self, method: &str, path: &str, fault: Fault) {
        self.state().faults.push((method.to_owned(), path.to_owned(), fault));
    }

    /// Sets what `status` complains of.
    pub fn set_errors(&self, zone: &str, errors: &[&str]) {
        let errors = errors.iter().map(|&error| error.to_owned()).collect();
        self.state().zones.get_mut(zone).expect("the zone").errors = errors;
    }

    /// Moves OVH's clock against the machine's, in seconds.
    pub fn set_skew(&self, skew: i64) {
        self.state().skew = skew;
    }

    /// Replaces the access rules: method and path, where a final `*` stands for anything.
    pub fn set_grants(&self, grants: &[(&str, &str)]) {
        self.state().grants = grants.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
    }

    /// What `GET /auth/currentCredential` says of the key's status, and whether the key may call it at all.
    pub fn set_credential(&self, status: &'static str, reads_itself: bool) {
        let mut state = self.state();
        (state.credential_status, state.reads_itself) = (status, reads_itself);
    }

    /// Where tokens of service accounts come from.
    pub fn token_url(&self) -> String {
        format!("{}/auth/oauth2/token", self.url())
    }

    /// The token that was given last is good no more.
    pub fn revoke_token(&self) {
        self.state().token = None;
    }

    /// The token that is good.
    pub fn token(&self) -> Option<String> {
        self.state().token.clone()
    }

    /// From now on somebody else publishes the zone after every single edit.
    pub fn publish_after_each_edit(&self) {
        self.state().impatient = true;
    }

    /// How many calls were made since the log was last taken.
    pub fn peek_log(&self) -> usize {
        self.state().log.len()
    }

    /// Every call since the last time: `PUT /domain/zone/…`.
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.state().log)
    }
}

/// Makes the fake's nameserver answer what another API holds.
pub struct Mirror(Shared);

impl Mirror {
    /// The record answers this from now on.
    pub fn show(&self, zone: &str, id: u64, target: &str) {
        let mut state = self.0.lock().expect("no panic under the lock");
        let record = state.zones.get_mut(zone).and_then(|zone| zone.staged.get_mut(&id)).expect("the record");
        target.clone_into(&mut record.target);
        publish(&mut state, zone);
    }
}

fn publish(state: &mut State, zone: &str) {
    let by = (Instant::now(), state.caller);
    let zone = state.zones.get_mut(zone).expect("the zone");
    if zone.errors.is_empty() {
        zone.published = zone.staged.values().cloned().collect();
        zone.serial += 1;
        let set = zone.published.clone();
        state.published_sets.push(set);
        state.published_at.push(by);
    }
}
