//! Models from the Hugging Face Hub, through its local cache.

use std::path::PathBuf;

use crate::Error;

pub(crate) fn fetch(repo: &str, revision: Option<&str>) -> Result<PathBuf, Error> {
    Err(Error::Hub {
        repo: repo.to_owned(),
        revision: revision.unwrap_or("main").to_owned(),
        message: "fetching was not compiled in: build with `--features hub`, or download the \
                  model and give its folder"
            .to_owned(),
    })
}
