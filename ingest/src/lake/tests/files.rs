//! What lies in the folder: synced files, checkpoints, statistics.

use std::{fs, path::Path as FilePath, sync::Arc};

use arrow::{
    array::{Float64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use futures::StreamExt;
use object_store::{Error, MultipartUpload, ObjectStore, PutMode, path::Path};
use serde_json::Value;

use super::{
    super::{Settings, durable::Durable, stats::stats},
    bench::{Running, chunk, count, eager, lazy, open, pump, pumps, stored},
};

fn log(root: &FilePath) -> Vec<String> {
    let folder = root.join(pump().to_string()).join("_delta_log");
    let mut names =
        Vec::from_iter(fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()));
    names.sort();
    names
}

async fn commits(root: &FilePath, settings: Settings, from: u64, to: u64) {
    let profiles = pumps();
    let mut lake = Running::start(open(root, &profiles, settings).await.unwrap());
    for at in from..to {
        lake.send(chunk(&profiles, &[pump()], at, at + 1)).await;
        lake.durable(at + 1).await;
    }
    lake.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_comes_every_few_versions() {
    let folder = tempfile::tempdir().unwrap();
    commits(folder.path(), Settings { checkpoint_every: 5, ..eager() }, 0, 21).await;
    let names = log(folder.path());
    let checkpoints = names.iter().filter(|name| name.contains(".checkpoint")).count();
    assert_eq!((checkpoints, names.iter().filter(|name| name.ends_with(".json")).count()), (4, 22), "{names:?}");
    assert!(names.iter().all(|name| !name.contains('#')), "no temporary file is left: {names:?}");
    assert_eq!(stored(folder.path(), &pump()).await, count(0, 21));

    // Entries that a checkpoint replaces go when they are old enough; the table can still be opened and read.
    let forgetful = Settings { checkpoint_every: 5, log_retention: std::time::Duration::ZERO, ..eager() };
    commits(folder.path(), forgetful, 21, 30).await;
    let names = log(folder.path());
    assert!(!names.contains(&format!("{:020}.json", 0)), "{names:?}");
    commits(folder.path(), lazy(), 30, 30).await;
    assert_eq!(stored(folder.path(), &pump()).await, count(0, 30));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_hundred_small_commits_open_quickly() {
    let folder = tempfile::tempdir().unwrap();
    commits(folder.path(), eager(), 0, 600).await;
    let started = tokio::time::Instant::now();
    let lake = open(folder.path(), &pumps(), lazy()).await.unwrap();
    let took = started.elapsed();
    assert_eq!(lake.committed().len(), 1);
    println!("opened after 600 commits in {took:?}");
    // Milliseconds when alone; the bound leaves room for a busy machine.
    assert!(took.as_secs() < 10, "{took:?}");
}

/// A runtime of one thread runs other code in deltalake's engine.
#[tokio::test]
async fn one_thread_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    commits(folder.path(), Settings { checkpoint_every: 3, ..eager() }, 0, 10).await;
    assert_eq!(stored(folder.path(), &pump()).await, count(0, 10));
}

#[tokio::test]
async fn a_name_is_given_once_and_only_to_complete_files() {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::from_absolute_path(folder.path().canonicalize().unwrap()).unwrap();
    let (store, name) = (Durable::default(), root.clone().join("a").join("b.json"));
    store.put_opts(&name, "one".into(), PutMode::Create.into()).await.unwrap();
    let refused = store.put_opts(&name, "two".into(), PutMode::Create.into()).await.unwrap_err();
    assert!(matches!(refused, Error::AlreadyExists { .. }), "{refused}");
    let read = async || {
        let got = store.get_opts(&name, Default::default()).await.unwrap();
        got.bytes().await.unwrap()
    };
    assert_eq!(read().await, "one");
    store.put_opts(&name, "three".into(), PutMode::Overwrite.into()).await.unwrap();
    assert_eq!(read().await, "three");
    let mut upload = store.put_multipart_opts(&name, Default::default()).await.unwrap();
    let parts = [upload.put_part("fo".into()), upload.put_part("ur".into())];
    futures::future::try_join_all(parts).await.unwrap();
    upload.complete().await.unwrap();
    assert_eq!(read().await, "four");
    let listed = store.list(Some(&root)).count().await;
    assert_eq!((listed, fs::read_dir(folder.path().join("a")).unwrap().count()), (1, 1));
}

/// Of twenty writers of one log entry one wins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_racing_writers_make_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::from_absolute_path(folder.path().canonicalize().unwrap()).unwrap();
    let (store, name) = (Arc::new(Durable::default()), root.join("1.json"));
    let writers = (0..20).map(|n| {
        let (store, name) = (store.clone(), name.clone());
        tokio::spawn(async move { store.put_opts(&name, n.to_string().into(), PutMode::Create.into()).await.is_ok() })
    });
    let won = futures::future::join_all(writers).await.into_iter().filter(|won| *won.as_ref().unwrap()).count();
    assert_eq!(won, 1);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_bound_that_cannot_be_exact_is_left_out() {
    let long = "x".repeat(200);
    let check = |numbers: [Option<f64>; 3], texts: [Option<&str>; 3], wanted: Value| {
        let schema = Schema::new(vec![Field::new("v", DataType::Float64, true), Field::new("s", DataType::Utf8, true)]);
        let columns: Vec<arrow::array::ArrayRef> =
            vec![Arc::new(Float64Array::from(numbers.to_vec())), Arc::new(StringArray::from(texts.to_vec()))];
        let rows = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&stats(&rows)).unwrap(), wanted);
    };
    check(
        [Some(2.0), None, Some(-1.5)],
        [Some("b"), Some("ä"), Some("a")],
        serde_json::json!({"numRecords": 3, "minValues": {"v": -1.5, "s": "a"}, "maxValues": {"v": 2.0, "s": "ä"},
            "nullCount": {"v": 1, "s": 0}}),
    );
    check(
        [Some(2.0), Some(f64::NAN), None],
        [Some(&long), None, None],
        serde_json::json!({"numRecords": 3, "minValues": {}, "maxValues": {}, "nullCount": {"v": 1, "s": 2}}),
    );
    check(
        [None; 3],
        [None; 3],
        serde_json::json!({"numRecords": 3, "minValues": {}, "maxValues": {}, "nullCount": {"v": 3, "s": 3}}),
    );
}
