//! Rules broken on purpose, so that the model, the simulation and the checkers can show that they would notice.
//!
//! Without the feature `testing` there is no switch: every question is answered `false` at compile time, and no release can
//! be told to break a rule. With it, a test breaks one rule at a time for its whole process.

macro_rules! sabotages {
    ($($(#[$doc:meta])* $variant:ident = $word:literal,)*) => {
        /// What can be broken.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Sabotage {
            $($(#[$doc])* $variant,)*
        }

        impl Sabotage {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name. A release does not know it.
            #[cfg(feature = "testing")]
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }
    };
}

sabotages! {
    /// Provider writes carry no condition, and a fence that is read does not hold a write back.
    NoFence = "no-fence",
    /// A leader writes because it believes to lead, without asking a quorum.
    NoReadIndex = "no-read-index",
    /// A verdict needs a quorum of the sites that report, not of the electorate.
    QuorumOfReachable = "quorum-of-reachable",
    /// Commands are stamped with wall time instead of log time.
    WallClock = "wall-clock",
    /// Opinions of earlier terms count on.
    KeepOpinions = "keep-opinions",
    /// Opinions count on after their time to live.
    ExpiredOpinions = "expired-opinions",
    /// No cooldown.
    NoCooldown = "no-cooldown",
    /// A node answers linearizable reads from its own state, without asking a quorum.
    StaleReads = "stale-reads",
}

#[cfg(feature = "testing")]
pub use switch::UnknownSabotage;

#[cfg(feature = "testing")]
mod switch {
    use std::{
        str::FromStr,
        sync::atomic::{AtomicU8, Ordering},
    };

    use super::Sabotage;

    /// A name that no switch has.
    #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
    #[error("`{0}` breaks nothing; there are: {list}", list = Sabotage::ALL.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(", "))]
    pub struct UnknownSabotage(String);

    impl FromStr for Sabotage {
        type Err = UnknownSabotage;
        fn from_str(text: &str) -> Result<Self, UnknownSabotage> {
            Self::ALL.iter().find(|it| it.as_str() == text).copied().ok_or_else(|| UnknownSabotage(text.to_owned()))
        }
    }

    static BROKEN: AtomicU8 = AtomicU8::new(u8::MAX);

    impl Sabotage {
        /// Whether this rule is broken in this process.
        #[must_use]
        pub fn active(self) -> bool {
            BROKEN.load(Ordering::Relaxed) == self as u8
        }

        /// Breaks one rule in this process, or none.
        pub fn set(broken: Option<Self>) {
            BROKEN.store(broken.map_or(u8::MAX, |broken| broken as u8), Ordering::Relaxed);
        }
    }
}

#[cfg(not(feature = "testing"))]
impl Sabotage {
    /// Whether this rule is broken: never, outside tests.
    #[must_use]
    pub const fn active(self) -> bool {
        false
    }
}
