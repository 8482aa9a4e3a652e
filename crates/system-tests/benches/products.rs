//! Owns where the programs are that a benchmark measures: built as their users have them, with
//! nothing of the tests, which `cargo bench` doesn't do by itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// The folder of the programs, which are built first.
pub static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--locked", "--workspace", "--bins"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .status();
    assert!(built.unwrap().success(), "the programs can't be built");
    let car = Path::new(env!("CARGO_BIN_EXE_sim-car"));
    car.parent().unwrap().to_owned()
});

/// Where one of them is.
pub fn path(name: &str) -> PathBuf {
    FOLDER.join(name)
}
