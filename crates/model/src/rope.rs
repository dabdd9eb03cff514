//! Rotary position embeddings in the layout of Hugging Face checkpoints: the first half of a head
//! is turned against the second half ("rotate half"), not neighbours against each other.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::{LlamaConfig, config::RopeScaling};

/// Cosines and sines of every position up to a limit.
///
/// Angles are computed as transformers does, frequencies and products rounded to float32, so that
/// far positions agree with the models' training and not only with mathematics.
#[derive(Debug, Clone)]
pub struct Rope {
    /// `[positions, head_dim / 2]`
    cos: Tensor<2>,
    /// `[positions, head_dim / 2]`
    sin: Tensor<2>,
}

/// Cosines and sines of chosen positions, shaped to broadcast against heads.
#[derive(Debug, Clone)]
pub(crate) struct Angles {
    /// `[batch or 1, 1, time, head_dim / 2]`, or `[batch, 1, 1, head_dim / 2]` for one step
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl Rope {
    /// The table for positions `0..positions`.
    ///
    /// `device` must be the model's, autodiff included where the model has it.
    #[must_use]
    pub fn new(config: &LlamaConfig, positions: usize, device: &Device) -> Self {
        let (cos, sin) = rope_tables(config, positions);
        let table = |values: Vec<f32>| {
            let data = TensorData::new(values, [positions, config.head_dim / 2]);
            Tensor::<2>::from_data(data, device)
        };
        Rope {
            cos: table(cos),
            sin: table(sin),
        }
    }

    /// Number of positions in the table.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.cos.dims()[0]
    }

    /// Positions `0..time`, for every row of the batch.
    pub(crate) fn prefix(&self, time: usize) -> Angles {
        let pick = |table: &Tensor<2>| table.clone().narrow(0, 0, time).unsqueeze::<4>();
        Angles {
            cos: pick(&self.cos),
            sin: pick(&self.sin),
        }
    }

    /// The given position of every cell.
    ///
    /// # Shapes
    /// - positions: `[batch, time]`
    pub(crate) fn at(&self, positions: Tensor<2, Int>) -> Angles {
        let [batch, time] = positions.dims();
        let flat = positions.reshape([batch * time]);
        let pick = |table: &Tensor<2>| {
            let half = table.dims()[1];
            let rows = table.clone().select(0, flat.clone());
            rows.reshape([batch, 1, time, half])
        };
        Angles {
            cos: pick(&self.cos),
            sin: pick(&self.sin),
        }
    }
}

impl Angles {
    /// For heads of another type of number than float32.
    pub(crate) fn cast(self, dtype: DType) -> Self {
        Angles {
            cos: self.cos.cast(dtype),
            sin: self.sin.cast(dtype),
        }
    }

    /// Turns heads to their positions.
    ///
    /// # Shapes
    /// - x: `[batch, heads, time, head_dim]`, or `[batch, beams, heads, head_dim]` for one step
    /// - output: as `x`
    pub(crate) fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        let half = x.dims()[3] / 2;
        let first = x.clone().narrow(3, 0, half);
        let second = x.narrow(3, half, half);
        let turned_first = first.clone() * self.cos.clone() - second.clone() * self.sin.clone();
        let turned_second = second * self.cos.clone() + first * self.sin.clone();
        Tensor::cat(vec![turned_first, turned_second], 3)
    }
}

/// Cosines and sines of positions `0..positions` as plain numbers, `[positions, head_dim / 2]` each.
#[must_use]
pub fn rope_tables(config: &LlamaConfig, positions: usize) -> (Vec<f32>, Vec<f32>) {
    let frequencies = inverse_frequencies(config);
    let angles = (0..positions).flat_map(|p| frequencies.iter().map(move |f| p as f32 * f));
    angles.map(|angle| (angle.cos(), angle.sin())).unzip()
}

/// What a scaling divides each frequency by.
pub(crate) fn divisors(config: &LlamaConfig, scaling: &RopeScaling) -> Vec<f32> {
    plain_frequencies(config)
        .map(|plain| plain / scale(plain, Some(scaling)))
        .collect()
}

/// One frequency per pair, `head_dim / 2` of them, after scaling.
fn inverse_frequencies(config: &LlamaConfig) -> Vec<f32> {
    plain_frequencies(config)
        .map(|plain| scale(plain, config.rope_scaling.as_ref()))
        .collect()
}

fn plain_frequencies(config: &LlamaConfig) -> impl Iterator<Item = f32> {
    (0..config.head_dim / 2).map(|i| {
        let exponent = (2 * i) as f32 / config.head_dim as f32;
        1.0 / (config.rope_theta.powf(f64::from(exponent))) as f32
    })
}

fn scale(frequency: f32, scaling: Option<&RopeScaling>) -> f32 {
    match scaling {
        None => frequency,
        Some(RopeScaling::Linear { factor }) => frequency / *factor as f32,
        Some(RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        }) => {
            let context = *original_max_position_embeddings as f64;
            let wavelength = f64::from(2.0 * std::f32::consts::PI / frequency);
            let stretched = frequency / *factor as f32;
            if wavelength < context / high_freq_factor {
                frequency
            } else if wavelength > context / low_freq_factor {
                stretched
            } else {
                let share = ((context / wavelength - low_freq_factor)
                    / (high_freq_factor - low_freq_factor)) as f32;
                (1.0 - share) * stretched + share * frequency
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_scaling_leaves_short_and_stretches_long_wavelengths() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 64,
        };
        // Wavelengths 2 pi and about 6283: well inside and well outside the original context.
        assert_eq!(scale(1.0, Some(&scaling)), 1.0);
        assert_eq!(scale(0.001, Some(&scaling)), 0.001 / 8.0);
        // Wavelength 32 lies between 16 and 64.
        let between = std::f32::consts::PI / 16.0;
        let scaled = scale(between, Some(&scaling));
        assert!(scaled > between / 8.0 && scaled < between, "{scaled}");
    }

    #[test]
    fn rotation_keeps_length_and_depends_on_the_distance_only() {
        let device = crate::device("auto").unwrap();
        let config = LlamaConfig::new(16, 8, 8, 1, 1, 1);
        let rope = Rope::new(&config, 32, &device);
        let head = Tensor::<1>::from_floats([1., -2., 3., 0.5, 2., 1., -1., 4.], &device);
        let at = |p: i32| {
            let position = Tensor::<1, Int>::from_ints([p], &device).reshape([1, 1]);
            rope.at(position).rotate(head.clone().reshape([1, 1, 1, 8]))
        };
        let dot = |a: Tensor<4>, b: Tensor<4>| (a * b).sum().into_scalar::<f32>();
        let near = dot(at(3), at(5));
        let far = dot(at(20), at(22));
        assert!((near - far).abs() < 1e-4, "{near} {far}");
        assert!((dot(at(31), at(31)) - dot(at(0), at(0))).abs() < 1e-4);
        assert!((dot(at(3), at(9)) - near).abs() > 1e-2);
    }
}
