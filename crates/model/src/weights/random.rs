//! Freshly drawn weights, the same on every backend and in every order of use.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rayon::prelude::*;

use super::TensorSource;
use crate::{Error, LlamaConfig};

/// Draws each tensor from its own stream, keyed by seed and name: norms are ones, everything else
/// is normal with the configuration's deviation.
pub(crate) struct Random<'a> {
    pub(crate) seed: u64,
    pub(crate) config: &'a LlamaConfig,
}

/// Values per stream; streams are drawn in parallel.
const CHUNK: usize = 1 << 14;

impl TensorSource for Random<'_> {
    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let count = shape.iter().product();
        if shape.len() == 1 {
            return Ok(vec![1.0; count]);
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_le_bytes());
        hasher.update(name.as_bytes());
        let key = *hasher.finalize().as_bytes();
        let deviation = self.config.initializer_range as f32;
        let mut values = vec![0.0f32; count];
        values
            .par_chunks_mut(CHUNK)
            .enumerate()
            .for_each(|(stream, chunk)| {
                let mut rng = ChaCha8Rng::from_seed(key);
                rng.set_stream(stream as u64);
                for pair in chunk.chunks_mut(2) {
                    let drawn = normal_pair(&mut rng);
                    for (value, z) in pair.iter_mut().zip(drawn) {
                        *value = z * deviation;
                    }
                }
            });
        Ok(values)
    }

    fn contains(&self, _name: &str) -> bool {
        true
    }
}

/// Box and Muller's transform; 24 random bits each are as many as a float32 holds.
fn normal_pair(rng: &mut ChaCha8Rng) -> [f32; 2] {
    let uniform = |bits: u32| ((bits >> 8) as f32 + 0.5) / (1u32 << 24) as f32;
    let radius = (-2.0 * uniform(rng.next_u32()).ln()).sqrt();
    let angle = 2.0 * std::f32::consts::PI * uniform(rng.next_u32());
    [radius * angle.cos(), radius * angle.sin()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_normal_and_keyed_by_seed_and_name() {
        let config = LlamaConfig::new(50, 16, 24, 1, 2, 2);
        let draw = |seed, name: &str| {
            let source = Random {
                seed,
                config: &config,
            };
            source.read(name, &[200, 301]).unwrap()
        };
        let values = draw(1, "a");
        let n = values.len() as f32;
        let mean = values.iter().sum::<f32>() / n;
        let square = values.iter().map(|v| v * v).sum::<f32>() / n;
        assert!(mean.abs() < 3e-4, "{mean}");
        assert!((square.sqrt() - 0.02).abs() < 3e-4, "{}", square.sqrt());
        assert_eq!(values, draw(1, "a"));
        assert_ne!(values, draw(2, "a"));
        assert_ne!(values, draw(1, "b"));
    }
}
