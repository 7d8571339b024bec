//! A store that fails: refuses, or does as told and says it did not.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use schemas::table::TableName;
use url::Url;

use super::{
    super::{Lake, LakeError, Settings, durable::Durable},
    bench::{DEADLINE, Running, chunk, count, eager, hot_rows, lazy, pump, pumps, stored, until},
};

/// Fails puts of names that contain `name`, `times` times from the moment it is armed and `passes` of them got through.
#[derive(Debug)]
pub(super) struct Faulty {
    inner: Durable,
    name: &'static str,
    passes: AtomicI64,
    times: AtomicI64,
    /// Whether the put takes place all the same.
    unheard: bool,
}

impl Faulty {
    /// Armed at once.
    pub(super) fn new(inner: Durable, name: &'static str, times: i64, unheard: bool) -> Self {
        Self { inner, name, passes: AtomicI64::new(0), times: AtomicI64::new(times), unheard }
    }

    /// As if the process were killed after so many changes: none takes place any more.
    pub(super) fn killed_after(inner: Durable, changes: i64) -> Self {
        Self { passes: AtomicI64::new(changes), ..Self::new(inner, "", i64::MAX, false) }
    }

    /// Whether it was.
    pub(super) fn was_killed(&self) -> bool {
        self.times.load(Ordering::SeqCst) < i64::MAX
    }

    fn fails(&self, name: &str) -> bool {
        name.contains(self.name)
            && self.passes.fetch_sub(1, Ordering::SeqCst) <= 0
            && self.times.fetch_sub(1, Ordering::SeqCst) > 0
    }
}

fn dead() -> Error {
    Error::Generic { store: "Faulty", source: "the line went dead".into() }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let fails = self.fails(location.as_ref());
        if !fails || self.unheard {
            let result = self.inner.put_opts(location, payload, opts).await;
            if !fails {
                return result;
            }
        }
        Err(dead())
    }
    async fn put_multipart_opts(&self, to: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        if self.name.is_empty() && self.fails(to.as_ref()) {
            return Err(dead());
        }
        self.inner.put_multipart_opts(to, options).await
    }
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }
    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        if self.name.is_empty() && self.fails("") {
            return futures::stream::iter([Err(dead())]).boxed();
        }
        self.inner.delete_stream(locations)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

struct Bench {
    folder: tempfile::TempDir,
    store: Arc<Faulty>,
    registry: Registry,
    lake: Running,
}

/// A lake that works until it is opened, then fails as said.
async fn start(name: &'static str, times: i64, unheard: bool, settings: Settings) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Faulty::new(Durable::default(), name, 0, unheard));
    let root = Url::from_directory_path(folder.path().canonicalize().unwrap()).unwrap();
    let mut registry = Registry::default();
    let lake = Lake::open_on(store.clone(), &root, &pumps(), settings, &mut registry).await.unwrap();
    store.times.store(times, Ordering::SeqCst);
    Bench { folder, store, registry, lake: Running::start(lake) }
}

fn metric(registry: &Registry, line: &str) -> Option<String> {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    text.lines().find_map(|is| is.strip_prefix(line).map(|value| value.trim().to_owned()))
}

fn bytes(bench: &Bench) -> usize {
    let hot = bench.lake.source.snapshot(&TableName::Fault).unwrap().hot;
    hot.iter().map(arrow::array::RecordBatch::get_array_memory_size).sum()
}

async fn check_recovers(name: &'static str, unheard: bool, errors: Option<&str>) {
    let mut bench = start(name, 2, unheard, eager()).await;
    for n in 0..5 {
        bench.lake.send(chunk(&pumps(), &[pump()], n * 10, n * 10 + 10)).await;
    }
    bench.lake.durable(50).await;
    bench.lake.end().await.unwrap();
    assert_eq!(stored(bench.folder.path(), &pump()).await, count(0, 50), "{name} {unheard}");
    let counted = metric(&bench.registry, r#"forewarn_lake_commit_errors_total{table="telemetry_pump"}"#);
    assert_eq!(counted.as_deref(), errors, "{name} {unheard}");
    let rows = metric(&bench.registry, r#"forewarn_lake_committed_rows_total{table="telemetry_pump"}"#);
    assert_eq!(rows.as_deref(), Some("50"));
    let hot = metric(&bench.registry, r#"forewarn_lake_hot_rows{table="telemetry_pump"}"#);
    assert_eq!(hot.as_deref(), Some("0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_log_entry_is_tried_again() {
    check_recovers("telemetry_pump/_delta_log", false, Some("2")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_reply_to_a_log_entry_doubles_nothing() {
    check_recovers("telemetry_pump/_delta_log", true, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_file_is_written_again() {
    check_recovers("telemetry_pump/date", false, Some("2")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_reply_to_a_file_takes_another_name() {
    check_recovers("telemetry_pump/date", true, Some("2")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_table_holds_back_the_cursor_and_nothing_else() {
    let settings = Settings { commit_bytes: 1 << 20, ..eager() };
    let mut bench = start("fault/date", i64::MAX, false, settings).await;
    bench.lake.send(chunk(&pumps(), &[pump()], 0, 10)).await;
    bench.lake.durable(10).await;
    bench.lake.send(chunk(&pumps(), &[TableName::Fault], 10, 20)).await;
    let mut at = 20;
    // A full lake takes nothing more; the channel fills up, and its sender has to wait.
    let full = async {
        let mut next = chunk(&pumps(), &[TableName::Fault], at, at + 1000);
        while bytes(&bench) < 4 << 20 || bench.lake.feed.capacity() > 0 {
            match bench.lake.feed.try_send(next) {
                Ok(()) => {
                    at += 1000;
                    next = chunk(&pumps(), &[TableName::Fault], at, at + 1000);
                }
                Err(refused) => next = refused.into_inner(),
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, full).await.expect("the lake fills up");
    assert_eq!(bench.lake.cursor(), 10);
    assert!(hot_rows(bench.lake.source.as_ref(), &TableName::Fault) > 1000, "hot rows stay visible");
    // It recovers by itself.
    bench.store.times.store(0, Ordering::SeqCst);
    bench.lake.durable(at).await;
    bench.lake.end().await.unwrap();
    assert_eq!(stored(bench.folder.path(), &TableName::Fault).await, count(10, at as i64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_cannot_commit_says_so() {
    let bench = start("fault/date", i64::MAX, false, lazy()).await;
    bench.lake.send(chunk(&pumps(), &[TableName::Fault, pump()], 0, 10)).await;
    bench.lake.hot(&TableName::Fault, 10).await;
    let error = bench.lake.stop().await.unwrap_err();
    assert!(matches!(error, LakeError::Write { table: TableName::Fault, .. }), "{error}");
    assert_eq!(stored(bench.folder.path(), &pump()).await, count(0, 10), "the others are committed");
    assert_eq!(stored(bench.folder.path(), &TableName::Fault).await, count(0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_checkpoint_fails_no_commit() {
    let settings = Settings { checkpoint_every: 2, ..eager() };
    let mut bench = start("checkpoint", i64::MAX, false, settings).await;
    for n in 0..6 {
        bench.lake.send(chunk(&pumps(), &[pump()], n * 10, n * 10 + 10)).await;
        bench.lake.durable(n * 10 + 10).await;
    }
    let errors = || metric(&bench.registry, r#"forewarn_lake_checkpoint_errors_total{table="telemetry_pump"}"#);
    until(|| errors().is_some()).await;
    bench.lake.end().await.unwrap();
    assert_eq!(stored(bench.folder.path(), &pump()).await, count(0, 60));
}
