//! Parallel loops that follow each other closely.
//!
//! A pass of a network over few rows is hundreds of loops of some microseconds each. rayon's threads sleep between loops,
//! and waking one takes as long as many of these loops. Inside [`gather`] the threads of the pool stay awake from one loop to
//! the next instead.
//!
//! Tasks are taken one by one, by whoever is free: a thread that the system holds up holds up the task it has taken and no
//! other. Who takes a task changes nothing that the task computes. What a task starts by this module runs inside it, on its thread.
//! Loops of rayon's own, as those of [`crate::matmul()`] and [`crate::rows`], are not for tasks: rayon could hand a thread that waits for
//! one of them a job that waits for this very task.

use std::cell::{Cell, UnsafeCell};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use rayon::prelude::*;

/// How often a thread looks for work before it lets others run: some tens of microseconds, longer than what lies
/// between two loops of a pass.
const LOOKS: u32 = 1000;

type Task<'t> = dyn Fn(usize) + Sync + 't;

/// What a thread does here.
#[derive(Clone, Copy)]
enum Role {
    Free,
    /// Leads this team, none of whose loops is running.
    Leads(*const Team),
    /// Performs a task. What it starts runs in place: rayon could hand the thread a job that waits for this very task.
    Performs,
}

thread_local! {
    static ROLE: Cell<Role> = const { Cell::new(Role::Free) };
}

/// Runs `work` on a thread of rayon's pool; its loops ([`for_each`], [`for_each_part`]) are shared with the pool's other
/// threads, which do nothing else until `work` is done. `work` must not wait for rayon itself.
pub fn gather<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    if matches!(ROLE.get(), Role::Performs) {
        return work();
    }
    let team = Team::default();
    rayon::scope(|scope| {
        let (team, leader) = (&team, rayon::current_thread_index());
        for _ in 1..threads() {
            scope.spawn(move |_| {
                // A leader that is handed this job must not wait for itself.
                if rayon::current_thread_index() != leader {
                    team.help();
                }
            });
        }
        let _leading = Leading::new(team);
        work()
    })
}

/// Threads that take part in loops here: never more than there are processors, or they would only take time from each
/// other by waiting.
pub(crate) fn threads() -> usize {
    // Tests are about many threads, whatever the machine has.
    if cfg!(test) {
        return rayon::current_num_threads();
    }
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    let available = || std::thread::available_parallelism().map_or(1, usize::from);
    rayon::current_num_threads().min(*PROCESSORS.get_or_init(available))
}

/// Calls `task` with every number below `count`, on all threads at hand, in any order.
pub fn for_each(count: usize, task: impl Fn(usize) + Sync) {
    if count <= 1 {
        return (0..count).for_each(task);
    }
    match ROLE.get() {
        Role::Leads(team) => {
            let _role = Restore(ROLE.replace(Role::Performs));
            // SAFETY: `Leading` takes the pointer back before the team ends.
            unsafe { &*team }.run(count, &task);
        }
        Role::Performs => (0..count).for_each(task),
        Role::Free => (0..count).into_par_iter().for_each(&task),
    }
}

/// [`for_each`] over parts that each belong to one task, such as pieces of a slice that is written to.
pub fn for_each_part<T: Send>(parts: impl IntoIterator<Item = T>, task: impl Fn(T) + Sync) {
    let parts: Vec<Mutex<Option<T>>> = parts.into_iter().map(|p| Mutex::new(Some(p))).collect();
    for_each(parts.len(), |number| {
        let part = parts[number]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        task(part.expect("every number comes once"));
    });
}

#[derive(Default)]
struct Team {
    /// Tasks of the loop in the upper half, those that were taken in the lower one.
    tasks: AtomicU64,
    done: AtomicUsize,
    /// Only the leader writes it, and only while no task is there to be taken or running.
    task: UnsafeCell<Option<&'static Task<'static>>>,
    over: AtomicBool,
    /// Whether a task panicked.
    failed: AtomicBool,
}

// SAFETY: `task` is read only behind a task that was taken, see there; all else is atomic.
unsafe impl Sync for Team {}

