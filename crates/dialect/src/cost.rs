//! Counts work, for the test that limits every reader, writer and splitter to linear cost (`cost/law.rs`). One step is
//! one byte that is read or copied, or one list entry that is compared. There is no counter outside this crate's tests.
//! Must stay free of side effects.

#[cfg(test)]
mod law;

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Counts `steps` of the current thread.
#[cfg(test)]
pub(crate) fn step(steps: usize) {
    STEPS.with(|counter| counter.set(counter.get().saturating_add(u64::try_from(steps).unwrap_or(u64::MAX))));
}

#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn step(_steps: usize) {}

/// The steps that `work` takes.
#[cfg(test)]
pub(crate) fn of<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = STEPS.with(std::cell::Cell::get);
    let result = work();
    (STEPS.with(std::cell::Cell::get).saturating_sub(before), result)
}
