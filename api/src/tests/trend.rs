use arrow::array::{Int64Array, RecordBatch};
use schemas::{
    door::{SqlAnswer, SqlError, TrendSource},
    trend::{Bounds, Column, Trend},
};
use serde_json::json;

use super::*;

static RATE: Trend = Trend {
    name: "rate",
    title: "Rate",
    question: "How often?",
    definition: "Counted.",
    source: "Garwood",
    columns: &[Column { name: "n", unit: "failures", about: "how many" }],
    levels: &["model", "batch"],
    by_profile: true,
    from: Some("from then on"),
    until: Some("up to then"),
};
static NOW: Trend = Trend { name: "now", levels: &[], from: None, until: None, ..RATE };

/// Says what it was asked; the real trends are another tier's and are tested in `tests/it`.
struct Trends;

#[async_trait::async_trait]
impl TrendSource for Trends {
    fn trends(&self) -> Vec<&'static Trend> {
        vec![&RATE, &NOW]
    }

    async fn rows(&self, tenant: &TenantId, trend: &Trend, bounds: &Bounds) -> Result<SqlAnswer, SqlError> {
        assert_eq!((tenant.as_str(), trend.name), ("dev", "rate"));
        if bounds.level == Some("batch") {
            return Err(SqlError::Invalid("/secret".into()));
        }
        let numbers = Arc::new(Int64Array::from(vec![bounds.until.map_or(0, Instant::micros)]));
        let batch = RecordBatch::try_from_iter([("n", numbers as _)]).unwrap();
        let schema = batch.schema();
        Ok(SqlAnswer { schema, batches: Box::pin(futures::stream::iter([Ok(batch)])) })
    }

    async fn picture(&self, _: &TenantId, trend: &Trend, bounds: &Bounds) -> Result<String, SqlError> {
        Ok(format!("<svg>{} {:?}</svg>", trend.name, bounds.level))
    }
}

async fn world() -> World {
    World::with(|app| app.trends = Some(Arc::new(Trends))).await
}

#[tokio::test]
async fn trends_are_listed_answered_and_drawn() {
    let world = world().await;
    let list = world.json("analyst", "GET /v1/trends", "", StatusCode::OK).await;
    assert_eq!(list["trends"][0]["view"], "trend_rate");
    assert_eq!(list["trends"][0]["columns"], json!([{"name": "n", "unit": "failures", "about": "how many"}]));
    let names = |trend: usize| {
        let parameters = list["trends"][trend]["parameters"].as_array().unwrap();
        parameters.iter().map(|parameter| parameter["name"].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((names(0), names(1)), (vec!["level", "profile", "from", "until"], vec!["profile"]));
    let line = "GET /v1/trends/rate?level=model&until=1970-01-01T00:00:01Z";
    let rows = world.json("analyst", line, "", StatusCode::OK).await;
    assert_eq!(rows["rows"], json!([[1_000_000]]));
    let csv = world.send("analyst", "GET /v1/trends/rate", &[("accept", "text/csv")], "").await;
    assert_eq!(csv.text(), "n\n0\n");
    let picture = world.ask("analyst", "GET /v1/trends/now.svg", "").await;
    assert_eq!((picture.status, picture.header("content-type")), (200, "image/svg+xml"));
    assert_eq!(picture.text(), "<svg>now None</svg>");
    assert!(picture.header("content-security-policy").contains("default-src 'none'"));
}

#[tokio::test]
async fn a_bound_that_is_not_legal_is_named() {
    let world = world().await;
    for (line, status, field, says) in [
        ("rate?level=colour", 400, "level", "legal is model, batch"),
        ("rate.svg?level=colour", 400, "level", "legal is model, batch"),
        ("rate?profile=%27", 400, "profile", "not legal"),
        ("rate?from=now", 400, "from", "RFC 3339"),
        ("rate?from=2027-01-01T00:00:00Z", 400, "from", "before now"),
        ("now?until=2026-01-01T00:00:00Z", 400, "until", "leave until out"),
        ("rate?colour=red", 400, "query", "colour"),
        ("nothing", 404, "name", "there are rate, now"),
        ("nothing.svg", 404, "name", "there are rate, now"),
        ("rate?level=batch", 500, "", ""),
    ] {
        let answer = world.ask("analyst", &format!("GET /v1/trends/{line}"), "").await;
        assert_eq!(answer.status, status, "{line}: {}", answer.text());
        let problem = answer.json();
        assert_eq!(problem["field"].as_str().unwrap_or(""), field, "{line}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{line}: {problem}");
        assert!(!answer.text().contains("secret"), "{problem}");
    }
    let without = World::new().await;
    assert_eq!(without.ask("analyst", "GET /v1/trends", "").await.status, 503);
}
