//! The dashboard: pages rendered on the server, over the same services as the JSON API. It has no SQL and no rules
//! of its own: what a page shows or changes, an endpoint of `http` shows or changes too. Everything works without
//! JavaScript; the one small script only adds comfort.
//!
//! A page must never show a secret except in the answer to the form that made it, and never trust text: names,
//! model output and error messages are escaped by the templates.

mod assets;
mod chart;
mod documents;
mod explain;
mod form;
mod frame;
mod limits;
mod links;
mod menu;
mod names;
mod pages;
pub mod routes;
mod session;
mod timeline;
mod view;

pub use session::Origin;
