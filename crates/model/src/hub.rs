//! Models from the Hugging Face Hub, through the cache that all Hugging Face tools share.
//!
//! What is in the cache is used without asking the network, so a machine without one needs only a
//! filled cache: `HF_HOME` (or `HF_HUB_CACHE`) says where, `HF_HUB_OFFLINE=1` forbids asking.

use std::path::PathBuf;

use crate::Error;

/// Branch that is meant when none is named.
const DEFAULT_REVISION: &str = "main";

/// The folder of a repository's snapshot, downloaded if it is not in the cache.
pub(crate) fn fetch(repo: &str, revision: Option<&str>) -> Result<PathBuf, Error> {
    let wanted = Wanted {
        repo,
        revision: revision.unwrap_or(DEFAULT_REVISION),
    };
    wanted.check_name()?;
    fetch_wanted(&wanted)
}

/// Checks that a repository's name and revision could name something, without asking anybody.
///
/// # Errors
/// [`Error::HubName`], saying what a name looks like.
pub fn check_name(repo: &str, revision: Option<&str>) -> Result<(), Error> {
    let revision = revision.unwrap_or(DEFAULT_REVISION);
    Wanted { repo, revision }.check_name()
}

struct Wanted<'a> {
    repo: &'a str,
    revision: &'a str,
}

impl Wanted<'_> {
    fn refuse<T>(&self, message: impl Into<String>) -> Result<T, Error> {
        Err(Error::Hub {
            repo: self.repo.to_owned(),
            revision: self.revision.to_owned(),
            message: message.into(),
        })
    }

    fn bad_name(&self, message: &'static str) -> Result<(), Error> {
        Err(Error::HubName {
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
        let name = format!("models--{}", wanted.repo.replace('/', "--"));
        let folder = cache.path().join(name);
        let commit = std::fs::read_to_string(folder.join("refs").join(wanted.revision));
        let commit = commit.map_or(wanted.revision.to_owned(), |c| c.trim().to_owned());
        // A ref holds a commit; anything else must not become a path.
        let plain = !commit.is_empty() && !commit.contains(['/', '\\', '.']);
        let snapshot = folder.join("snapshots").join(commit);
        (plain && snapshot.is_dir()).then_some(snapshot)
    }

    fn is_complete(snapshot: &Path) -> bool {
        let there = |name: &str| snapshot.join(name).is_file();
        let weights = there(SINGLE)
            || shard_names(&snapshot.join(INDEX))
                .is_ok_and(|names| names.values().all(|shard| there(shard)));
        REQUIRED.iter().all(|name| there(name)) && weights
    }

    fn download(wanted: &Wanted<'_>, cache: Cache) -> Result<PathBuf, Error> {
        let token = cache.token();
        let api = ApiBuilder::from_env()
            .with_cache_dir(cache.path().clone())
            .with_token(std::env::var("HF_TOKEN").ok().or(token))
            .with_progress(false)
            .build();
        let repo = match api {
            Ok(api) => api.repo(Repo::with_revision(
                wanted.repo.to_owned(),
                RepoType::Model,
                wanted.revision.to_owned(),
            )),
            Err(e) => return wanted.refuse(e.to_string()),
        };
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
            Wanted { repo, revision }
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
