//! Matrix products in the precision that training asks for.

use syncabel_kernels::bf16::{self, Panels};
use syncabel_kernels::{Matrix, Write, matmul};

use crate::config::Precision;

/// Makes products; keeps the memory that packing needs between them.
pub(super) struct Products {
    precision: Precision,
    left: Panels,
    right: Panels,
}

impl Products {
    pub(super) fn new(precision: Precision) -> Self {
        Self {
            precision,
            left: Panels::default(),
            right: Panels::default(),
        }
    }

    /// Takes a left factor, which is packed once however many products it is part of.
    pub(super) fn left<'p>(&'p mut self, a: Matrix<'p>) -> Left<'p> {
        if self.precision == Precision::Bf16 {
            self.left.set_left(a);
        }
        Left { a, products: self }
    }
}

/// A left factor, ready to be multiplied.
pub(super) struct Left<'p> {
    a: Matrix<'p>,
    products: &'p mut Products,
}

impl Left<'_> {
    /// `out = a b` (or `+=`); shapes as in [`matmul`].
    pub(super) fn times(&mut self, out: &mut [f32], write: Write, b: Matrix<'_>) {
        let Products {
            precision,
            left,
            right,
        } = &mut *self.products;
        match precision {
            Precision::F32 => matmul(out, write, self.a, b),
            Precision::Bf16 => {
                right.set_right(b);
                bf16::matmul(out, write, left, right);
            }
        }
    }
}
