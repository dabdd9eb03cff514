//! Compiles a kernel several times, for the vector units a CPU may have, and picks one at run time.
//!
//! Kernels use plain multiplications and additions, never a fused one, and fixed numbers of partial sums, so every
//! version computes the same bits.

/// Defines functions whose bodies are compiled for AVX-512, AVX2 and the baseline.
#[macro_export]
macro_rules! multiversion {
    ($($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $out:ty)? $body:block)*) => {$(
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name($($arg: $ty),*) $(-> $out)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body($($arg: $ty),*) $(-> $out)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw")]
                #[allow(clippy::too_many_arguments)]
                fn wide($($arg: $ty),*) $(-> $out)? { body($($arg),*) }

                #[target_feature(enable = "avx2")]
                #[allow(clippy::too_many_arguments)]
                fn middle($($arg: $ty),*) $(-> $out)? { body($($arg),*) }

                if std::arch::is_x86_feature_detected!("avx512f")
                    && std::arch::is_x86_feature_detected!("avx512vl")
                    && std::arch::is_x86_feature_detected!("avx512dq")
                    && std::arch::is_x86_feature_detected!("avx512bw")
                {
                    // SAFETY: the features were detected just above.
                    return unsafe { wide($($arg),*) };
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the feature was detected just above.
                    return unsafe { middle($($arg),*) };
                }
            }
            body($($arg),*)
        }
    )*};
}

/// Partial sums of a reduction: one AVX-512 register of float32.
pub const LANES: usize = 16;

/// `exp` to within a few units in the last place (a relative error below 2.5e-7), without branches so that it vectorises. From -87 down it
/// is `exp(-87)`, from 88 up `exp(88)`.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding and subtracting 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    // ln 2 in two parts, the first with few enough bits that its products are exact.
    let rest = x - whole * 0.693_359_4 - whole * -2.121_944_4e-4;
    let mut sum = 1.987_569_1e-4;
    sum = sum * rest + 1.398_199_9e-3;
    sum = sum * rest + 8.333_452e-3;
    sum = sum * rest + 4.166_579_6e-2;
    sum = sum * rest + 1.666_666_5e-1;
    sum = sum * rest + 0.5;
    let fraction = sum * rest * rest + rest + 1.0;
    let exponent = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    fraction * f32::from_bits(((exponent + 127) << 23) as u32)
}

/// Sums `f` over the numbers that stand at the same place in each row, in [`LANES`] fixed partial sums.
///
/// # Panics
/// When a row is shorter than the first one.
#[inline(always)]
pub fn sum<const N: usize>(rows: [&[f32]; N], f: impl Fn([f32; N]) -> f32) -> f32 {
    let len = rows[0].len();
    let rows = rows.map(|row| &row[..len]);
    let mut lanes = [0.0f32; LANES];
    let whole = len / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        // Blocks of known length: bounds are checked once a block, or the loop would not vectorise.
        let blocks = rows.map(|row| {
            row[start..]
                .first_chunk::<LANES>()
                .expect("start is before whole")
        });
        for (lane, total) in lanes.iter_mut().enumerate() {
            *total += f(blocks.map(|block| block[lane]));
        }
    }
    for i in whole..len {
        lanes[i - whole] += f(rows.map(|row| row[i]));
    }
    add_lanes(lanes)
}

/// The sum of partial sums, always in the same order.
#[inline(always)]
pub fn add_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Largest of a row.
#[inline(always)]
pub fn max(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (blocks, tail) = row.as_chunks::<LANES>();
    for block in blocks {
        for (lane, &value) in lanes.iter_mut().zip(block) {
            *lane = if value > *lane { value } else { *lane };
        }
    }
    lanes
        .iter()
        .chain(tail)
        .fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate() {
        let mut worst = 0.0f64;
        for i in -86_000..88_000 {
            let x = i as f32 * 1e-3;
            let right = f64::from(x).exp();
            worst = worst.max(((f64::from(exp(x)) - right) / right).abs());
        }
        assert!(worst < 2.5e-7, "{worst:e}");
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-1000.0) < 1e-37 && exp(f32::NEG_INFINITY) >= 0.0);
        assert!(exp(1000.0).is_finite());
    }

    #[test]
    fn sums_and_maxima_cover_tails() {
        for len in 0..70 {
            let row: Vec<f32> = (0..len).map(|i| ((i * 37) % 11) as f32 - 5.0).collect();
            assert_eq!(sum([&row], |[x]| x), row.iter().sum::<f32>());
            assert_eq!(
                max(&row),
                row.iter().copied().fold(f32::NEG_INFINITY, f32::max)
            );
        }
    }
}
