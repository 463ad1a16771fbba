//! The pages, one file for each part of the menu.

pub mod account;
pub mod audit;
pub mod billing;
pub mod key;
pub mod keys;
pub mod me;
pub mod members;
pub mod model;
pub mod models;
pub mod oidc;
pub mod operator;
pub mod overview;
pub mod playground;
pub mod provider_keys;
pub mod recovery;
pub mod request;
pub mod requests;
pub mod settings;
pub mod start;
pub mod statements;
pub mod usage;

use super::{
    form::Form,
    frame::{PageError, state},
};
use crate::{
    http::{error::ApiError, extract::Call},
    store::{Db, Purpose, StoreError},
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

/// The same on the connections of reports, which nothing else waits for.
async fn report<T, F>(call: &Call, reading: impl FnOnce(Db) -> F) -> Result<T, PageError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, StoreError>> + Send + 'static,
{
    let db = state::<Db>(call)?.with_purpose(Purpose::Reports);
    Ok(db.run::<_, StoreError, _>(reading(db.clone())).await.map_err(ApiError::of_report)?)
}

/// A field that is `true` or `false`, or absent.
fn yes_or_no(form: &Form, field: &'static str) -> Result<Option<bool>, PageError> {
    match form.given(field) {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => Err(PageError::form(field, format!("`{field}` must be true or false"))),
    }
}
