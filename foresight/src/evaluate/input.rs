//! Files as they were published: plain, or in zstd; a path that is not there is tried with `.zst`.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use crate::{boost::BoostError, survival::SurvivalError};

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// A file or folder cannot be read.
    #[error("read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("write {path}")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is not of the set's form.
    #[error("{path}: {problem}")]
    Form {
        /// Which.
        path: PathBuf,
        /// Where and what, and what would be legal.
        problem: String,
    },
    /// An argument is out of its range.
    #[error("{field} = {value}: {legal}")]
    Argument {
        /// Which.
        field: &'static str,
        /// As given.
        value: String,
        /// What is legal.
        legal: &'static str,
    },
    /// Nothing could be learnt.
    #[error("learn from {what}")]
    Learn {
        /// Which part of the set.
        what: String,
        /// Why not.
        source: BoostError,
    },
    /// The lifetimes of a table do not tell a law.
    #[error("fit the lifetimes of {path}")]
    Lifetimes {
        /// Which table.
        path: PathBuf,
        /// What they lack.
        source: SurvivalError,
    },
}

impl EvaluateError {
    /// A file of the wrong form.
    pub fn form(path: &Path, problem: impl Into<String>) -> Self {
        Self::Form { path: path.to_owned(), problem: problem.into() }
    }

    /// A file that cannot be read.
    pub fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }
}

/// A file that cannot be written.
pub(super) fn unwritten(path: &Path) -> impl FnOnce(io::Error) -> EvaluateError + use<> {
    let path = path.to_owned();
    move |source| EvaluateError::Write { path, source }
}

/// Opens a file; `x.csv` stands for `x.csv.zst` too where only that is there.
pub fn open(path: &Path) -> Result<Box<dyn BufRead>, EvaluateError> {
    let packed = path.with_file_name(format!("{}.zst", path.file_name().unwrap_or_default().to_string_lossy()));
    let path = if !path.exists() && packed.exists() { &packed } else { path };
    let file = File::open(path).map_err(EvaluateError::read(path))?;
    if path.extension().is_some_and(|extension| extension == "zst") {
        let unpacked = zstd::Decoder::new(file).map_err(EvaluateError::read(path))?;
        return Ok(Box::new(BufReader::with_capacity(1 << 16, unpacked)));
    }
    Ok(Box::new(BufReader::with_capacity(1 << 16, file)))
}

/// The whole of a text file.
pub fn text(path: &Path) -> Result<String, EvaluateError> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text).map_err(EvaluateError::read(path))?;
    Ok(text)
}
