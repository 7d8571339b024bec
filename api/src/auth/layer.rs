//! The check before every handler. Beside `routes.rs` files because it is part of the router, not of a noun.

use std::sync::Arc;

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, header},
    middleware::Next,
    response::Response,
};

use super::{Caller, roles};
use crate::{app::App, problem::Problem, token};

/// Lets public routes pass; everything else needs a token whose role the table allows.
pub(crate) async fn authenticate(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let matched = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    if matched.as_deref().is_some_and(|path| roles::PUBLIC.contains(&path)) {
        return Ok(next.run(request).await);
    }
    let caller = caller(&app, request.headers().get(header::AUTHORIZATION).cloned()).await?;
    if let Some(path) = matched {
        match roles::allowed(request.method().as_str(), &path) {
            Some(roles) => caller.require(roles)?,
            None => {
                let legal = roles::methods(&path).join(", ");
                return Err(Problem::method_not_allowed(format!("method is {}; legal is {legal}", request.method())));
            }
        }
    }
    request.extensions_mut().insert(Arc::new(caller));
    Ok(next.run(request).await)
}

async fn caller(app: &App, header: Option<HeaderValue>) -> Result<Caller, Problem> {
    let Some(header) = header else {
        return Err(Problem::unauthorized("send the header Authorization: Bearer fw_…"));
    };
    let secret = header.to_str().ok().and_then(|text| {
        let (scheme, secret) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(secret.trim())
    });
    let secret =
        secret.ok_or_else(|| Problem::unauthorized("the header Authorization has another form than Bearer fw_…"))?;
    let caller = token::verify(&app.db, secret, app.clock.arrival()).await?;
    caller.ok_or_else(|| Problem::unauthorized("the token is unknown or revoked"))
}
