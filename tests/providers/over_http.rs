//! What the subjects with an HTTP API share: a fault proxy, and which call reads and which changes.

use crate::{
    contract::{Of, RETRY_AFTER, Trouble},
    fault_proxy::{Fault, FaultProxy, Reply},
};

/// A call, by its method and a part of its path.
pub type Call = (&'static str, &'static str);

/// How an API words its refusals.
#[derive(Clone)]
pub struct Refusals {
    pub too_many: Reply,
    pub expired: Reply,
    pub forbidden: Reply,
}

/// An API of which one call reads and one changes.
pub struct OverHttp {
    pub proxy: FaultProxy,
    pub read: Call,
    pub write: Call,
    pub refusals: Refusals,
}

/// A refusal with a body of this type.
pub fn refusal(status: u16, content_type: &str, body: &str) -> Reply {
    let headers = vec![("content-type", content_type.to_owned()), ("retry-after", RETRY_AFTER.as_secs().to_string())];
    Reply { status, headers, body: body.to_owned() }
}

/// What a trouble is over HTTP. An API that differs in one asks here for the others.
pub fn fault(trouble: Trouble, refusals: Refusals) -> Fault {
    match trouble {
        Trouble::AnswerLost { applied } => Fault::Drop { applied },
        Trouble::TooMany | Trouble::PutOff => Fault::Refuse(refusals.too_many),
        Trouble::ServerError { applied } => Fault::html(502, applied),
        Trouble::Garbage => Fault::garbage(),
        Trouble::Flood => Fault::flood(),
        Trouble::Hang { applied } => Fault::Hang { applied },
        Trouble::EmptyAnswer => Fault::empty(false),
        Trouble::Expired => Fault::Refuse(refusals.expired),
        Trouble::Forbidden => Fault::Refuse(refusals.forbidden),
        Trouble::Held => Fault::Hold,
    }
}

impl OverHttp {
    /// Makes the next such call go wrong.
    pub fn fail_next(&self, of: Of, trouble: Trouble) {
        let call = if of == Of::Reading { self.read } else { self.write };
        self.proxy.fail_next(call, fault(trouble, self.refusals.clone()));
    }

    /// How often the call that changes was made since the last time.
    pub fn sent(&self) -> usize {
        let (method, path) = self.write;
        self.proxy.take_log().iter().filter(|call| call.starts_with(method) && call.contains(path)).count()
    }
}
