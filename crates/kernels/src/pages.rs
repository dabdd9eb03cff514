//! Memory for what is large, written once, and read again and again.
//!
//! Weights of several hundred megabytes in pages of 4 KiB are more than any table of translations holds, and every pass walks
//! through all of them. Huge pages are had only where one fits whole, and matrices of one to seven megabytes from an
//! ordinary allocator lose most of theirs at their ends: here they lie one behind the other in regions that begin with a huge
//! page.

use std::alloc::{Layout, alloc, handle_alloc_error};
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Bytes of a huge page on x86-64, and on aarch64 with pages of 4 KiB.
const HUGE: usize = 2 << 20;

/// Bytes of a region, if no single matrix needs more.
const REGION: usize = 16 * HUGE;

/// Where a matrix begins: no vector of it crosses two cache lines.
const ALIGN: usize = 64;

/// The region that is being filled, and its bytes in use.
static OPEN: Mutex<(Weak<Region>, usize)> = Mutex::new((Weak::new(), 0));

/// Numbers in a region.
#[derive(Clone, Debug)]
pub(crate) struct Pages<T> {
    /// Nothing where there are no numbers.
    _region: Option<Arc<Region>>,
    start: NonNull<T>,
    len: usize,
}

// SAFETY: nobody writes to what it refers to, and the region is freed by the last who has a part of it.
unsafe impl<T: Send + Sync> Send for Pages<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Pages<T> {}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self {
            _region: None,
            start: NonNull::dangling(),
            len: 0,
        }
    }
}

impl<T: Copy> Pages<T> {
    /// `len` numbers, all `value` until `fill` has written them.
    pub(crate) fn new(len: usize, value: T, fill: impl FnOnce(&mut [T])) -> Self {
        const { assert!(align_of::<T>() <= ALIGN) };
        let bytes = len.checked_mul(size_of::<T>()).expect("fits the memory");
        if bytes == 0 {
            fill(&mut []);
            return Self::default();
        }
        let (region, offset) = take(bytes);
        // SAFETY: `take` gives these bytes of the region, aligned, to nobody else. Every number is written before a slice of them
        // exists.
        let start = unsafe {
            let start = region.start.add(offset).cast::<T>();
            for i in 0..len {
                start.add(i).write(value);
            }
            fill(std::slice::from_raw_parts_mut(start.as_ptr(), len));
            start
        };
        Self {
            _region: Some(region),
            start,
            len,
        }
    }
}

impl<T> Deref for Pages<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `new` has written `len` numbers there, and the region lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

#[derive(Debug)]
struct Region {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: memory like any other; who may write where is settled by `take`.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

/// A region and the offset of `bytes` in it that are the caller's alone.
fn take(bytes: usize) -> (Arc<Region>, usize) {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let region = open
        .0
        .upgrade()
        .filter(|region| bytes <= region.layout.size() - open.1);
    let region = region.unwrap_or_else(|| {
        let region = Arc::new(Region::new(bytes.max(REGION)));
        *open = (Arc::downgrade(&region), 0);
        region
    });
    let offset = open.1;
    open.1 = (offset + bytes)
        .next_multiple_of(ALIGN)
        .min(region.layout.size());
    (region, offset)
}

impl Region {
    fn new(bytes: usize) -> Self {
        let whole = bytes.checked_next_multiple_of(HUGE);
        let layout = whole.and_then(|bytes| Layout::from_size_align(bytes, HUGE).ok());
        let layout = layout.expect("fits the memory");
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start) else {
            handle_alloc_error(layout);
        };
        #[cfg(target_os = "linux")]
        // SAFETY: the advice changes how memory is backed, never what it holds; where it does not apply, it is refused.
        unsafe {
            libc::madvise(start.as_ptr().cast(), layout.size(), libc::MADV_HUGEPAGE)
        };
        Self { start, layout }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and nobody refers to it any more.
        unsafe { std::alloc::dealloc(self.start.as_ptr(), self.layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_region_do_not_overlap_and_outlive_each_other() {
        let part = |number: u32, len: usize| {
            Pages::new(len, number, |numbers| {
                assert!(numbers.iter().all(|&n| n == number));
                numbers.iter_mut().zip(0..).for_each(|(n, i)| *n += i);
            })
        };
        let lens = [
            1,
            0,
            17,
            100_000,
            REGION / 4 - 200_000,
            3 * REGION / 4 + 5,
            40,
        ];
        let mut parts: Vec<_> = (0..)
            .zip(lens)
            .map(|(i, len)| part(1000 * i, len))
            .collect();
        parts.remove(2);
        let copy = parts[2].clone();
        parts.remove(2);
        for (first, len, part) in [
            (0, 1, &parts[0]),
            (3000, 100_000, &copy),
            (6000, 40, &parts[4]),
        ] {
            assert_eq!(part.len(), len);
            assert!(part.iter().zip(first..).all(|(&n, right)| n == right));
            assert!(part.as_ptr().addr().is_multiple_of(ALIGN));
        }
    }
}
