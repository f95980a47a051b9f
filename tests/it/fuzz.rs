//! The corpus of the fuzz targets, replayed by every run of the tests. `scripts/fuzz.sh` looks for more.

#[allow(unreachable_pub, reason = "the fuzz targets are a crate of their own")]
#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::{fs, panic, path::Path};

type Target = (&'static str, fn(&[u8]));

#[test]
fn nothing_in_the_corpus_breaks_what_is_promised() {
    let targets: [Target; 5] = [
        ("host_payload", targets::host_payload),
        ("manifest", targets::manifest),
        ("api_body", targets::api_body),
        ("next_link", targets::next_link),
        ("app_answer", targets::app_answer),
    ];
    for (name, target) in targets {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let mut broken = Vec::new();
        let mut inputs = 0;
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let input = fs::read(&path).unwrap();
            if panic::catch_unwind(|| target(&input)).is_err() {
                broken.push(path);
            }
            inputs += 1;
        }
        assert!(inputs >= 3 && broken.is_empty(), "{name} has a corpus of {inputs}; broken by {broken:?}");
    }
}
