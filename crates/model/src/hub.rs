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
    use std::collections::BTreeSet;
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
        let folder = cache
            .path()
            .join(wanted.repository(wanted.revision).folder_name());
        let commit = std::fs::read_to_string(folder.join("refs").join(wanted.revision));
        let commit = commit.map_or(wanted.revision.to_owned(), |c| c.trim().to_owned());
        // A ref holds a commit; anything else must not become a path.
        let plain = !commit.is_empty() && !commit.contains(['/', '\\', '.']);
        let snapshot = folder.join("snapshots").join(commit);
        (plain && snapshot.is_dir()).then_some(snapshot)
    }

    impl Wanted<'_> {
        fn repository(&self, revision: &str) -> Repo {
            let kind = match self.kind {
                super::DATA_SET => RepoType::Dataset,
                _ => RepoType::Model,
            };
            Repo::with_revision(self.repo.to_owned(), kind, revision.to_owned())
        }

        fn api(&self, cache: &Cache, revision: &str) -> Result<ApiRepo, Error> {
            let token = cache.token();
            let api = ApiBuilder::from_env()
                .with_cache_dir(cache.path().clone())
                .with_token(std::env::var("HF_TOKEN").ok().or(token))
                .with_progress(false)
                .build();
            match api {
                Ok(api) => Ok(api.repo(self.repository(revision))),
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
        let repo = place.api(&cache, place.revision)?;
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
        let info = match wanted.api(&cache, wanted.revision)?.info() {
            Ok(info) => info,
            Err(e) => {
                return wanted.refuse(format!(
                    "{e}; check the name and the network, or give a local folder"
                ));
            }
        };
        // It becomes part of a path.
        if info.sha.is_empty() || !info.sha.bytes().all(|b| b.is_ascii_hexdigit()) {
            return wanted.refuse(format!(
                "the server says that its commit is `{}`, which is none; give a local folder",
                info.sha
            ));
        }
        let commit = wanted.api(&cache, &info.sha)?;
        tracing::info!(
            repo = wanted.repo,
            revision = wanted.revision,
            commit = info.sha.as_str(),
            "fetching"
        );
        let listed: Vec<String> = info.siblings.into_iter().map(|s| s.rfilename).collect();
        let snapshot = fetch_listed(wanted, &listed, &|name| get(wanted, &commit, name))?;
        // Files fetched by commit leave the branch's ref alone: only what is complete is found under its name.
        let branch = cache.repo(wanted.repository(wanted.revision));
        if let Err(e) = branch.create_ref(&info.sha) {
            return wanted.refuse(format!(
                "the revision cannot be noted in the cache {}: {e}; make room or set HF_HUB_CACHE",
                cache.path().display()
            ));
        }
        Ok(snapshot)
    }

    /// Fetches, of the files that a repository has, those that belong to a model; returns their folder. The weights come
    /// last: a snapshot that has them has everything that there is.
    fn fetch_listed(
        wanted: &Wanted<'_>,
        listed: &[String],
        get: &dyn Fn(&str) -> Result<PathBuf, Error>,
    ) -> Result<PathBuf, Error> {
        let there = |name: &str| listed.iter().any(|listed| listed == name);
        if let Some(name) = REQUIRED.into_iter().find(|name| !there(name)) {
            return wanted.refuse(format!(
                "has no {name}; name a repository or revision that has one, or give a local folder"
            ));
        }
        let weights = [SINGLE, INDEX].into_iter().find(|name| there(name));
        let Some(weights) = weights else {
            return wanted.refuse(format!(
                "has neither {SINGLE} nor {INDEX} (pickled .bin weights and GGUF files are not \
                 fetched); name a repository or revision that has one, or give a local path"
            ));
        };
        let optional = OPTIONAL.into_iter().filter(|name| there(name));
        for name in REQUIRED.into_iter().chain(optional) {
            get(name)?;
        }
        let file = get(weights)?;
        if weights == INDEX {
            let shards: BTreeSet<String> = shard_names(&file)?.into_values().collect();
            for shard in shards {
                get(&shard)?;
            }
        }
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
            std::fs::write(snapshot.join(INDEX), r#"{"weight_map": {}}"#).unwrap();
            assert!(fetch(&wanted("org/name", "main"), cache.clone(), true).is_err());
            let index = r#"{"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}"#;
            std::fs::write(snapshot.join(INDEX), index).unwrap();
            std::fs::write(snapshot.join("one.safetensors"), "").unwrap();
            assert!(fetch(&wanted("org/name", "main"), cache.clone(), true).is_err());
            std::fs::write(snapshot.join("two.safetensors"), "").unwrap();
            assert!(fetch(&wanted("org/name", "main"), cache, true).is_ok());
        }

        /// Fetches from a repository that lists these files; `broken` cannot be had. Returns also what was asked for.
        fn fetch_from(listed: &[&str], broken: &str) -> (Result<PathBuf, Error>, Vec<String>) {
            let root = tempfile::tempdir().unwrap();
            let index = r#"{"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}"#;
            std::fs::write(root.path().join(INDEX), index).unwrap();
            let place = wanted("org/name", "main");
            let asked = std::cell::RefCell::new(Vec::new());
            let get = |name: &str| {
                asked.borrow_mut().push(name.to_owned());
                if name == broken {
                    return place.refuse(format!("{name}: broken line"));
                }
                Ok(root.path().join(name))
            };
            let listed: Vec<String> = listed.iter().map(|&name| name.to_owned()).collect();
            let outcome = fetch_listed(&place, &listed, &get);
            let in_root = outcome.inspect(|folder| assert_eq!(folder, root.path()));
            (in_root, asked.take())
        }

        #[test]
        fn files_that_are_listed_are_fetched_and_no_others() {
            let single = ["README.md", SINGLE, "config.json", "tokenizer.json", INDEX];
            let (outcome, asked) = fetch_from(&single, "");
            outcome.unwrap();
            assert_eq!(asked, ["config.json", "tokenizer.json", SINGLE]);

            let sharded = [
                "tokenizer_config.json",
                "chat_template.jinja",
                "config.json",
                "tokenizer.json",
                INDEX,
                "one.safetensors",
                "two.safetensors",
                "three.safetensors",
            ];
            let (outcome, asked) = fetch_from(&sharded, "");
            outcome.unwrap();
            let expected = [
                "config.json",
                "tokenizer.json",
                "tokenizer_config.json",
                "chat_template.jinja",
                INDEX,
                "one.safetensors",
                "two.safetensors",
            ];
            assert_eq!(asked, expected);
        }

        #[test]
        fn a_file_that_is_there_and_cannot_be_had_is_an_error() {
            let listed = [
                "config.json",
                "tokenizer.json",
                "tokenizer_config.json",
                SINGLE,
                INDEX,
            ];
            for broken in &listed[..4] {
                let (outcome, asked) = fetch_from(&listed, broken);
                let message = outcome.unwrap_err().to_string();
                assert!(message.contains(broken), "{message}");
                assert!(message.contains("broken line"), "{message}");
                // Nothing after it: the weights would make the snapshot count as complete.
                assert_eq!(asked.last().unwrap(), broken);
            }
        }

        #[test]
        fn a_repository_without_a_needed_file_is_refused_before_fetching() {
            for (listed, named) in [
                (&["tokenizer.json", SINGLE][..], "config.json"),
                (&["config.json", SINGLE][..], "tokenizer.json"),
                (
                    &["config.json", "tokenizer.json", "pytorch_model.bin"][..],
                    SINGLE,
                ),
            ] {
                let (outcome, asked) = fetch_from(listed, "");
                let message = outcome.unwrap_err().to_string();
                assert!(message.contains(named), "{message}");
                assert!(asked.is_empty(), "{asked:?}");
            }
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
