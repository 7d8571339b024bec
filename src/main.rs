//! `forewarn`: see `forewarn --help` and README.md.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match forewarn::cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
