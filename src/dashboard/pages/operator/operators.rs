//! The operators of the installation.

use crate::{
    accounts::{Accounts, operators::WhichOperator},
    dashboard::{
        frame::{Frame, PageError, page_of, see_other, state},
        routes::Visit,
        view::{self, Moment},
    },
    store::{operator::OperatorRow, sessions::Operator},
};
use actix_web::{HttpResponse, http::StatusCode};
use askama::Template;

#[derive(Template)]
#[template(path = "operator_operators.html")]
struct OperatorsPage<'a> {
    frame: &'a Frame,
    rows: Vec<Row>,
}

struct Row {
    id: String,
    email: String,
    created: Moment,
    last_seen: Option<Moment>,
    is_self: bool,
}

/// `GET /operator/operators`.
pub async fn list(mut visit: Visit<Operator>) -> Result<HttpResponse, PageError> {
    visit.frame.done = match visit.form.get("done") {
        "removed" => "The operator was removed and its sessions have ended.",
        _ => "",
    };
    operators_page(visit, StatusCode::OK).await
}

async fn operators_page(visit: Visit<Operator>, status: StatusCode) -> Result<HttpResponse, PageError> {
    let operators = state::<Accounts>(&visit.call)?.list_operators().await?;
    let row = |row: &OperatorRow| Row {
        id: row.id.to_string(),
        email: row.email.clone(),
        created: view::moment(row.created_at),
        last_seen: row.last_seen_at.map(view::moment),
        is_self: row.id == visit.who.user_id,
    };
    let rows = operators.iter().map(row).collect();
    Ok(page_of(&OperatorsPage { frame: &visit.frame.titled("Operators"), rows }, status))
}

/// `POST /operator/operators`: removes one, whose address is typed.
pub async fn remove(mut visit: Visit<Operator>) -> Result<HttpResponse, PageError> {
    let which = WhichOperator::Email(visit.form.get("email").to_owned());
    let actor = visit.who.user_id.to_string();
    let removed = state::<Accounts>(&visit.call)?.remove_operator(actor, which).await;
    match removed.map_err(PageError::from) {
        Ok(_) => Ok(see_other("/operator/operators?done=removed")),
        Err(PageError::NotFound) => {
            visit.frame.error = Some(crate::dashboard::frame::FormError {
                field: "email".to_owned(),
                message: "There is no operator with this address".to_owned(),
            });
            operators_page(visit, StatusCode::UNPROCESSABLE_ENTITY).await
        }
        Err(PageError::Form(error)) => {
            visit.frame.error = Some(error);
            operators_page(visit, StatusCode::UNPROCESSABLE_ENTITY).await
        }
        Err(error) => Err(error),
    }
}
