//! What is in the directory, in the order of the blobs' names.

use std::collections::BinaryHeap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::is_absence;
use crate::store::{Entry, check_name, is_listed};

/// Rows of a listing that are read in one go.
const BATCH: usize = 256;

/// How many names of one directory are held at once: a vault can have 100,000 items of a kind. What follows them is read
/// when they have passed.
const NAMES: usize = 16 * 1024;

/// A listing: reads one directory at a time, in the order of the names.
pub(super) struct Walk {
    root: PathBuf,
    prefix: String,
    after: Option<String>,
    /// What is yet to be visited, the next one last: in a folder, whose name ends with `/` unless it is the root.
    pending: Vec<(Arc<str>, Visit)>,
    names: usize,
}

enum Visit {
    /// A blob, or a folder if its name ends with `/`. Without the name of the folder it is in, because many are held.
    Child(String),
    /// All children whose names are greater.
    Behind(String),
}

impl Walk {
    pub(super) fn new(root: &Path, prefix: &str, after: Option<&str>) -> Self {
        Self {
            root: root.to_owned(),
            prefix: prefix.to_owned(),
            after: after.map(str::to_owned),
            pending: vec![(Arc::default(), Visit::Behind(String::new()))],
            names: NAMES,
        }
    }

    /// The next rows; none at the end.
    pub(super) fn next_batch(&mut self) -> io::Result<Vec<Entry>> {
        let mut batch = Vec::new();
        while batch.len() < BATCH
            && let Some((folder, visit)) = self.pending.pop()
        {
            let name = match visit {
                Visit::Child(child) => [&*folder, &child].concat(),
                Visit::Behind(last) => {
                    self.open(folder, &last)?;
                    continue;
                }
            };
            if name.ends_with('/') {
                self.open(name.into(), "")?;
                continue;
            }
            match fs::symlink_metadata(self.root.join(&name)) {
                // The time of the last change, which copies keep, unlike that of the birth. Nothing changes a blob.
                Ok(found) => batch.push(Entry { name, size: found.len(), created: found.modified()?.into() }),
                Err(error) if is_absence(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(batch)
    }

    fn open(&mut self, folder: Arc<str>, behind: &str) -> io::Result<()> {
        let wanted = |child: &str| child > behind && self.leads_to_rows(&[&*folder, child].concat());
        let children = children(&self.root, &folder, self.names, wanted)?;
        if children.len() == self.names {
            self.pending.extend(children.last().map(|last| (folder.clone(), Visit::Behind(last.clone()))));
        }
        self.pending.extend(children.into_iter().rev().map(|child| (folder.clone(), Visit::Child(child))));
        Ok(())
    }

    fn leads_to_rows(&self, name: &str) -> bool {
        if !name.ends_with('/') {
            return is_listed(name, &self.prefix, self.after.as_deref());
        }
        let passed = |after: &String| name < after.as_str() && !after.starts_with(name);
        (name.starts_with(&self.prefix) || self.prefix.starts_with(name)) && !self.after.as_ref().is_some_and(passed)
    }
}

/// The folders right below `prefix` that hold a blob, however deep.
pub(super) fn folders(root: &Path, prefix: &str) -> io::Result<Vec<String>> {
    let mut folders = Vec::new();
    for child in children(root, prefix, usize::MAX, |_| true)? {
        if let Some(folder) = child.strip_suffix('/')
            && holds_blob(root, &format!("{prefix}{child}"))?
        {
            folders.push(folder.to_owned());
        }
    }
    Ok(folders)
}

/// The first `most` of what is wanted in the folder, in the order of the blobs: files by their name, folders by their
/// name with `/`. Leaves out what is not ours. A folder that vanished is empty; the root must be there, or a wrong path
/// would look like a store without backups.
fn children(root: &Path, folder: &str, most: usize, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<String>> {
    if !folder.is_empty() && check_name(folder.trim_end_matches('/')).is_err() {
        return Ok(Vec::new());
    }
    let entries = match fs::read_dir(root.join(folder)) {
        Err(error) if is_absence(&error) && !folder.is_empty() => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = BinaryHeap::new();
    for entry in entries {
        let entry = entry?;
        let Ok(mut name) = entry.file_name().into_string() else { continue };
        let kind = entry.file_type()?;
        if check_name(&name).is_err() || !(kind.is_file() || kind.is_dir()) {
            continue;
        }
        if kind.is_dir() {
            name.push('/');
        }
        if wanted(&name) {
            names.push(name);
            if names.len() > most {
                names.pop();
            }
        }
    }
    Ok(names.into_sorted_vec())
}

fn holds_blob(root: &Path, folder: &str) -> io::Result<bool> {
    for child in children(root, folder, usize::MAX, |_| true)? {
        if !child.ends_with('/') || holds_blob(root, &format!("{folder}{child}"))? {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_makes_no_difference_how_many_names_of_a_folder_are_held() {
        let root = tempfile::tempdir().unwrap();
        let mut written = Vec::new();
        for number in 0..40 {
            let name = format!("{}/{}{number}", ["a", "a-b", "a/b", "c"][number % 4], ["", "x/", "y-"][number % 3]);
            fs::create_dir_all(root.path().join(&name).parent().unwrap()).unwrap();
            fs::write(root.path().join(&name), "").unwrap();
            written.push(name);
        }
        written.sort_unstable();
        for after in [None, Some("a/b/x/10"), Some("a-b/y-17"), Some("c")] {
            let expected: Vec<&String> =
                written.iter().filter(|name| after.is_none_or(|after| ***name > *after)).collect();
            for names in [1, 2, 3, 7, NAMES] {
                let mut walk = Walk { names, ..Walk::new(root.path(), "", after) };
                let mut listed = Vec::new();
                loop {
                    let batch = walk.next_batch().unwrap();
                    if batch.is_empty() {
                        break;
                    }
                    listed.extend(batch.into_iter().map(|entry| entry.name));
                }
                assert!(listed.iter().eq(expected.iter().copied()), "{names} behind {after:?}: {listed:?}");
            }
        }
    }
}
