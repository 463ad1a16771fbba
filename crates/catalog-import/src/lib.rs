//! Reads published price tables (litellm, models.dev, genai-prices) and finds how the model catalogue differs from
//! them, as an overlay file that a person reviews. It never decides a price: prices that it cannot express exactly are
//! left to that person, and amounts are read as decimal digits, never as floats.

mod amount;
mod compare;
mod overlay;
mod source;

pub use compare::{Change, Difference, Limits, compare};
pub use overlay::write;
pub use source::{Listed, ReadError, Source, read};

#[cfg(test)]
mod tests;
