//! Tables that are sent row by row, as the database finds them, so that an export of any size needs little memory. One
//! that fails on the way ends without its end, which the client sees.

use crate::store::{Db, OrgScope, StoreError};
use actix_web::{HttpResponse, http::header, web::Bytes};
use futures_util::stream;
use tokio::sync::mpsc;

/// Pieces that wait for a slow client; then the database waits.
const PIECES_MAX: usize = 4;

/// Where the pieces of a table go.
#[derive(Clone)]
pub struct Pieces(mpsc::Sender<Result<Bytes, StoreError>>);

impl Pieces {
    /// Whether more is wanted.
    pub async fn send(self, piece: Vec<u8>) -> bool {
        self.0.send(Ok(Bytes::from(piece))).await.is_ok()
    }
}

/// Which of the two forms a report is asked for in: CSV by `format=csv`, or by `Accept` where `format` is absent.
pub fn wants_csv(format: Option<&str>, accept: Option<&str>) -> Option<bool> {
    match format {
        Some("csv") => Some(true),
        Some("json") => Some(false),
        Some(_) => None,
        None => Some(accept.is_some_and(|accept| accept.starts_with("text/csv"))),
    }
}

/// Answers with the table that `write` sends in pieces, as a file of this name.
pub fn send_csv<F>(
    db: &Db,
    scope: OrgScope,
    file_name: &str,
    write: impl FnOnce(Db, Pieces) -> F,
) -> HttpResponse
where
    F: Future<Output = Result<(), StoreError>> + Send + 'static,
{
    let (pieces, received) = mpsc::channel(PIECES_MAX);
    let pieces = Pieces(pieces);
    let failed = pieces.clone();
    let written = write(db.clone(), pieces);
    let db = db.clone();
    actix_web::rt::spawn(async move {
        if let Err(error) = db.run::<_, StoreError, _>(written).await {
            tracing::error!(org.id = %scope.org_id(), %error, "an export ended before its end");
            let _ = failed.0.send(Err(error)).await;
        }
    });
    let body = stream::unfold(received, async |mut received| Some((received.recv().await?, received)));
    HttpResponse::Ok()
        .content_type("text/csv; charset=utf-8")
        .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{file_name}\"")))
        .streaming(Box::pin(body))
}