impl Team {
    /// Only for the leader, and never inside a task.
    fn run(&self, count: usize, task: &Task<'_>) {
        assert!(u32::try_from(count).is_ok(), "{count} tasks in one loop");
        self.done.store(0, Ordering::Relaxed);
        // SAFETY: nobody else has a task. The reference is used by who has taken a task of this loop, and `Finish` waits
        // for these, also when a task panics.
        unsafe {
            *self.task.get() = Some(std::mem::transmute::<&Task<'_>, &'static Task<'static>>(
                task,
            ));
        }
        let finish = Finish(self);
        self.tasks.store((count as u64) << 32, Ordering::Release);
        while let Some(number) = self.take() {
            self.perform(number);
        }
        drop(finish);
        let failed = self.failed.load(Ordering::Relaxed);
        assert!(
            !failed,
            "a task of this loop panicked on another thread, see above"
        );
    }

    /// Until the leader is through.
    fn help(&self) {
        let mut waiting = Waiting::default();
        while !self.over.load(Ordering::Acquire) {
            match self.take() {
                Some(number) => {
                    self.perform(number);
                    waiting = Waiting::default();
                }
                None => waiting.wait(),
            }
        }
    }

    fn take(&self) -> Option<usize> {
        let free =
            |state: u64| ((state >> 32) > (state & u64::from(u32::MAX))).then_some(state + 1);
        let before = self
            .tasks
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, free)
            .ok()?;
        Some((before & u64::from(u32::MAX)) as usize)
    }

    /// Only for who has taken the task.
    fn perform(&self, number: usize) {
        let _done = Done(self);
        let _role = Restore(ROLE.replace(Role::Performs));
        // SAFETY: this task is not done, so the leader neither writes the cell nor lets go of what it refers to.
        let task = unsafe { *self.task.get() };
        task.expect("set before tasks can be taken")(number);
    }
}

/// Counts a task as done, also when it panics.
struct Done<'t>(&'t Team);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.failed.store(true, Ordering::Relaxed);
        }
        self.0.done.fetch_add(1, Ordering::Release);
    }
}

/// Lets nobody take another task, and waits for those that were taken.
struct Finish<'t>(&'t Team);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        let taken = self.0.tasks.swap(0, Ordering::AcqRel) & u64::from(u32::MAX);
        let mut waiting = Waiting::default();
        while self.0.done.load(Ordering::Acquire) < taken as usize {
            waiting.wait();
        }
    }
}

/// Lets go of the team's threads in the end, also when the work panics.
struct Leading<'t> {
    team: &'t Team,
    _before: Restore,
}

impl<'t> Leading<'t> {
    fn new(team: &'t Team) -> Self {
        let _before = Restore(ROLE.replace(Role::Leads(team)));
        Self { team, _before }
    }
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        self.team.over.store(true, Ordering::Release);
    }
}

/// Says again in the end what this thread does.
struct Restore(Role);

impl Drop for Restore {
    fn drop(&mut self) {
        ROLE.set(self.0);
    }
}

#[derive(Default)]
struct Waiting {
    looks: u32,
}

impl Waiting {
    fn wait(&mut self) {
        if self.looks < LOOKS {
            self.looks += 1;
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn pool(threads: usize) -> rayon::ThreadPool {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap()
    }

    #[test]
    fn every_task_runs_once_in_loops_of_any_length() {
        for threads in [1, 2, 5] {
            pool(threads).install(|| {
                gather(|| {
                    for count in (0..200).chain([5000]) {
                        let mut times = vec![0u32; count];
                        for_each_part(times.iter_mut().enumerate(), |(i, time)| {
                            *time += 1 + i as u32
                        });
                        assert!(times.iter().enumerate().all(|(i, &t)| t == 1 + i as u32));
                    }
                });
            });
        }
    }

    fn add(total: &AtomicUsize, number: usize) {
        total.fetch_add(number, Ordering::Relaxed);
    }

    #[test]
    fn loops_inside_tasks_and_teams_inside_teams_work() {
        let total = AtomicUsize::new(0);
        gather(|| {
            for_each(10, |_| {
                for_each(10, |_| {
                    add(&total, 1);
                });
            });
            gather(|| for_each(10, |i| add(&total, i)));
            for_each(10, |_| add(&total, 1));
        });
        for_each(5, |_| add(&total, 1));
        assert_eq!(total.into_inner(), 100 + 45 + 10 + 5);
    }

    #[test]
    fn nested_loops_end_on_pools_of_any_size() {
        for threads in [1, 2, 3, 8] {
            pool(threads).install(|| {
                for _ in 0..200 {
                    let total = AtomicUsize::new(0);
                    gather(|| for_each(8, |_| gather(|| for_each(8, |_| add(&total, 1)))));
                    assert_eq!(total.into_inner(), 64);
                }
            });
        }
    }

    #[test]
    fn many_teams_share_a_pool() {
        let total = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        gather(|| for_each(20, |_| add(&total, 1)));
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 8 * 50 * 20);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_leaves_the_pool_usable() {
        let pool = pool(2);
        for bad in [0, 3, 63] {
            let broken = catch_unwind(AssertUnwindSafe(|| {
                pool.install(|| gather(|| for_each(64, |i| assert!(i != bad, "task {i}"))));
            }));
            assert!(broken.is_err());
            let total = AtomicUsize::new(0);
            pool.install(|| gather(|| for_each(9, |i| add(&total, i))));
            assert_eq!(total.into_inner(), 36);
        }
    }
}
