//! Builds the programs that a benchmark measures as their users have them, without features of the
//! tests: `cargo bench` builds no programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::program::PRODUCTS;

/// Lets [`path`](crate::common::program::path) find the programs in this folder; without one they
/// are built now.
pub fn use_products(folder: Option<PathBuf>) {
    PRODUCTS.get_or_init(|| folder.unwrap_or_else(build));
}

/// Builds the programs now, and returns their folder.
pub fn build() -> PathBuf {
    // A folder of their own: in that of the benchmark, each build would undo the other, whose features differ.
    let car = Path::new(env!("CARGO_BIN_EXE_sim-car"));
    let folder = car.ancestors().nth(2).unwrap().join("programs");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--locked", "--workspace", "--bins"])
        .arg("--target-dir")
        .arg(&folder)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .status();
    assert!(built.unwrap().success(), "the programs can't be built");
    folder.join("release")
}
