//! A model's parameters as one flat list of numbers, and back.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};
use syncabel_model::Llama;

use crate::Error;

/// Where a tensor lies in the flat list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParamSpec {
    /// Path in the module, such as `model.layers.0.mlp.up_proj.weight`.
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    /// First number in the flat list.
    pub(crate) offset: usize,
}

impl ParamSpec {
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub(crate) fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len()
    }
}

/// Names and shapes of all float parameters in module order.
pub(crate) fn specs(model: &Llama) -> Vec<ParamSpec> {
    let mut visitor = SpecVisitor {
        path: Vec::new(),
        specs: Vec::new(),
        offset: 0,
    };
    model.visit(&mut visitor);
    visitor.specs
}

/// All parameters, one after the other.
pub(crate) fn flatten(model: &Llama) -> Result<Vec<f32>, Error> {
    let mut visitor = FlattenVisitor {
        values: Vec::with_capacity(model.num_params()),
        error: None,
    };
    model.visit(&mut visitor);
    match visitor.error {
        None => Ok(visitor.values),
        Some(message) => Err(Error::Backend {
            action: "read the model's weights",
            message,
        }),
    }
}

/// Puts a flat list into a model with parameters of these shapes; devices and autodiff status stay.
pub(crate) fn unflatten(model: Llama, specs: &[ParamSpec], values: &[f32]) -> Llama {
    model.map(&mut UnflattenMapper {
        values,
        specs: specs.iter(),
    })
}

/// The model with every parameter shrunk to nothing, as a form for [`unflatten`] to fill.
pub(crate) fn hollow(model: Llama) -> Llama {
    model.map(&mut HollowMapper)
}

/// Little-endian bytes of a list of numbers.
pub(crate) fn bytes_of(values: &[f32]) -> std::borrow::Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        // SAFETY: f32 has no padding, every bit pattern is a valid u8, and the alignment of u8 is 1.
        let bytes = unsafe {
            std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values))
        };
        return std::borrow::Cow::Borrowed(bytes);
    }
    std::borrow::Cow::Owned(values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

struct SpecVisitor {
    path: Vec<String>,
    specs: Vec<ParamSpec>,
    offset: usize,
}

impl ModuleVisitor for SpecVisitor {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let shape = param.lazy_shape().to_vec();
        let spec = ParamSpec {
            name: self.path.join("."),
            shape,
            offset: self.offset,
        };
        self.offset += spec.len();
        self.specs.push(spec);
    }
}

struct FlattenVisitor {
    values: Vec<f32>,
    error: Option<String>,
}

impl ModuleVisitor for FlattenVisitor {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        match read(param) {
            Ok(values) => self.values.extend_from_slice(&values),
            Err(message) => self.error = Some(message),
        }
    }
}

fn read<const D: usize>(param: &Param<Tensor<D>>) -> Result<Vec<f32>, String> {
    param
        .val()
        .detach()
        .try_into_vec_as::<f32>()
        .map_err(|error| error.to_string())
}

struct UnflattenMapper<'v> {
    values: &'v [f32],
    specs: std::slice::Iter<'v, ParamSpec>,
}

impl ModuleMapper for UnflattenMapper<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let spec = self.specs.next().expect("one spec a parameter");
        let values = self.values[spec.range()].to_vec();
        let device = param.lazy_device();
        param.map(|old| {
            let tensor = Tensor::from_data(TensorData::new(values, spec.shape.clone()), &device);
            if old.is_require_grad() {
                tensor.require_grad()
            } else {
                tensor
            }
        })
    }
}

struct HollowMapper;

impl ModuleMapper for HollowMapper {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let device = param.lazy_device();
        param.map(|_| Tensor::zeros([1; D], &device))
    }
}
