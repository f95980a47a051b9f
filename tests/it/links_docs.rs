//! Every link between the documents leads somewhere.

use std::path::{Path, PathBuf};

use crate::format_docs::read;

#[test]
fn every_link_between_documents_leads_to_a_file_and_a_heading() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents = Vec::new();
    for folder in [".", "docs", "docs/decisions", "infra", "simulator"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                documents.push(path);
            }
        }
    }
    assert!(documents.len() > 10);
    let mut broken = Vec::new();
    for document in &documents {
        let text = read(document.to_str().unwrap());
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !link.starts_with("https://") && !leads_somewhere(document, link) {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

fn leads_somewhere(document: &Path, link: &str) -> bool {
    let (file, heading) = link.split_once('#').unwrap_or((link, ""));
    let path: PathBuf = if file.is_empty() { document.to_owned() } else { document.parent().unwrap().join(file) };
    if heading.is_empty() {
        return path.exists();
    }
    path.is_file()
        && read(path.to_str().unwrap()).lines().filter(|line| line.starts_with('#')).any(|line| slug(line) == heading)
}

/// The anchor that is made of a heading.
fn slug(heading: &str) -> String {
    let letters = heading.trim_start_matches('#').trim().chars();
    letters
        .filter_map(|letter| match letter {
            ' ' | '-' => Some('-'),
            letter if letter.is_alphanumeric() => Some(letter.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}
