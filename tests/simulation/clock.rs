//! The monotonic clock of a thread that simulates: it goes as its simulation does.
//!
//! tokio's time already does. But what asks the system itself, such as h2, which forgets a stream a second after it was reset,
//! would make a run depend on how fast the machine is that it runs on. So this program has a `clock_gettime` of its own, which
//! takes the place of libc's.
#![allow(unsafe_code, reason = "a symbol of libc is replaced")]

use std::{cell::Cell, time::Duration};

use nix::libc::{CLOCK_MONOTONIC, SYS_clock_gettime, c_int, c_long, clockid_t, syscall, time_t, timespec};

/// What the clock shows when a simulation begins. tokio and turmoil go a little back from now, and there must be such a time.
const BEGIN: Duration = Duration::from_secs(1_000_000);

thread_local! {
    static SIMULATED: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// Sets this thread's monotonic clock to so long after the simulation's begin; from then on it goes no other way.
pub fn set(since_begin: Duration) {
    SIMULATED.set(Some(BEGIN + since_begin));
}

/// # Safety
/// As for the one of libc: `to` must be valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: clockid_t, to: *mut timespec) -> c_int {
    let simulated = (clock == CLOCK_MONOTONIC).then(|| SIMULATED.get()).flatten();
    let Some(now) = simulated else {
        // SAFETY: the caller's arguments are handed on as they are.
        let done = unsafe { syscall(SYS_clock_gettime, c_long::from(clock), to) };
        return c_int::try_from(done).unwrap_or(-1);
    };
    let now = timespec {
        tv_sec: time_t::try_from(now.as_secs()).unwrap_or(time_t::MAX),
        tv_nsec: c_long::from(now.subsec_nanos()),
    };
    // SAFETY: the caller promises that it may be written to.
    unsafe { to.write(now) };
    0
}

#[test]
fn the_systems_clock_stands_still_until_it_is_told_to_go_on() {
    use std::{thread, time::Instant};

    let go = || {
        set(Duration::from_secs(1));
        let began = Instant::now();
        thread::sleep(Duration::from_millis(2));
        assert_eq!(began.elapsed(), Duration::ZERO);
        set(Duration::from_secs(3));
        assert_eq!(began.elapsed(), Duration::from_secs(2));
    };
    thread::spawn(go).join().expect("the clock goes as it is told");
    let began = Instant::now();
    thread::sleep(Duration::from_millis(2));
    assert!(began.elapsed() >= Duration::from_millis(2), "another thread's clock goes on");
}
