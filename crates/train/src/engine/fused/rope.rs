//! Rotary tables as plain numbers.

use syncabel_model::{LlamaConfig, RopeScaling};

/// Cosines and sines, `[positions, head_dim / 2]` each; angles are rounded to float32 as transformers does.
pub(super) fn tables(config: &LlamaConfig, positions: usize) -> (Vec<f32>, Vec<f32>) {
    let frequencies: Vec<f32> = (0..config.head_dim / 2)
        .map(|pair| frequency(config, pair))
        .collect();
    let angles = (0..positions).flat_map(|p| frequencies.iter().map(move |f| p as f32 * f));
    angles.map(|angle| (angle.cos(), angle.sin())).unzip()
}

fn frequency(config: &LlamaConfig, pair: usize) -> f32 {
    let exponent = (2 * pair) as f32 / config.head_dim as f32;
    let plain = (1.0 / config.rope_theta.powf(f64::from(exponent))) as f32;
    match &config.rope_scaling {
        None => plain,
        Some(RopeScaling::Linear { factor }) => plain / *factor as f32,
        Some(RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        }) => {
            let turns =
                *original_max_position_embeddings as f64 * f64::from(plain) / std::f64::consts::TAU;
            let share = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor))
                .clamp(0.0, 1.0) as f32;
            (1.0 - share) * plain / *factor as f32 + share * plain
        }
    }
}
