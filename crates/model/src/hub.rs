//! Models and data sets from the Hugging Face Hub, through the cache that all Hugging Face tools share.
//!
//! A model that is complete in the cache is used without asking the network, so a machine without one
//! needs only a filled cache: `HF_HOME` (or `HF_HUB_CACHE`) says where, `HF_HUB_OFFLINE=1` forbids asking. Whether all
//! files of a data set are in the cache only the network knows: it is asked, unless that is forbidden.

use std::path::PathBuf;

use crate::Error;

/// Branch that is meant when none is named.
const DEFAULT_REVISION: &str = "main";

/// The folder of a repository's snapshot, downloaded if it is not in the cache.
pub(crate) fn fetch(repo: &str, revision: Option<&str>) -> Result<PathBuf, Error> {
    let wanted = Wanted {
        kind: MODEL,
        repo,
        revision: revision.unwrap_or(DEFAULT_REVISION),
    };
    wanted.check_name()?;
    fetch_wanted(&wanted)
}

const MODEL: &str = "model";
const DATA_SET: &str = "data set";

/// The files of a data set's repository whose path in it `wanted` accepts, in the order of those paths, downloaded if they are not in the
/// cache. With `HF_HUB_OFFLINE=1`, those that the cache holds.
///
/// # Errors
/// [`Error::HubName`], [`Error::Hub`]: nothing that is wanted, a network that fails.
pub fn data_set_files(
    repo: &str,
    revision: Option<&str>,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Vec<PathBuf>, Error> {
    check_data_set_name(repo, revision)?;
    let place = Wanted {
        kind: DATA_SET,
        repo,
        revision: revision.unwrap_or(DEFAULT_REVISION),
    };
    let files = data_set(&place, wanted)?;
    if files.is_empty() {
        return place.refuse("has no file that is asked for; look at the names of its files");
    }
    Ok(files)
}

/// As [`check_name`], for a data set.
///
/// # Errors
/// [`Error::HubName`].
pub fn check_data_set_name(repo: &str, revision: Option<&str>) -> Result<(), Error> {
    let revision = revision.unwrap_or(DEFAULT_REVISION);
    let kind = DATA_SET;
    Wanted {
        kind,
        repo,
        revision,
    }
    .check_name()
}

/// Checks that a repository's name and revision could name something, without asking anybody.
///
/// # Errors
/// [`Error::HubName`], saying what a name looks like.
pub fn check_name(repo: &str, revision: Option<&str>) -> Result<(), Error> {
    let revision = revision.unwrap_or(DEFAULT_REVISION);
    let kind = MODEL;
    Wanted {
        kind,
        repo,
        revision,
    }
    .check_name()
}

struct Wanted<'a> {
    kind: &'static str,
    repo: &'a str,
    revision: &'a str,
}

impl Wanted<'_> {
    fn refuse<T>(&self, message: impl Into<String>) -> Result<T, Error> {
        Err(Error::Hub {
            kind: self.kind,
            repo: self.repo.to_owned(),
            revision: self.revision.to_owned(),
            message: message.into(),
        })
    }

    fn bad_name(&self, message: &'static str) -> Result<(), Error> {
        Err(Error::HubName {
            kind: self.kind,
            repo: self.repo.to_owned(),
            revision: self.revision.to_owned(),
            message,
        })
    }

    /// A name becomes part of a path, so nothing in it may climb out of the cache.
    fn check_name(&self) -> Result<(), Error> {
        let safe = |part: &str| {
            !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', '\0'])
        };
        if !self.repo.split('/').all(safe) || self.repo.split('/').count() > 2 {
            return self.bad_name("is no repository name: write `organisation/name`");
        }
        if !self.revision.split('/').all(safe) {
            return self.bad_name("the revision is no branch, tag or commit");
        }
        Ok(())
    }
}

#[cfg(not(feature = "hub"))]
fn fetch_wanted(wanted: &Wanted<'_>) -> Result<PathBuf, Error> {
    wanted.refuse(
        "fetching was not compiled in: build with `--features hub`, or download the model and \
         give its folder",
    )
}

#[cfg(not(feature = "hub"))]
fn data_set(place: &Wanted<'_>, _: &dyn Fn(&str) -> bool) -> Result<Vec<PathBuf>, Error> {
    place.refuse(
        "fetching was not compiled in: build with `--features hub`, or download the data set and \
         give its folder",
    )
}

#[cfg(feature = "hub")]
fn data_set(place: &Wanted<'_>, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<PathBuf>, Error> {
    online::data_set(place, wanted, online::cache_from_env(), online::offline())
}

#[cfg(feature = "hub")]
fn fetch_wanted(wanted: &Wanted<'_>) -> Result<PathBuf, Error> {
    online::fetch(wanted, online::cache_from_env(), online::offline())
}

#[cfg(feature = "hub")]
mod online {
    use std::path::{Path, PathBuf};

    use hf_hub::api::sync::{ApiBuilder, ApiRepo};
    use hf_hub::{Cache, Repo, RepoType};

    use super::Wanted;
    use crate::Error;
    use crate::weights::safetensors::{INDEX, SINGLE, shard_names};

