//! What no state of the core may ever be, told from what it remembers alone: invariants 1 and 11.

use quorate::core::{
    state::{ServiceState, State},
    switch::Switch,
};

use super::tables::service_of;

/// The invariant that is violated, if one is.
pub fn judge(state: &State) -> Option<&'static str> {
    let of = service_of(state);
    let switches: Vec<&Switch> = of.switches().collect();
    if switches.iter().any(|switch| switch.epoch > of.epoch) || of.open.as_ref().is_some_and(|o| o.epoch != of.epoch) {
        return Some("1: a switch is not of its service's epochs");
    }
    let unended = switches.iter().filter(|s| s.observed.is_none() && s.superseded.is_none()).count();
    if unended > 1 {
        return Some("1: two switches are open");
    }
    flaps(of, &switches)
}

fn flaps(of: &ServiceState, switches: &[&Switch]) -> Option<&'static str> {
    let policy = &of.service.policy;
    for (i, switch) in switches.iter().enumerate().filter(|(_, switch)| switch.cause.is_automatic()) {
        let at = switch.authorised.at;
        // An adoption moves nothing, so that no cooldown follows it.
        let follows = |before: &&&Switch| before.epoch.next() == switch.epoch && before.cause.word() != "adopt";
        let before = switches.get(i + 1).filter(follows);
        // The cooldown runs from the end of the switch before, or from its beginning when this one took its place.
        let since = before.map(|before| before.observed.unwrap_or(before.authorised).at);
        if since.is_some_and(|since| at < since.after(policy.cooldown)) {
            return Some("11: an automatic switch within the cooldown");
        }
        let recent = switches[i..].iter().filter(|s| s.cause.is_automatic());
        if recent.filter(|s| at < s.authorised.at.after(policy.budget_window)).count() > policy.budget as usize {
            return Some("11: more automatic switches than the budget allows");
        }
    }
    None
}
