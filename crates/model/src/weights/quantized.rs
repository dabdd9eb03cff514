//! The block formats of GGUF tensors, turned into float32.
//!
//! A quantised tensor is a row of blocks; each block holds one or two scales and the small
//! integers they multiply. Layouts (all little-endian, sizes in bytes):
//!
//! | type | values | block | layout |
//! | --- | --- | --- | --- |
//! | Q4_0 | 32 | 18 | scale f16, 16 x two nibbles |
//! | Q4_1 | 32 | 20 | scale f16, minimum f16, 16 x two nibbles |
//! | Q5_0 | 32 | 22 | scale f16, 32 fifth bits, 16 x two nibbles |
//! | Q5_1 | 32 | 24 | scale f16, minimum f16, 32 fifth bits, 16 x two nibbles |
//! | Q8_0 | 32 | 34 | scale f16, 32 x i8 |
//! | Q4_K | 256 | 144 | scale f16, minimum f16, 12 of packed 6-bit scales and minima, 128 of nibbles |
//! | Q6_K | 256 | 210 | 128 of low nibbles, 64 of high bit pairs, 16 x i8 scales, scale f16 |
//!
//! In the 32-value types byte `j` holds value `j` in its low and value `j + 16` in its high nibble.

use half::{bf16, f16};
use rayon::prelude::*;

/// How the values of a GGUF tensor are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q6K,
}

/// The names of [`Encoding`], for messages.
pub(crate) const SUPPORTED: &str = "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K and Q6_K";

impl Encoding {
    /// The encoding with GGML's number, if we read it.
    pub(crate) fn from_ggml(number: u32) -> Option<Self> {
        Some(match number {
            0 => Encoding::F32,
            1 => Encoding::F16,
            2 => Encoding::Q4_0,
            3 => Encoding::Q4_1,
            6 => Encoding::Q5_0,
            7 => Encoding::Q5_1,
            8 => Encoding::Q8_0,
            12 => Encoding::Q4K,
            14 => Encoding::Q6K,
            30 => Encoding::Bf16,
            _ => return None,
        })
    }

    /// Values per block.
    pub(crate) fn block_values(self) -> usize {
        match self {
            Encoding::F32 | Encoding::F16 | Encoding::Bf16 => 1,
            Encoding::Q4_0 | Encoding::Q4_1 | Encoding::Q5_0 | Encoding::Q5_1 | Encoding::Q8_0 => {
                32
            }
            Encoding::Q4K | Encoding::Q6K => 256,
        }
    }

    /// Bytes per block.
    pub(crate) fn block_bytes(self) -> usize {
        match self {
            Encoding::F32 => 4,
            Encoding::F16 | Encoding::Bf16 => 2,
            Encoding::Q4_0 => 18,
            Encoding::Q4_1 => 20,
            Encoding::Q5_0 => 22,
            Encoding::Q5_1 => 24,
            Encoding::Q8_0 => 34,
            Encoding::Q4K => 144,
            Encoding::Q6K => 210,
        }
    }

    /// Turns whole blocks into values, in parallel.
    ///
    /// # Panics
    /// If `bytes` is not a whole number of blocks; readers check sizes against the shape first.
    pub(crate) fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Encoding::F32 => blocks::<4, 1>(bytes, |b, out| out[0] = f32::from_le_bytes(*b)),
            Encoding::F16 => blocks::<2, 1>(bytes, |b, out| out[0] = half_at(b, 0)),
            Encoding::Bf16 => {
                blocks::<2, 1>(bytes, |b, out| out[0] = bf16::from_le_bytes(*b).to_f32())
            }
            Encoding::Q4_0 => blocks(bytes, q4_0),
            Encoding::Q4_1 => blocks(bytes, q4_1),
            Encoding::Q5_0 => blocks(bytes, q5_0),
            Encoding::Q5_1 => blocks(bytes, q5_1),
            Encoding::Q8_0 => blocks(bytes, q8_0),
            Encoding::Q4K => blocks(bytes, q4_k),
            Encoding::Q6K => blocks(bytes, q6_k),
        }
    }
}

fn blocks<const BYTES: usize, const VALUES: usize>(
    bytes: &[u8],
    decode: impl Fn(&[u8; BYTES], &mut [f32; VALUES]) + Sync,
) -> Vec<f32> {
    let (cells, rest) = bytes.as_chunks::<BYTES>();
    assert!(rest.is_empty(), "a partial block of {} bytes", rest.len());
    let mut values = vec![0.0f32; cells.len() * VALUES];
    let (outs, _) = values.as_chunks_mut::<VALUES>();
    let least = (1 << 14) / VALUES;
    cells
        .par_iter()
        .zip(outs)
        .with_min_len(least)
        .for_each(|(block, out)| decode(block, out));
    values
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let scale = half_at(block, 0);
    for (j, &byte) in block[2..].iter().enumerate() {
        out[j] = scale * f32::from((byte & 15) as i8 - 8);
        out[j + 16] = scale * f32::from((byte >> 4) as i8 - 8);
    }
}

fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    for (j, &byte) in block[4..].iter().enumerate() {
        out[j] = scale * f32::from(byte & 15) + minimum;
        out[j + 16] = scale * f32::from(byte >> 4) + minimum;
    }
}

/// The 32 fifth bits of a Q5 block; bit `i` belongs to value `i`.
fn fifth_bits(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

fn five(nibble: u8, bits: u32, value: usize) -> u8 {
    nibble | (((bits >> value) & 1) as u8) << 4
}

fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let (scale, bits) = (half_at(block, 0), fifth_bits(block, 2));
    for (j, &byte) in block[6..].iter().enumerate() {
        out[j] = scale * f32::from(five(byte & 15, bits, j) as i8 - 16);
        out[j + 16] = scale * f32::from(five(byte >> 4, bits, j + 16) as i8 - 16);
    }
}

fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    let bits = fifth_bits(block, 4);
    for (j, &byte) in block[8..].iter().enumerate() {
        out[j] = scale * f32::from(five(byte & 15, bits, j)) + minimum;
        out[j + 16] = scale * f32::from(five(byte >> 4, bits, j + 16)) + minimum;
    }
}

fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let scale = half_at(block, 0);
    for (value, &byte) in out.iter_mut().zip(&block[2..]) {
        *value = scale * f32::from(byte as i8);
    }
}

/// Eight groups of 32 values, each with a 6-bit scale and a 6-bit minimum. Groups come in pairs
/// that share 32 bytes: the first has the low nibbles, the second the high ones.
fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    let packed = &block[4..16];
    let quants = &block[16..];
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let (s, m) = six_bit_pair(packed, group);
        let (s, m) = (scale * f32::from(s), minimum * f32::from(m));
        let shift = 4 * (group % 2);
        let bytes = &quants[group / 2 * 32..][..32];
        for (value, byte) in out.iter_mut().zip(bytes) {
            *value = s * f32::from((byte >> shift) & 15) - m;
        }
    }
}

/// Scale and minimum of a Q4_K group. Groups 0-3 have theirs in the low six bits of bytes 0-3 and
/// 4-7; groups 4-7 have four bits each in bytes 8-11 and their top two in the spare bits above.
fn six_bit_pair(packed: &[u8], group: usize) -> (u8, u8) {
    if group < 4 {
        (packed[group] & 63, packed[group + 4] & 63)
    } else {
        let low = packed[group + 4];
        (
            (low & 15) | (packed[group - 4] >> 6) << 4,
            (low >> 4) | (packed[group] >> 6) << 4,
        )
    }
}

/// Two halves of 128 values; in each, 64 bytes of low nibbles and 32 of high bit pairs serve four
/// runs of 32 values, and every 16 values have a scale.
fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let scale = half_at(block, 208);
    let scales = &block[192..208];
    for (half, out) in out.chunks_exact_mut(128).enumerate() {
        let low = &block[half * 64..][..64];
        let high = &block[128 + half * 32..][..32];
        for (run, out) in out.chunks_exact_mut(32).enumerate() {
            let nibbles = &low[run % 2 * 32..][..32];
            let nibble_shift = 4 * (run / 2);
            for (i, value) in out.iter_mut().enumerate() {
                let bits = (nibbles[i] >> nibble_shift) & 15 | ((high[i] >> (2 * run)) & 3) << 4;
                let group = scales[half * 8 + run * 2 + i / 16] as i8;
                *value = scale * f32::from(group) * f32::from(bits as i8 - 32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_made_block_decodes_by_the_table() {
        let mut block = [0u8; 18];
        block[..2].copy_from_slice(&f16::from_f32(0.5).to_le_bytes());
        block[2] = 0xF0; // value 0 is 0 - 8, value 16 is 15 - 8
        block[17] = 0x08; // value 15 is 8 - 8, value 31 is 0 - 8
        let values = Encoding::Q4_0.decode(&block);
        assert_eq!(
            (values[0], values[16], values[15], values[31]),
            (-4.0, 3.5, 0.0, -4.0)
        );
    }

    #[test]
    fn sizes_are_whole_blocks() {
        for number in 0..64 {
            if let Some(encoding) = Encoding::from_ggml(number) {
                let bytes = vec![0u8; 3 * encoding.block_bytes()];
                assert_eq!(encoding.decode(&bytes).len(), 3 * encoding.block_values());
            }
        }
    }
}
