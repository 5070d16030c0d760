//! Two clusters at a time, whatever the test runner thinks: more would starve each other on a small machine.

use std::sync::{Condvar, Mutex, PoisonError};

const SEATS: usize = 2;
static TAKEN: Mutex<usize> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

/// The right to run one cluster.
pub struct Seat(());

impl Seat {
    /// Waits for a free one.
    pub fn take() -> Self {
        // A test that failed has given its seat back all the same.
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = FREED.wait_while(taken, |taken| *taken >= SEATS).unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        Self(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        FREED.notify_one();
    }
}
