//! `/v1/trends`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use schemas::{
    door::{SqlError, TrendSource},
    trend::{self, Trend},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::App,
    auth::Caller,
    body, problem,
    problem::Problem,
    sql::routes::{Answer, answer, form, problem as of_query},
};

/// The form of a picture.
const SVG: &str = "image/svg+xml";

/// What a trend's picture is called after its name.
const SUFFIX: &str = ".svg";

/// The routes. A path with the name and an ending is the same route: the router matches whole parts of a path.
pub fn router() -> OpenApiRouter<Arc<App>> {
    #[derive(OpenApi)]
    #[openapi(paths(picture))]
    struct Pictures;
    let mut router = OpenApiRouter::new().routes(routes!(list)).routes(routes!(rows));
    router.get_openapi_mut().merge(Pictures::openapi());
    router
}

/// A column of a trend.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TrendColumn)]
struct ColumnJson {
    /// Its name.
    name: &'static str,
    /// Its unit; empty for words.
    unit: &'static str,
    /// What it tells.
    about: &'static str,
}

/// A parameter of a trend.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TrendParameter)]
struct ParameterJson {
    /// Its name.
    name: &'static str,
    /// What it does, or which values are legal.
    about: String,
}

/// A named question about the fleet.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Trend)]
struct TrendJson {
    /// Its name.
    #[schema(example = "failure_rate")]
    name: &'static str,
    /// The view of the SQL that gives the same rows.
    #[schema(example = "trend_failure_rate")]
    view: String,
    /// A heading.
    title: &'static str,
    /// The question that it answers.
    question: &'static str,
    /// How its numbers are defined.
    definition: &'static str,
    /// Where its formula comes from.
    source: &'static str,
    /// Its columns, in order.
    columns: Vec<ColumnJson>,
    /// What it can be bounded by.
    parameters: Vec<ParameterJson>,
}

impl From<&Trend> for TrendJson {
    fn from(trend: &Trend) -> Self {
        let levels = (!trend.levels.is_empty()).then(|| ("level", format!("one of {}", trend.levels.join(", "))));
        let profile = trend.by_profile.then(|| ("profile", "one kind of device".to_owned()));
        let from = trend.from.map(|about| ("from", format!("RFC 3339: {about}")));
        let until = trend.until.map(|about| ("until", format!("RFC 3339: {about}; now where it is not given")));
        let parameters = [levels, profile, from, until].into_iter().flatten();
        let columns = trend.columns.iter();
        Self {
            name: trend.name,
            view: trend.view(),
            title: trend.title,
            question: trend.question,
            definition: trend.definition,
            source: trend.source,
            columns: columns.map(|c| ColumnJson { name: c.name, unit: c.unit, about: c.about }).collect(),
            parameters: parameters.map(|(name, about)| ParameterJson { name, about }).collect(),
        }
    }
}

/// Every trend.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Trends)]
struct TrendsJson {
    /// In the order of the documentation.
    trends: Vec<TrendJson>,
}

/// Bounds of a trend.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Bounds {
    /// By what it is told, such as model or firmware, where the trend has levels.
    level: Option<String>,
    /// One kind of device.
    profile: Option<String>,
    /// From this instant on (RFC 3339), where the trend has it.
    from: Option<String>,
    /// Until this instant (RFC 3339), where the trend has it; now otherwise.
    until: Option<String>,
}

fn source(app: &App) -> Result<&dyn TrendSource, Problem> {
    app.trends.as_deref().ok_or_else(|| Problem::unavailable("analytics does not run in this process"))
}

/// Lists the failure trends, with definitions, columns, units and parameters.
#[utoipa::path(get, path = "/v1/trends", tag = "trends", responses(
    (status = 200, description = "Every trend", body = TrendsJson),
    (status = 503, description = "Analytics does not run here", body = problem::Json, content_type = "application/problem+json")))]
async fn list(State(app): State<Arc<App>>, _: Caller) -> Result<Json<TrendsJson>, Problem> {
    let trends = source(&app)?.trends().into_iter().map(TrendJson::from).collect();
    Ok(Json(TrendsJson { trends }))
}

/// Answers a trend over the tenant's rows, in its order. `Accept` chooses the form, as for `/v1/sql`.
#[utoipa::path(get, path = "/v1/trends/{name}", tag = "trends",
    params(("name" = String, Path, description = "As listed"), Bounds), responses(
    (status = 200, description = "The rows", content(
        (Answer = "application/json"), (String = "text/csv"), (Vec<u8> = "application/vnd.apache.arrow.stream"),
        (Vec<u8> = "application/vnd.apache.parquet"))),
    (status = 400, description = "A bound is not legal; says what is", body = problem::Json, content_type = "application/problem+json"),
    (status = 404, description = "No such trend", body = problem::Json, content_type = "application/problem+json"),
    (status = 429, description = "Over a limit", body = problem::Json, content_type = "application/problem+json"),
    (status = 503, description = "Analytics does not run here", body = problem::Json, content_type = "application/problem+json")))]
async fn rows(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    body::Query(asked): body::Query<Bounds>,
) -> Result<Response, Problem> {
    let source = source(&app)?;
    let (trend, drawn) = match name.strip_suffix(SUFFIX) {
        Some(name) => (named(source, name)?, true),
        None => (named(source, &name)?, false),
    };
    let Bounds { level, profile, from, until } = asked;
    let asked = trend::Asked { level, profile, from, until };
    let bounds =
        asked.check(trend, app.clock.as_ref()).map_err(|error| Problem::bad_request(error.field, error.problem))?;
    if drawn {
        let picture = source.picture(&caller.tenant, trend, &bounds).await.map_err(told)?;
        // Text only: a picture that is opened by itself runs nothing and loads nothing.
        let policy = "default-src 'none'; style-src 'unsafe-inline'";
        return Ok(([(header::CONTENT_TYPE, SVG), (header::CONTENT_SECURITY_POLICY, policy)], picture).into_response());
    }
    let form = form(&headers)?;
    answer(form, source.rows(&caller.tenant, trend, &bounds).await.map_err(told)?).await
}

/// Draws a trend: bars with their limits. Bounds are those of the rows.
#[utoipa::path(get, path = "/v1/trends/{name}.svg", tag = "trends",
    params(("name" = String, Path, description = "As listed"), Bounds), responses(
    (status = 200, description = "The picture", body = String, content_type = "image/svg+xml"),
    (status = 400, description = "A bound is not legal; says what is", body = problem::Json, content_type = "application/problem+json"),
    (status = 404, description = "No such trend", body = problem::Json, content_type = "application/problem+json"),
    (status = 429, description = "Over a limit", body = problem::Json, content_type = "application/problem+json"),
    (status = 503, description = "Analytics does not run here", body = problem::Json, content_type = "application/problem+json")))]
#[allow(dead_code, reason = "describes what `rows` answers where the name ends in .svg")]
fn picture() {}

fn named(source: &dyn TrendSource, name: &str) -> Result<&'static Trend, Problem> {
    let trends = source.trends();
    trends.iter().find(|trend| trend.name == name).copied().ok_or_else(|| {
        let names: Vec<&str> = trends.iter().map(|trend| trend.name).collect();
        Problem::not_found(format!("there is no such trend; there are {}", names.join(", "))).at("name")
    })
}

/// The caller wrote no query: what is wrong with it is not his.
fn told(error: SqlError) -> Problem {
    match error {
        SqlError::Syntax { .. } | SqlError::Invalid(_) | SqlError::Refused(_) => Problem::internal(error),
        SqlError::Limit(_) | SqlError::Internal(_) => of_query(error),
    }
}
