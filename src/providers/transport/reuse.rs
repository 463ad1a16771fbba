//! Whether a call went over a connection that had been used before. A provider may close such a connection at the
//! moment we write to it: then it has not seen the call, which says nothing about how it is doing.

use std::{
    cell::Cell,
    error::Error,
    future::Future,
    io,
    task::{Context, Poll},
};
use tower_layer::Layer;
use tower_service::Service;

tokio::task_local! {
    /// The call of this task asked for a new connection.
    static DIALED: Cell<bool>;
}

/// Runs a call and tells whether it certainly went over a used connection: it never asked for a new one.
pub(super) async fn observe<F: Future>(call: F) -> (F::Output, bool) {
    let observed = async {
        let output = call.await;
        (output, DIALED.with(|dialed| !dialed.get()))
    };
    DIALED.scope(Cell::new(false), observed).await
}

/// Whether a connection ended before a byte of the answer had come.
pub(super) fn is_closed(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && error.is_incomplete_message()
        {
            return true;
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            use io::ErrorKind as Kind;
            return matches!(
                error.kind(),
                Kind::ConnectionReset | Kind::BrokenPipe | Kind::ConnectionAborted | Kind::UnexpectedEof
            );
        }
        cause = error.source();
    }
    false
}

/// Notes each new connection for [`observe`].
#[derive(Clone, Copy)]
pub(super) struct NotesDials;

impl<S> Layer<S> for NotesDials {
    type Service = Noting<S>;

    fn layer(&self, inner: S) -> Noting<S> {
        Noting(inner)
    }
}

#[derive(Clone)]
pub(super) struct Noting<S>(S);

impl<S: Service<R>, R> Service<R> for Noting<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: R) -> S::Future {
        // Outside of an observed call nobody asks.
        let _ = DIALED.try_with(|dialed| dialed.set(true));
        self.0.call(request)
    }
}
