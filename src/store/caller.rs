//! The origin of a change: address and request of the person who makes it, for the audit log. It is task-local, so that
//! the functions in between do not have to pass it on.

use std::future::Future;

/// The origin of a change.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Caller {
    pub address: Option<String>,
    pub request_id: Option<String>,
}

tokio::task_local! {
    static CALLER: Caller;
}

/// Runs `work` on behalf of a caller.
pub async fn on_behalf<F: Future>(caller: Caller, work: F) -> F::Output {
    CALLER.scope(caller, work).await
}

/// The caller that this task works for; outside of a request there is none.
pub fn current() -> Caller {
    CALLER.try_with(Caller::clone).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_caller_is_that_of_the_work_and_nobody_elses() {
        let caller = Caller { address: Some("203.0.113.9".to_owned()), request_id: Some("req_1".to_owned()) };
        let seen = on_behalf(caller.clone(), async { current() }).await;
        assert_eq!(seen, caller);
        assert_eq!(current(), Caller::default());
    }
}
