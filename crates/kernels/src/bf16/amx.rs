//! The product with AMX tiles, in assembly: the language has no stable intrinsics for them yet.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;

use super::Tile;
use crate::Write;

/// Asks the operating system for the tile registers, once for the process. False where CPU or system have none.
pub(super) fn request() -> bool {
    has_instructions() && permitted()
}

fn has_instructions() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    let highest = __cpuid_count(0, 0).eax;
    highest >= 7 && __cpuid_count(7, 0).edx & (AMX_BF16 | AMX_TILE) == AMX_BF16 | AMX_TILE
}

#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: the call takes numbers and changes nothing but what this process may use.
    unsafe {
        libc::syscall(
            libc::SYS_arch_prctl,
            ARCH_REQ_XCOMP_PERM,
            XFEATURE_XTILEDATA,
        ) == 0
    }
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// Memory that `ldtilecfg` reads: palette 1, eight tiles of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Tile registers of this thread, configured while this lives.
pub(super) struct Configured(());

impl Configured {
    pub(super) fn new() -> Self {
        let mut configuration = Configuration {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        configuration.row_bytes[..8].fill(64);
        configuration.rows[..8].fill(16);
        // SAFETY: only made where `request` succeeded; reads the 64 bytes above.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const configuration, options(nostack, readonly))
        };
        Self(())
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        // SAFETY: as above. Unconfigured tiles make context switches cheaper.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// Two left tiles times two right ones, along the panels: four tiles of sums, one load for each product.
macro_rules! products {
    ($($start:literal),*; $out:ident, $stride:ident, $left:ident, $right:ident) => {
        asm!(
            $($start,)*
            "2:",
            "tileloadd tmm4, [{a0} + {line}]",
            "tileloadd tmm6, [{b0} + {line}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{b1} + {line}]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{a1} + {line}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a0}, 1024",
            "add {a1}, 1024",
            "add {b0}, 1024",
            "add {b1}, 1024",
            "dec {tiles}",
            "jnz 2b",
            "tilestored [{upper} + {stride}], tmm0",
            "tilestored [{upper} + {stride} + 64], tmm1",
            "tilestored [{lower} + {stride}], tmm2",
            "tilestored [{lower} + {stride} + 64], tmm3",
            a0 = inout(reg) $left[0].as_ptr() => _,
            a1 = inout(reg) $left[1].as_ptr() => _,
            b0 = inout(reg) $right[0].as_ptr() => _,
            b1 = inout(reg) $right[1].as_ptr() => _,
            tiles = inout(reg) $left[0].len() => _,
            upper = in(reg) $out,
            lower = in(reg) $out.add(16 * $stride),
            stride = in(reg) 4 * $stride,
            line = in(reg) 64usize,
            options(nostack)
        )
    };
}

/// One left tile times two right ones, along the panels.
macro_rules! products_of_one {
    ($($start:literal),*; $out:ident, $stride:ident, $left:ident, $right:ident) => {
        asm!(
            $($start,)*
            "2:",
            "tileloadd tmm4, [{a0} + {line}]",
            "tileloadd tmm6, [{b0} + {line}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{b1} + {line}]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "add {a0}, 1024",
            "add {b0}, 1024",
            "add {b1}, 1024",
            "dec {tiles}",
            "jnz 2b",
            "tilestored [{upper} + {stride}], tmm0",
            "tilestored [{upper} + {stride} + 64], tmm1",
            a0 = inout(reg) $left[0].as_ptr() => _,
            b0 = inout(reg) $right[0].as_ptr() => _,
            b1 = inout(reg) $right[1].as_ptr() => _,
            tiles = inout(reg) $left[0].len() => _,
            upper = in(reg) $out,
            stride = in(reg) 4 * $stride,
            line = in(reg) 64usize,
            options(nostack)
        )
    };
}

/// See [`super::block`].
///
/// # Safety
/// As there, and this thread must be [`Configured`]. Panels have at least one tile and all the same number.
pub(super) unsafe fn block(
    out: *mut f32,
    stride: usize,
    write: Write,
    left: &[&[Tile]],
    right: [&[Tile]; 2],
) {
    debug_assert!(!left[0].is_empty() && left[0].len() == right[1].len());
    // SAFETY: the loops read as many tiles as a panel has and write 16 rows of 32 numbers for each left panel; nothing else
    // in this program uses tile registers, so they need not be named as changed.
    unsafe {
        match write {
            Write::Replace if left.len() == 1 => {
                products_of_one!("tilezero tmm0", "tilezero tmm1"; out, stride, left, right)
            }
            Write::Add if left.len() == 1 => products_of_one!(
                "tileloadd tmm0, [{upper} + {stride}]",
                "tileloadd tmm1, [{upper} + {stride} + 64]";
                out, stride, left, right
            ),
            Write::Replace => {
                products!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3"; out, stride, left, right)
            }
            Write::Add => products!(
                "tileloadd tmm0, [{upper} + {stride}]",
                "tileloadd tmm1, [{upper} + {stride} + 64]",
                "tileloadd tmm2, [{lower} + {stride}]",
                "tileloadd tmm3, [{lower} + {stride} + 64]";
                out, stride, left, right
            ),
        }
    }
}
