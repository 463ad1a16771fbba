//! The pages, one file for each part of the menu.

pub mod account;
pub mod billing;
pub mod keys;
pub mod members;
pub mod models;
pub mod operator;
pub mod overview;
pub mod provider_keys;
pub mod requests;
pub mod start;
pub mod statements;
pub mod usage;

use super::frame::{PageError, state};
use crate::{
    http::extract::Call,
    store::{Db, StoreError},
};
use std::future::Future;

/// Runs a read on the database's runtime.
async fn read<T, F>(call: &Call, reading: impl FnOnce(Db) -> F) -> Result<T, PageError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, StoreError>> + Send + 'static,
{
    let db = state::<Db>(call)?.get_ref().clone();
    Ok(db.run::<_, StoreError, _>(reading(db.clone())).await?)
}
