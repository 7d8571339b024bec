//! `/v1/tokens`: for admins.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use schemas::time::Instant;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::Token;
use crate::{
    app::App,
    auth::{Caller, Role},
    body,
    problem::{self, Problem},
};

/// The routes.
pub fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

/// A token, without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Token)]
struct TokenJson {
    /// The public half.
    token_id: String,
    /// Who holds it.
    name: String,
    /// What it may do.
    role: Role,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created: Instant,
    /// Since when it is out of force.
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked: Option<Instant>,
    /// Its last use, to the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used: Option<Instant>,
}

impl From<Token> for TokenJson {
    fn from(t: Token) -> Self {
        let Token { token_id, tenant: _, name, role, created, revoked, last_used } = t;
        Self { token_id, name, role, created, revoked, last_used }
    }
}

/// The tenant's tokens.
#[derive(Debug, Serialize, ToSchema)]
struct Tokens {
    /// Oldest first; revoked ones too.
    tokens: Vec<TokenJson>,
}

/// What a new token is for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewToken {
    /// Who holds it; 1 to 60 characters, the actor in histories.
    name: String,
    /// What it may do.
    role: Role,
}

/// A token just made: the only time its secret is shown.
#[derive(Debug, Serialize, ToSchema)]
struct MadeToken {
    /// To be sent as `Authorization: Bearer`.
    secret: String,
    /// The rest.
    token: TokenJson,
}

/// Lists the tenant's tokens.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens", responses(
    (status = 200, description = "The tokens", body = Tokens),
    (status = "4XX", description = "A problem", body = problem::Json, content_type = "application/problem+json")))]
async fn list(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Tokens>, Problem> {
    let tokens = super::list(&app.db, &caller.tenant).await?.into_iter().map(TokenJson::from).collect();
    Ok(Json(Tokens { tokens }))
}

/// Makes a token; its secret is shown this once.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", request_body = NewToken, responses(
    (status = 201, description = "The token with its secret", body = MadeToken),
    (status = "4XX", description = "A problem", body = problem::Json, content_type = "application/problem+json")))]
async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    body::Json(new): body::Json<NewToken>,
) -> Result<(StatusCode, Json<MadeToken>), Problem> {
    body::text("name", &new.name, super::NAME_MAX)?;
    let now = app.clock.arrival();
    let (token, secret) = super::create(&app.db, &caller.tenant, new.role, &new.name, now).await?;
    tracing::info!(token_id = token.token_id, role = %token.role, by = caller.name, "made a token");
    Ok((StatusCode::CREATED, Json(MadeToken { secret, token: token.into() })))
}

/// Puts a token out of force.
#[utoipa::path(delete, path = "/v1/tokens/{token_id}", tag = "tokens",
    params(("token_id" = String, Path, description = "The public half")), responses(
    (status = 204, description = "Out of force"),
    (status = "4XX", description = "A problem", body = problem::Json, content_type = "application/problem+json")))]
async fn revoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(token_id): Path<String>,
) -> Result<StatusCode, Problem> {
    if !super::revoke(&app.db, &caller.tenant, &token_id, app.clock.arrival()).await? {
        return Err(Problem::not_found(format!("no token {token_id:?} is in force")));
    }
    tracing::info!(token_id, by = caller.name, "revoked a token");
    Ok(StatusCode::NO_CONTENT)
}
