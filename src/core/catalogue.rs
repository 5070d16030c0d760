//! What the nodes probe: derived from the applied services.

use super::{
    names::{EndpointId, RegionName, ServiceName},
    service::Probe,
};

/// One probe of one region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its number: another probe never gets the same.
    pub id: EndpointId,
    /// Whose it is.
    pub service: ServiceName,
    /// The region that it tells of.
    pub region: RegionName,
    /// How it is asked.
    pub probe: Probe,
    /// The length up to which a run is news: the greater of fall and rise.
    pub settle: u32,
}
