use arrow::array::{Int64Array, RecordBatch, StringArray};
use schemas::door::{Request, SqlAnswer, SqlEngine, SqlError, Statement};
use serde_json::json;

use super::*;

/// Answers by the first word of the query; the real engine is another tier's and is tested in `tests/it`.
struct Engine;

fn batch() -> RecordBatch {
    let numbers = Arc::new(Int64Array::from(vec![1, 2]));
    let words = Arc::new(StringArray::from(vec![Some("a"), None]));
    RecordBatch::try_from_iter_with_nullable([("n", numbers as _, false), ("word", words as _, true)]).unwrap()
}

#[async_trait::async_trait]
impl SqlEngine for Engine {
    async fn describe(&self, _: &TenantId, _: &Request) -> Result<Statement, SqlError> {
        Err(SqlError::Refused("nothing is prepared over HTTP".into()))
    }

    async fn query_with(&self, tenant: &TenantId, request: &Request) -> Result<SqlAnswer, SqlError> {
        let sql = request.sql.as_str();
        assert_eq!(tenant.as_str(), "dev");
        let broken = || Err(SqlError::Internal("the disk is gone".into()));
        let batches = match sql {
            "syntax" => {
                let message = "expected SELECT".to_owned();
                return Err(SqlError::Syntax { message, line: Some(1), column: Some(7) });
            }
            "invalid" => return Err(SqlError::Invalid("no column wrod; did you mean word?".into())),
            "refused" => return Err(SqlError::Refused("only SELECT".into())),
            "limit" => return Err(SqlError::Limit("more than 4 queries at once".into())),
            "internal" | "panic" => {
                assert_ne!(sql, "panic", "on purpose");
                return Err(SqlError::Internal("/secret/path is gone".into()));
            }
            "empty" => vec![],
            "breaks at once" => vec![broken()],
            "breaks later" => vec![Ok(batch()), broken()],
            "slow" => {
                std::future::pending::<()>().await;
                vec![]
            }
            _ => vec![Ok(batch()), Ok(batch())],
        };
        Ok(SqlAnswer { schema: batch().schema(), batches: Box::pin(futures::stream::iter(batches)) })
    }
}

async fn world() -> World {
    World::with(|app| {
        app.sql = Some(Arc::new(Engine));
        app.settings.answer_within = Duration::from_millis(300);
    })
    .await
}

#[tokio::test]
async fn one_question_has_three_forms_of_answer() {
    let world = world().await;
    let ask = |accept| {
        let world = &world;
        async move { world.send("analyst", "POST /v1/sql", &[("accept", accept)], json!({"query": "select"})).await }
    };
    let answer = ask("application/json").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    assert_eq!(
        answer.json(),
        json!({"columns": [{"name": "n", "type": "Int64"}, {"name": "word", "type": "Utf8"}],
            "rows": [[1, "a"], [2, null], [1, "a"], [2, null]]})
    );
    assert_eq!(ask("text/csv").await.text(), "n,word\n1,a\n2,\n1,a\n2,\n");
    let bytes = ask("application/vnd.apache.arrow.stream").await.bytes;
    let reader = arrow::ipc::reader::StreamReader::try_new(bytes.as_slice(), None).unwrap();
    assert_eq!(reader.map(Result::unwrap).collect::<Vec<_>>(), [batch(), batch()]);
    assert_eq!(ask("text/html").await.status, 406);
    let empty = world.json("admin", "POST /v1/sql", json!({"query": "empty"}), StatusCode::OK).await;
    assert_eq!(empty["rows"], json!([]));
}

#[tokio::test]
async fn what_is_wrong_with_a_query_is_a_problem_document() {
    let world = world().await;
    for (query, status, kind) in [
        ("syntax", 400, "bad-request"),
        ("invalid", 400, "bad-request"),
        ("refused", 403, "forbidden"),
        ("limit", 429, "too-many"),
        ("internal", 500, "internal"),
        ("panic", 500, "internal"),
        ("breaks at once", 500, "internal"),
        ("slow", 408, "timeout"),
        (" ", 400, "bad-request"),
    ] {
        let answer = world.send("analyst", "POST /v1/sql", &[("x-request-id", "r-17")], json!({"query": query})).await;
        assert_eq!(answer.status, status, "{query}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.header("x-request-id"), "r-17");
        let problem = answer.json();
        assert_eq!(problem["type"], format!("urn:forewarn:problem:{kind}"));
        assert_eq!((&problem["status"], &problem["instance"]), (&json!(status), &json!("r-17")));
        assert!(!answer.text().contains("secret") && !answer.text().contains("disk"), "{}", answer.text());
        if query == "syntax" {
            assert_eq!((&problem["line"], &problem["column"]), (&json!(1), &json!(7)));
        }
    }
    let without = World::new().await;
    let answer = without.ask("analyst", "POST /v1/sql", json!({"query": "select 1"})).await;
    assert_eq!(answer.status, 503);
}

#[tokio::test]
async fn an_answer_that_breaks_later_breaks_off() {
    let world = world().await;
    let response = world.response("analyst", "POST /v1/sql", &[], &json!({"query": "breaks later"}).to_string()).await;
    assert_eq!(response.status(), 200);
    assert!(axum::body::to_bytes(response.into_body(), 1 << 20).await.is_err());
}
