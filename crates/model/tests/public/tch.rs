//! LibTorch gives the same numbers. Compiled with feature `tch` only; `scripts/libtorch.sh`
//! prepares what it links against.

use burn::tensor::Device;

use crate::common::*;
use syncabel_model::{LlamaConfig, ModelSource, Packing, Rope, Session, device, load};

const TOLERANCE: f32 = 1e-4;

#[test]
fn logits_and_sessions_agree_with_transformers() {
    let tch = device("tch").unwrap();
    for name in ["tied", "untied", "llama3", "linear"] {
        let checkpoint = load(&ModelSource::Folder(fixture(name)), &tch).unwrap();
        assert_eq!(checkpoint.digest, load_folder(name).digest);
        let (model, config) = (&checkpoint.model, &checkpoint.config);
        let expected = Expected::open(&format!("{name}/expected.safetensors"));
        let rows = expected.ids("ids");
        let logits = full_logits(model, config, &rows);
        assert_close(&logits, &expected.floats("logits"), TOLERANCE, name);

        let mut session = Session::new(model, config, &tch);
        session.prefill(&rows, 2, 3).unwrap();
        session.step(&[4, 5, 6, 7], &[0, 0, 1, 1]).unwrap();
        let cached = values(session.step(&[8, 9, 10, 11], &[1, 1, 3, 2]).unwrap());
        for (i, (parent, last)) in [(5, 8), (5, 9), (7, 10), (6, 11)].into_iter().enumerate() {
            let history = [&rows[i / 2][..], &[parent, last]].concat();
            let alone = last_logits(model, config, &history);
            let row = &cached[i * config.vocab_size..][..config.vocab_size];
            assert_close(row, &alone, TOLERANCE, "step");
        }
    }
}

/// Sum of squared logits of a packed batch, and the gradient of the embeddings.
fn gradient(device: Device) -> (f32, Vec<f32>) {
    let device = device.autodiff();
    let config = LlamaConfig::new(64, 16, 24, 2, 4, 2);
    let model = config.init(&device);
    let packing = Packing::from_lengths(&[vec![2, 3]], 5, &device);
    let rope = Rope::new(&config, 5, &device);
    let rows = ids(&[vec![1, 2, 3, 4, 5]], &device);
    let hidden = model.hidden(rows, &rope, Some(&packing));
    let loss = model.logits(hidden.reshape([5, 16])).powi_scalar(2).sum();
    let gradients = loss.backward();
    let first = model.clone();
    let mut finder = FirstGradient(&gradients, None);
    burn::module::Module::visit(&first, &mut finder);
    (loss.into_scalar::<f32>(), finder.1.unwrap())
}

struct FirstGradient<'a>(&'a burn::tensor::Gradients, Option<Vec<f32>>);

impl burn::module::ModuleVisitor for FirstGradient<'_> {
    fn visit_float<const D: usize>(
        &mut self,
        parameter: &burn::module::Param<burn::tensor::Tensor<D>>,
    ) {
        if self.1.is_none() {
            self.1 = parameter.val().grad(self.0).map(values);
        }
    }
}

#[cfg(feature = "flex")]
#[test]
fn training_passes_agree_with_flex() {
    let (a, b) = (
        gradient(device("flex").unwrap()),
        gradient(device("tch").unwrap()),
    );
    assert!((a.0 - b.0).abs() <= 1e-4 * a.0.abs(), "{} {}", a.0, b.0);
    assert_close(&a.1, &b.1, 1e-4, "gradient of the embeddings");
}
