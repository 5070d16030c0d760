//! Rules broken on purpose, so that the model, the simulation and the checkers can show that they would notice.
//!
//! Without the feature `testing` there is no switch: every question is answered `false` at compile time, and no release can
//! be told to break a rule, nor knows the words. With it, a test breaks one rule at a time for its whole process, and
//! `quorated` obeys the environment variable `QUORATE_SABOTAGE`.

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
            #[cfg(feature = "testing")]
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name.
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
}

#[cfg(feature = "testing")]
mod switch {
    use std::{
        fmt,
        str::FromStr,
        sync::atomic::{AtomicU8, Ordering},
    };

    use super::Sabotage;

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

    /// A name that no rule to be broken has.
    #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
    #[error("`{0}` breaks nothing; what can be broken: {list}", list = Sabotage::ALL.iter().map(|known| known.as_str()).collect::<Vec<_>>().join(", "))]
    pub struct UnknownSabotage(String);

    impl FromStr for Sabotage {
        type Err = UnknownSabotage;
        fn from_str(text: &str) -> Result<Self, UnknownSabotage> {
            let found = Self::ALL.iter().find(|known| known.as_str() == text);
            found.copied().ok_or_else(|| UnknownSabotage(text.chars().take(40).collect()))
        }
    }

    impl fmt::Display for Sabotage {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.pad(self.as_str())
        }
    }
}

#[cfg(feature = "testing")]
pub use switch::UnknownSabotage;

#[cfg(not(feature = "testing"))]
impl Sabotage {
    /// Whether this rule is broken: never, outside tests.
    #[must_use]
    pub const fn active(self) -> bool {
        false
    }
}
