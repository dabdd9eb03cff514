//! Choosing where tensors live.

use burn::tensor::Device;

use crate::Error;

/// The device of that name: `auto`, `flex`, `tch`, `cuda` or `cuda:N`.
///
/// `auto` takes the first GPU where this build has `cuda` and the machine a GPU, else the
/// portable CPU backend `flex`, else LibTorch on the CPU. `tch:N` is LibTorch on GPU `N`.
///
/// # Errors
/// [`Error::Device`] for a name that means nothing, a backend that was not compiled in (saying
/// which feature would) or a GPU that is not there.
pub fn device(name: &str) -> Result<Device, Error> {
    let refuse = |message: String| {
        Err(Error::Device {
            name: name.to_owned(),
            message,
        })
    };
    let (kind, index) = match name.split_once(':') {
        None => (name, None),
        Some((kind, index)) => match index.parse::<usize>() {
            Ok(index) => (kind, Some(index)),
            Err(_) => return refuse(format!("`{index}` is no device number")),
        },
    };
    let found = match (kind, index) {
        ("auto", None) => auto(),
        ("flex", None) => flex(),
        ("tch", index) => tch(index),
        ("cuda", index) => cuda(index.unwrap_or(0)),
        _ => {
            return refuse(
                "unknown; choose one of auto, flex, tch, tch:N, cuda, cuda:N".to_owned(),
            );
        }
    };
    found.or_else(|message| refuse(message.to_owned()))
}

/// Whether a device of that name is the CPU without LibTorch, so that the CPU engine does better than tensors: `cpu`, `flex`,
/// and `auto` where this build or machine has no GPU.
#[must_use]
pub fn is_cpu(name: &str) -> bool {
    match name {
        "cpu" | "flex" => true,
        "auto" => cuda(0).is_err(),
        _ => false,
    }
}

fn auto() -> Result<Device, &'static str> {
    cuda(0)
        .or_else(|_| flex())
        .or_else(|_| tch(None))
        .map_err(|_| "no backend was compiled in: build with `--features flex`, `tch` or `cuda`")
}

#[cfg(feature = "flex")]
fn flex() -> Result<Device, &'static str> {
    Ok(Device::flex())
}

#[cfg(not(feature = "flex"))]
fn flex() -> Result<Device, &'static str> {
    Err("was not compiled in: build with `--features flex`")
}

// Deprecated upstream, kept as an opt-in and a cross-check until its replacement is as fast.
#[cfg(feature = "tch")]
#[allow(deprecated)]
fn tch(index: Option<usize>) -> Result<Device, &'static str> {
    Ok(match index {
        None => Device::libtorch(),
        Some(index) => Device::libtorch_cuda(index),
    })
}

#[cfg(not(feature = "tch"))]
fn tch(_index: Option<usize>) -> Result<Device, &'static str> {
    Err("was not compiled in: run scripts/libtorch.sh, then build with `--features tch`")
}

#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<Device, &'static str> {
    use burn::tensor::DeviceType;
    // Listing devices loads the driver, which panics inside the backend where there is none.
    let found = std::panic::catch_unwind(|| Device::enumerate(DeviceType::Cuda).into_vec().len());
    match found {
        Ok(count) if index < count => Ok(Device::cuda(index)),
        Ok(_) => Err("no such GPU on this machine"),
        Err(_) => Err("the CUDA driver could not be loaded on this machine"),
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda(_index: usize) -> Result<Device, &'static str> {
    Err("was not compiled in: build with `--features cuda`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_understood_or_explained() {
        assert!(device("auto").is_ok());
        for name in ["gpu", "", "cuda:x", "cuda:", "flex:1", "auto:0"] {
            let message = device(name).unwrap_err().to_string();
            assert!(message.contains(&format!("`{name}`")), "{message}");
        }
    }

    #[cfg(not(feature = "tch"))]
    #[test]
    fn backends_that_were_not_built_say_how_to_build_them() {
        let message = device("tch").unwrap_err().to_string();
        assert!(message.contains("--features tch"), "{message}");
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_gpu_needs_its_feature() {
        let message = device("cuda:1").unwrap_err().to_string();
        assert!(message.contains("--features cuda"), "{message}");
    }
}
