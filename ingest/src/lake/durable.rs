//! The local folder, with every write on disk before it is told of.
//!
//! In: the writes of deltalake and of ours. Out: files that are complete under their name. Promise: a name appears only
//! after its content is synced, and the call returns only after the folder is synced too; so a power cut leaves no
//! torn log entry and no torn checkpoint. Never: a half-written file under a name that a listing shows.
//!
//! object_store 0.13 never syncs local files (`with_fsync` begins with 0.14, which would split the Arrow types). It also
//! gives a new log entry its name before its content is on disk. Temporary names end in `#` and digits:
//! `LocalFileSystem` leaves those out of its listings.

use std::{
    fmt, fs, io,
    io::Write,
    path::{Path as FilePath, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart, local::LocalFileSystem,
    path::Path,
};

/// `LocalFileSystem` whose writes are synced.
#[derive(Debug, Default)]
pub(super) struct Durable(LocalFileSystem);

impl fmt::Display for Durable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Durable({})", self.0)
    }
}

#[async_trait]
impl ObjectStore for Durable {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let create = match opts.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => {
                let (operation, implementer) = ("conditional update".to_owned(), self.to_string());
                return Err(Error::NotImplemented { operation, implementer });
            }
        };
        put(self.0.path_to_filesystem(location)?, payload.into_iter().collect(), create).await
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(Upload { path: self.0.path_to_filesystem(location)?, parts: Vec::new() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[std::ops::Range<u64>]) -> Result<Vec<Bytes>> {
        self.0.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await?;
        resync(self.0.path_to_filesystem(to)?).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.0.rename_opts(from, to, options).await?;
        resync(self.0.path_to_filesystem(to)?).await
    }
}

/// Collects its parts and writes them at once: what comes this way are checkpoints, a few megabytes each.
#[derive(Debug)]
struct Upload {
    path: PathBuf,
    parts: Vec<Bytes>,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.parts.extend(data);
        Box::pin(async { Ok(()) })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        put(self.path.clone(), std::mem::take(&mut self.parts), false).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.clear();
        Ok(())
    }
}

async fn put(path: PathBuf, content: Vec<Bytes>, create: bool) -> Result<PutResult> {
    let target = path.clone();
    let written = tokio::task::spawn_blocking(move || write(&target, &content, create)).await?;
    written.map(|()| PutResult { e_tag: None, version: None }).map_err(|error| store_error(&path, error))
}

async fn resync(path: PathBuf) -> Result<()> {
    let target = path.clone();
    let synced = tokio::task::spawn_blocking(move || {
        fs::File::open(&target)?.sync_all()?;
        sync_folder(parent(&target)?)
    });
    synced.await?.map_err(|error| store_error(&path, error))
}

fn store_error(path: &FilePath, error: io::Error) -> Error {
    let name = path.display().to_string();
    match error.kind() {
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { path: name, source: Box::new(error) },
        io::ErrorKind::NotFound => Error::NotFound { path: name, source: Box::new(error) },
        _ => Error::Generic { store: "Durable", source: Box::new(error) },
    }
}

fn write(path: &FilePath, content: &[Bytes], create: bool) -> io::Result<()> {
    /// Tells the temporary files of one process apart.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    if create && path.try_exists()? {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let folder = parent(path)?;
    make_folder(folder)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!("#{}{:06}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    let temporary = folder.join(name);
    let written = write_and_name(&temporary, path, content, create);
    if written.is_err() || create {
        // After a link the temporary name is a second one of the same file; after a failure it is rubbish.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    sync_folder(folder)
}

fn write_and_name(temporary: &FilePath, path: &FilePath, content: &[Bytes], create: bool) -> io::Result<()> {
    let mut file = fs::File::create(temporary)?;
    for bytes in content {
        file.write_all(bytes)?;
    }
    file.sync_all()?;
    if create {
        fs::hard_link(temporary, path) // refuses where the name exists; rename would not
    } else {
        fs::rename(temporary, path)
    }
}

fn parent(path: &FilePath) -> io::Result<&FilePath> {
    path.parent().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a path without a folder"))
}

/// Makes a folder and those above it; each new one is synced into the one that holds it.
pub(super) fn make_folder(folder: &FilePath) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_folder(above)?;
        match fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => sync_folder(above)?,
        }
    }
    Ok(())
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &FilePath) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { FilePath::new(".") } else { folder };
    fs::File::open(folder)?.sync_all()
}
