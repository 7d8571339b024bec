//! Functions through the engine, as an analyst calls them.

use super::*;

async fn ask(sql: &str) -> Result<Vec<String>, SqlError> {
    ask_as(&World::new().await.engine(Settings::default()), "acme", sql).await
}

async fn refused(sql: &str) -> String {
    match ask(sql).await {
        Err(SqlError::Invalid(text)) => text,
        other => panic!("{sql}: {other:?}"),
    }
}

#[tokio::test]
async fn limits_of_rates_and_shares() {
    let sql = "select round(r.lower, 4), round(r.upper, 4), round(w.lower, 4), round(w.upper, 4) from \
               (select rate_interval(10, 2) r, wilson_interval(3, 10) w)";
    assert_eq!(ask(sql).await.unwrap(), ["2.3977|9.1952|0.1078|0.6032"]);
    let sql = "select rate_interval(n, e) is null, wilson_interval(n, e, 0.9) is null from \
               (values (null, 1), (0, 0), (1, null), (0, 5)) as t (n, e)";
    assert_eq!(ask(sql).await.unwrap(), ["true|true", "true|true", "true|true", "false|false"]);
    for (sql, says) in [
        ("select rate_interval(-1, 2)", "events is -1; legal is a whole number of at least 0"),
        ("select rate_interval(1.5, 2)", "events is 1.5"),
        ("select rate_interval(1, 0)", "exposure is 0 although there are 1 events"),
        ("select rate_interval(1, 'nan'::double)", "exposure is NaN"),
        ("select wilson_interval(3, 2)", "hits is 3; legal is 0 to cases, which is 2"),
        ("select wilson_interval(3, 4, 95)", "level is 95; legal is above 0 and below 1"),
    ] {
        let text = refused(sql).await;
        assert!(text.contains(says), "{sql}: {text}");
    }
}
