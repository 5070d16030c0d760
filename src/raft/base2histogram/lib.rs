//! Takes openraft's counts of batch sizes, which nobody reads, and keeps none of them.
//!
//! The crate that this stands in for builds tables for sixteen resolutions at its first use: 25 MB that stay resident, more
//! than all the rest of a node. openraft records into it and, without its feature `runtime-stats`, shows none of it. Here is
//! what it takes to compile openraft without that feature; whoever turns it on must take the patch out of `Cargo.toml`.

use std::{fmt, marker::PhantomData};

/// Where counts go. They are not kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Histogram<T = ()>(PhantomData<T>);

impl<T> Histogram<T> {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self(PhantomData)
    }

    /// Forgets the value.
    pub fn record(&mut self, _: u64) {}

    /// Forgets the values.
    pub fn record_n(&mut self, _: u64, _: u64) {}

    /// Of no samples.
    #[must_use]
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats::default()
    }
}

/// Percentiles of no samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PercentileStats {
    /// Always 0.
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[not counted]")
    }
}

/// A chart of nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AsciiChart<T = ()>(PhantomData<T>);

impl<T> AsciiChart<T> {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self(PhantomData)
    }

    /// Leaves the series out.
    #[must_use]
    pub fn add(self, _: &str, _: Histogram<T>) -> Self {
        self
    }
}
