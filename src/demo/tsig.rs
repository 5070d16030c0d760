//! Transaction signatures from the server's side (RFC 8945): who asks, and what the answer is signed with.

use hickory_proto::{
    ProtoError,
    rr::{
        Record, TSigResponseContext, TSigner,
        rdata::{
            TSIG,
            tsig::{TsigError, make_tsig_record},
        },
    },
};
use hickory_server::{server::Request, zone_handler::UpdateRequest};

/// The seconds by which the clocks of signer and server may differ (RFC 8945 §10).
pub const FUDGE: u16 = 300;

/// Who asks, as far as the signature tells (RFC 8945 §5.2).
pub enum Caller {
    /// No signature.
    Nobody,
    /// Rightly signed; the answer will be signed too.
    Key(Signature),
    /// Wrongly signed; the answer says how.
    Refused(Signature),
}

/// What is needed to put a TSIG on the answer.
pub enum Signature {
    /// As hickory-proto makes it.
    Plain(TSigResponseContext),
    /// The answer to a request whose time is off is signed and carries the server's own time (RFC 8945 §5.2.3).
    BadTime {
        /// What the answer's signature covers besides itself.
        request_mac: Vec<u8>,
        /// All but the signature.
        stub: TSIG,
    },
}

impl Caller {
    /// Looks at the request's signature at the time `now`, in seconds since 1970.
    pub fn of(request: &Request, signer: &TSigner, now: u64) -> Self {
        let Some(tsig) = request.signature() else { return Self::Nobody };
        let id = request.id();
        if tsig.name != *signer.signer_name() || tsig.data.algorithm != *signer.algorithm() {
            return Self::Refused(Signature::Plain(TSigResponseContext::unknown_key(id, now, tsig.name.clone())));
        }
        let Ok((mac, time, valid)) = signer.verify_message_byte(request.as_slice(), None, true) else {
            return Self::Refused(Signature::Plain(TSigResponseContext::bad_signature(id, now, signer.clone())));
        };
        if valid.contains(&now) {
            return Self::Key(Signature::Plain(TSigResponseContext::new(id, now, signer.clone(), mac, None)));
        }
        // 48 bits of seconds, network order.
        let server_time = now.to_be_bytes()[2..].to_vec();
        let error = Some(TsigError::BadTime);
        let stub = TSIG::new(signer.algorithm().clone(), time, FUDGE, Vec::new(), id, error, server_time);
        Self::Refused(Signature::BadTime { request_mac: mac, stub })
    }
}

impl Signature {
    /// The TSIG for an encoded answer.
    ///
    /// # Errors
    /// The answer cannot be encoded for signing.
    pub fn sign(self, signer: &TSigner, answer: &[u8]) -> Result<Box<Record<TSIG>>, ProtoError> {
        match self {
            Self::Plain(context) => context.sign(answer),
            Self::BadTime { request_mac, stub } => {
                let covered = signer.encode_response_tbs(&request_mac, answer, &stub)?;
                let mac = signer.sign(&covered).map_err(|error| ProtoError::from(error.to_string()))?;
                Ok(Box::new(make_tsig_record(signer.signer_name().clone(), stub.set_mac(mac))))
            }
        }
    }
}
