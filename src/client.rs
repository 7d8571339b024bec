//! The API as a program sees it: what `forewarn query`, the replays and the demo's agent use.
//!
//! In: an address and a token. Out: answers, or the problem document's words. Never: a way past the API.

use std::{io::Cursor, path::Path, time::Duration};

use anyhow::Context;
use arrow::{array::RecordBatch, datatypes::SchemaRef, ipc::reader::StreamReader};
use futures::{Stream, StreamExt};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use schemas::door::Progress;
use serde_json::{Value, json};

use crate::dev::Secrets;

/// Longest wait for the head of an answer; a query has its own limit in the server.
const PATIENCE: Duration = Duration::from_secs(120);
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Items of one page.
const PAGE: usize = 500;

/// A server and who we are to it.
#[derive(Debug, Clone)]
pub struct Client {
    base: String,
    token: String,
    http: reqwest::Client,
}

impl Client {
    /// A client of the API at `url`, such as `http://127.0.0.1:8080`.
    pub fn new(url: &str, token: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().connect_timeout(CONNECT).no_proxy().build()?;
        Ok(Self { base: url.trim_end_matches('/').to_owned(), token: token.to_owned(), http })
    }

    /// A client of the server that runs on this `--dev` data folder; none where none answers.
    pub async fn of_running(data: &Path) -> Option<Self> {
        let secrets = Secrets::of(data);
        let address = secrets.addresses().ok()?.http?;
        let client = Self::new(&format!("http://{address}"), &secrets.admin_token().ok()?).ok()?;
        // Another server may listen there by now: the token tells.
        client.get("/v1/devices?limit=1").await.ok()?;
        Some(client)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }

    async fn send(&self, request: RequestBuilder, attempt: &str) -> anyhow::Result<Response> {
        let answer = tokio::time::timeout(PATIENCE, request.send())
            .await
            .with_context(|| format!("{attempt}: no answer for {} s", PATIENCE.as_secs()))?
            .with_context(|| attempt.to_owned())?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        let problem: Value = serde_json::from_str(&text).unwrap_or_default();
        let said = problem["detail"].as_str().or(problem["title"].as_str()).unwrap_or(&text);
        anyhow::bail!("{attempt}: {status}: {said}")
    }

    async fn json(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let mut request = self.request(method.clone(), path);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = self.send(request, &format!("{method} {path}")).await?;
        if answer.status() == StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        answer.json().await.with_context(|| format!("read the answer of {path}"))
    }

    /// GET of a JSON document.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.json(Method::GET, path, None).await
    }

    /// GET of a text, such as a calendar.
    pub async fn text(&self, path: &str) -> anyhow::Result<String> {
        let answer = self.send(self.request(Method::GET, path), &format!("GET {path}")).await?;
        answer.text().await.with_context(|| format!("read the answer of {path}"))
    }

    /// A number that the server counts, by its name in `/metrics`; without labels.
    pub async fn counted(&self, name: &str) -> anyhow::Result<u64> {
        let metrics = self.text("/metrics").await?;
        let count = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let count = count.with_context(|| format!("/metrics has no {name}"))?;
        count.trim().parse().with_context(|| format!("{name} {count}"))
    }

    /// POST of a JSON document.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.json(Method::POST, path, Some(body)).await
    }

    /// PUT of a JSON document.
    pub async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.json(Method::PUT, path, Some(body)).await
    }

    /// PATCH of a JSON document.
    pub async fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.json(Method::PATCH, path, Some(body)).await
    }

    /// Every item of a paged list, such as `/v1/tickets`, whose pages hold them under `items` and continue `after`.
    pub async fn all(&self, path: &str, items: &str) -> anyhow::Result<Vec<Value>> {
        let mut found = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut page = format!("{path}?limit={PAGE}");
            if let Some(after) = &after {
                page.push_str(&format!("&after={after}"));
            }
            let mut answer = self.get(&page).await?;
            match answer[items].take() {
                Value::Array(some) => found.extend(some),
                _ => anyhow::bail!("GET {page}: no {items:?} in the answer"),
            }
            match answer["next"].as_str() {
                Some(next) => after = Some(next.to_owned()),
                None => return Ok(found),
            }
        }
    }

    /// Where the server's pipeline is.
    pub async fn progress(&self) -> anyhow::Result<Progress> {
        // 503 while something is not ready still tells the progress.
        let answer = self.request(Method::GET, "/health/ready").send().await.context("GET /health/ready")?;
        let mut health: Value = answer.json().await.context("read /health/ready")?;
        serde_json::from_value(health["progress"].take()).context("read the progress in /health/ready")
    }

    /// An answer in SQL.
    pub async fn sql(&self, query: &str) -> anyhow::Result<(SchemaRef, Vec<RecordBatch>)> {
        let request = self
            .request(Method::POST, "/v1/sql")
            .header("accept", "application/vnd.apache.arrow.stream")
            .json(&json!({ "query": query }));
        let bytes = self.send(request, "query").await?.bytes().await.context("read the answer of the query")?;
        let reader = StreamReader::try_new(Cursor::new(bytes), None).context("read the answer of the query")?;
        let schema = reader.schema();
        let batches = reader.collect::<Result<_, _>>().context("read the answer of the query")?;
        Ok((schema, batches))
    }

    /// The events from `after` on: the data of each, as JSON.
    pub async fn events(&self, after: Option<&str>) -> anyhow::Result<impl Stream<Item = anyhow::Result<Value>>> {
        let mut request = self.request(Method::GET, "/v1/events").header("accept", "text/event-stream");
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let answer = self.send(request, "GET /v1/events").await?;
        let lines = async_lines(answer.bytes_stream());
        Ok(lines.filter_map(|line| async {
            match line {
                Err(error) => Some(Err(error)),
                Ok(line) => {
                    let data = line.strip_prefix("data:")?;
                    Some(serde_json::from_str(data).context("read an event"))
                }
            }
        }))
    }
}

/// Cuts a body into lines.
fn async_lines<B: AsRef<[u8]>, E: std::error::Error + Send + Sync + 'static>(
    body: impl Stream<Item = Result<B, E>>,
) -> impl Stream<Item = anyhow::Result<String>> {
    let mut rest = Vec::new();
    body.flat_map(move |bytes| {
        let mut lines = Vec::new();
        match bytes {
            Err(error) => lines.push(Err(anyhow::Error::new(error).context("read the events"))),
            Ok(bytes) => {
                rest.extend_from_slice(bytes.as_ref());
                while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = rest.drain(..=end).collect();
                    lines.push(Ok(String::from_utf8_lossy(&line).trim_end().to_owned()));
                }
            }
        }
        futures::stream::iter(lines)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_whole_however_the_body_is_cut() {
        let text = "data: {\"a\":1}\n\ndata: {\"b\":2}\n";
        for cut in 1..text.len() {
            let (left, right) = text.as_bytes().split_at(cut);
            let body = futures::stream::iter([Ok::<_, std::io::Error>(left.to_vec()), Ok(right.to_vec())]);
            let lines: Vec<String> = async_lines(body).map(|line| line.unwrap()).collect().await;
            assert_eq!(lines, ["data: {\"a\":1}", "", "data: {\"b\":2}"], "cut at {cut}");
        }
    }
}
