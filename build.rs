//! Finds out what `--version` says of the build: commit, target and compiler. It reads no clock, so that the same commit
//! gives the same bytes wherever it is built.

#![allow(clippy::print_stdout, reason = "a build script tells cargo so")]
#![allow(clippy::disallowed_methods, reason = "a build script is told so")]

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    // Otherwise every commit would have everything compiled anew for the tests.
    let commit = if release { commit() } else { Some("unknown (built for debugging)".to_owned()) };
    println!("cargo::rustc-env=BUILD_COMMIT={}", commit.as_deref().unwrap_or("unknown (built without git)"));
    println!("cargo::rustc-env=BUILD_TARGET={}", env::var("TARGET").unwrap_or_default());
    let compiler = env::var("RUSTC").ok().and_then(|rustc| answer(&rustc, &["--version"]));
    println!("cargo::rustc-env=BUILD_COMPILER={}", compiler.as_deref().unwrap_or("unknown"));
}

/// The commit and its date, and whether the source is another one by now.
fn commit() -> Option<String> {
    // Unpacked within another repository, that one's commits say nothing.
    let here = env::current_dir().ok()?.canonicalize().ok()?;
    if Path::new(&answer("git", &["rev-parse", "--show-toplevel"])?).canonicalize().ok()? != here {
        return None;
    }
    for changes in ["src", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={changes}");
    }
    for name in ["HEAD", "logs/HEAD"] {
        let path = answer("git", &["rev-parse", "--git-path", name])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let commit = answer("git", &["show", "--no-patch", "--format=%H, %cI", "HEAD"])?;
    let changed = answer("git", &["status", "--porcelain", "--", "src", "Cargo.toml", "Cargo.lock", "build.rs"])?;
    Some(if changed.is_empty() { commit } else { format!("{commit}, and changes to it") })
}

fn answer(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
