//! Every request in flight keeps the future of its handler: it must stay small.

use super::*;

fn future_bytes<A, B, C, F: Future>(_: impl FnOnce(A, B, C) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn the_futures_of_the_inference_handlers_stay_small() {
    // An optimized build keeps more in a future than this one does. What is rare and large is boxed where it is awaited.
    const BYTES_MAX: usize = 12 * 1_024;
    for (handler, bytes) in [("converse", future_bytes(converse)), ("infer", future_bytes(infer))] {
        assert!(bytes < BYTES_MAX, "{handler}: {bytes} bytes");
    }
}