    /// Without these there is no model.
    const REQUIRED: [&str; 2] = ["config.json", "tokenizer.json"];
    /// These name the special tokens and hold the chat template; many repositories lack one of them.
    const OPTIONAL: [&str; 3] = [
        "tokenizer_config.json",
        "special_tokens_map.json",
        "chat_template.jinja",
    ];

    pub(super) fn cache_from_env() -> Cache {
        for key in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"] {
            if let Some(path) = std::env::var_os(key).filter(|p| !p.is_empty()) {
                return Cache::new(path.into());
            }
        }
        Cache::from_env()
    }

    pub(super) fn offline() -> bool {
        let value = std::env::var("HF_HUB_OFFLINE").unwrap_or_default();
        matches!(
            value.to_ascii_lowercase().as_str(),
            "1" | "true" | "yes" | "on"
        )
    }

    pub(super) fn fetch(
        wanted: &Wanted<'_>,
        cache: Cache,
        offline: bool,
    ) -> Result<PathBuf, Error> {
        if let Some(snapshot) = cached_snapshot(wanted, &cache)
            && is_complete(&snapshot)
        {
            return Ok(snapshot);
        }
        if offline {
            return wanted.refuse(format!(
                "is not complete in the cache {} and HF_HUB_OFFLINE forbids fetching it",
                cache.path().display()
            ));
        }
        download(wanted, cache)
    }

    /// The snapshot folder that a branch, tag or commit stands for.
    fn cached_snapshot(wanted: &Wanted<'_>, cache: &Cache) -> Option<PathBuf> {
        let folder = cache.path().join(wanted.repository().folder_name());
        let commit = std::fs::read_to_string(folder.join("refs").join(wanted.revision));
        let commit = commit.map_or(wanted.revision.to_owned(), |c| c.trim().to_owned());
        // A ref holds a commit; anything else must not become a path.
        let plain = !commit.is_empty() && !commit.contains(['/', '\\', '.']);
        let snapshot = folder.join("snapshots").join(commit);
        (plain && snapshot.is_dir()).then_some(snapshot)
    }

    impl Wanted<'_> {
        fn repository(&self) -> Repo {
            let kind = match self.kind {
                super::DATA_SET => RepoType::Dataset,
                _ => RepoType::Model,
            };
            Repo::with_revision(self.repo.to_owned(), kind, self.revision.to_owned())
        }

        fn api(&self, cache: &Cache) -> Result<ApiRepo, Error> {
            let token = cache.token();
            let api = ApiBuilder::from_env()
                .with_cache_dir(cache.path().clone())
                .with_token(std::env::var("HF_TOKEN").ok().or(token))
                .with_progress(false)
                .build();
            match api {
                Ok(api) => Ok(api.repo(self.repository())),
                Err(e) => self.refuse(e.to_string()),
            }
        }
    }

    pub(super) fn data_set(
        place: &Wanted<'_>,
        wanted: &dyn Fn(&str) -> bool,
        cache: Cache,
        offline: bool,
    ) -> Result<Vec<PathBuf>, Error> {
        let cached = cached_snapshot(place, &cache).map_or(Vec::new(), |s| files_below(&s));
        let cached: Vec<_> = cached
            .into_iter()
            .filter(|(name, _)| wanted(name))
            .collect();
        if offline {
            return Ok(cached.into_iter().map(|(_, path)| path).collect());
        }
        let repo = place.api(&cache)?;
        let info = match repo.info() {
            Ok(info) => info,
            Err(e) => {
                let held = cached.len();
                return place.refuse(format!(
                    "{e}; check the name and the network, or give a local folder; the cache holds {held} of its files, which \
                     HF_HUB_OFFLINE=1 takes as they are"
                ));
            }
        };
        let mut names: Vec<String> = info.siblings.into_iter().map(|s| s.rfilename).collect();
        names.retain(|name| wanted(name));
        names.sort_unstable();
        tracing::info!(
            repo = place.repo,
            revision = place.revision,
            files = names.len(),
            "fetching"
        );
        names.iter().map(|name| get(place, &repo, name)).collect()
    }

    /// Files below a folder with their paths relative to it, in the order of those; what cannot be read is not there.
    fn files_below(root: &Path) -> Vec<(String, PathBuf)> {
        let mut found = Vec::new();
        let mut queue = vec![root.to_owned()];
        while let Some(folder) = queue.pop() {
            let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            for path in entries.map(|entry| entry.path()) {
                if path.is_dir() {
                    queue.push(path);
                } else if let (true, Ok(name)) = (path.is_file(), path.strip_prefix(root)) {
                    found.push((name.to_string_lossy().replace('\\', "/"), path));
                }
            }
        }
        found.sort_unstable();
        found
    }

    fn is_complete(snapshot: &Path) -> bool {
        let there = |name: &str| snapshot.join(name).is_file();
        let weights = there(SINGLE)
            || shard_names(&snapshot.join(INDEX))
                .is_ok_and(|names| names.values().all(|shard| there(shard)));
        REQUIRED.iter().all(|name| there(name)) && weights
    }

    fn download(wanted: &Wanted<'_>, cache: Cache) -> Result<PathBuf, Error> {
        let repo = wanted.api(&cache)?;
        tracing::info!(repo = wanted.repo, revision = wanted.revision, "fetching");
        let mut config = None;
        for name in REQUIRED {
            config = Some(get(wanted, &repo, name)?);
        }
        for name in OPTIONAL {
            // A repository without it is in order; a broken line shows with the next file.
            let _ = repo.get(name);
        }
        if repo.get(SINGLE).is_err() {
            let index = get(wanted, &repo, INDEX)?;
            let shards: std::collections::BTreeSet<String> =
                shard_names(&index)?.into_values().collect();
            for shard in shards {
                get(wanted, &repo, &shard)?;
            }
        }
        let file = config.expect("the list of required files is not empty");
        Ok(file.parent().unwrap_or(Path::new(".")).to_owned())
    }

    fn get(wanted: &Wanted<'_>, repo: &ApiRepo, name: &str) -> Result<PathBuf, Error> {
        repo.get(name).or_else(|e| {
            wanted.refuse(format!(
                "{name}: {e}; check the name and the network, or give a local folder"
            ))
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn wanted<'a>(repo: &'a str, revision: &'a str) -> Wanted<'a> {
            Wanted {
                kind: super::super::MODEL,
                repo,
                revision,
            }
        }

        #[test]
        fn files_of_a_data_set_are_found_in_the_cache() {
            let root = tempfile::tempdir().unwrap();
            let folder = root.path().join("datasets--org--sentences");
            let data = folder.join("snapshots/abc123/data");
            std::fs::create_dir_all(&data).unwrap();
            std::fs::create_dir_all(folder.join("refs")).unwrap();
            std::fs::write(folder.join("refs/main"), "abc123").unwrap();
            for name in ["train-1.parquet", "train-0.parquet", "README.md"] {
                std::fs::write(data.join(name), "").unwrap();
            }
            let place = Wanted {
                kind: super::super::DATA_SET,
                repo: "org/sentences",
                revision: "main",
            };
            let cache = || Cache::new(root.path().to_owned());
            let wanted = |name: &str| name.ends_with(".parquet");
            let found = data_set(&place, &wanted, cache(), true).unwrap();
            let expected = ["train-0.parquet", "train-1.parquet"].map(|name| data.join(name));
            assert_eq!(found, expected);
            let of_model = Wanted {
                kind: super::super::MODEL,
                ..place
            };
            assert!(
                data_set(&of_model, &wanted, cache(), true)
                    .unwrap()
                    .is_empty()
            );
        }

        /// A cache with one complete snapshot, reachable as branch `main`.
        fn cache() -> (tempfile::TempDir, Cache, PathBuf) {
            let root = tempfile::tempdir().unwrap();
            let model = root.path().join("models--org--name");
            let snapshot = model.join("snapshots").join("abc123");
            std::fs::create_dir_all(&snapshot).unwrap();
            std::fs::create_dir_all(model.join("refs")).unwrap();
            std::fs::write(model.join("refs/main"), "abc123\n").unwrap();
            for name in ["config.json", "tokenizer.json", SINGLE] {
                std::fs::write(snapshot.join(name), "{}").unwrap();
            }
            let cache = Cache::new(root.path().to_owned());
            (root, cache, snapshot)
        }

        #[test]
        fn branches_and_commits_are_found_in_the_cache() {
            let (_root, cache, snapshot) = cache();
            for revision in ["main", "abc123"] {
                let found = fetch(&wanted("org/name", revision), cache.clone(), true);
                assert_eq!(found.unwrap(), snapshot, "{revision}");
            }
        }

        #[test]
        fn what_is_not_cached_is_an_error_offline() {
            let (_root, cache, snapshot) = cache();
            for (repo, revision) in [("org/other", "main"), ("org/name", "v2")] {
                let error = fetch(&wanted(repo, revision), cache.clone(), true).unwrap_err();
                assert!(error.to_string().contains("HF_HUB_OFFLINE"), "{error}");
            }
            std::fs::remove_file(snapshot.join(SINGLE)).unwrap();
            assert!(fetch(&wanted("org/name", "main"), cache.clone(), true).is_err());
            let index = r#"{"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}"#;
            std::fs::write(snapshot.join(INDEX), index).unwrap();
            std::fs::write(snapshot.join("one.safetensors"), "").unwrap();
            assert!(fetch(&wanted("org/name", "main"), cache.clone(), true).is_err());
            std::fs::write(snapshot.join("two.safetensors"), "").unwrap();
            assert!(fetch(&wanted("org/name", "main"), cache, true).is_ok());
        }

        #[test]
        fn names_cannot_leave_the_cache() {
            for (repo, revision) in [
                ("../../etc", "main"),
                ("org/..", "main"),
                ("a/b/c", "main"),
                ("", "main"),
                ("org/name", "../../x"),
                ("org/name", ""),
            ] {
                assert!(super::super::fetch(repo, Some(revision)).is_err(), "{repo}");
            }
        }
    }
}
