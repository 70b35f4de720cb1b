//! Generated trees, built here and by the reference: the same bytes, or both refuse.
//!
//! `make test` compares a few; `PORTOLAN_DIFFERENTIAL_CASES=10000` compares many, `PORTOLAN_DIFFERENTIAL_SEED` others,
//! and `PORTOLAN_DIFFERENTIAL_FINDINGS` says how many differences to look for before the end. A difference is shrunk
//! and shown with the whole tree. Without kubectl, or with one older than kustomize 5.5, nothing is compared.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "in a test, whatever goes wrong ends it"
)]

mod dice;
mod entries;
mod objects;
mod oracle;
mod patches;
mod plan;
mod shrink;
mod template;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use kustomize::{MemoryTree, Options, Order};
use oracle::{Oracle, Outcome};
use plan::{Case, Files};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// The reference spends most of a case on its own start; two run beside one another.
const THREADS: usize = 2;
const CASES: usize = 60;

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[derive(Default)]
struct Count {
    built: AtomicUsize,
    refused: AtomicUsize,
    found: AtomicUsize,
}

#[test]
fn the_reference_gives_the_same_bytes() {
    if let Err(why) = Oracle::start() {
        println!("skipped: {why}");
        return;
    }
    let cases = number("PORTOLAN_DIFFERENTIAL_CASES", CASES);
    let count = Count::default();
    let findings: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn({
                    let count = &count;
                    move || compare(thread, cases / THREADS, count)
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let [built, refused] = [&count.built, &count.refused].map(|count| count.load(Ordering::Relaxed));
    println!("{built} trees built the same, {refused} refused by both, {} differ", findings.len());
    assert!(findings.is_empty(), "{}", findings.join("\n"));
    assert!(built * 3 >= refused, "most generated trees should build");
}

/// One thread's share of the cases.
fn compare(thread: usize, cases: usize, count: &Count) -> Vec<String> {
    let enough = number("PORTOLAN_DIFFERENTIAL_FINDINGS", 1);
    let mut oracle = Oracle::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut seed = [0; 32];
    seed[0] = u8::try_from(thread).unwrap();
    seed[8..16].copy_from_slice(&number("PORTOLAN_DIFFERENTIAL_SEED", 1).to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut findings = vec![];
    for _ in 0..cases {
        if count.found.load(Ordering::Relaxed) >= enough {
            break;
        }
        let mut tree = plan::plans().new_tree(&mut runner).unwrap();
        let case = tree.current().case();
        let mut run = |case: &Case| Comparison::of(case, &mut oracle, folder.path());
        let comparison = run(&case);
        let Some(kind) = comparison.difference() else {
            let which = if comparison.theirs.is_ok() { &count.built } else { &count.refused };
            which.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        count.found.fetch_add(1, Ordering::Relaxed);
        let mut differs = |case: &Case| run(case).difference() == Some(kind);
        let case = shrink::plan(&mut tree, &mut differs);
        let case = shrink::lines(case, &mut differs);
        findings.push(report(&case, &run(&case)));
    }
    findings
}

/// In what way two builds differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Difference {
    Output,
    OnlyOursFails,
    OnlyTheirsFails,
    OursPanics,
}

struct Comparison {
    ours: Outcome,
    theirs: Outcome,
}

impl Comparison {
    fn of(case: &Case, oracle: &mut Oracle, folder: &Path) -> Self {
        let _ = std::fs::remove_dir_all(folder);
        for (path, text) in &case.files {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self { ours: library(&case.files, &case.dir), theirs: oracle.build(&folder.join(&case.dir)) }
    }

    fn difference(&self) -> Option<Difference> {
        match (&self.ours, &self.theirs) {
            (Ok(ours), Ok(theirs)) if ours != theirs => Some(Difference::Output),
            (Err(ours), _) if ours.starts_with(PANIC) => Some(Difference::OursPanics),
            (Err(_), Ok(_)) => Some(Difference::OnlyOursFails),
            // A crash of the reference is nothing to agree with.
            (Ok(_), Err(theirs)) if theirs.contains("panic: ") => None,
            (Ok(_), Err(_)) => Some(Difference::OnlyTheirsFails),
            _ => None,
        }
    }
}

/// What a panic of the library begins with here.
const PANIC: &str = "panic: ";

/// What the library makes of a tree; a panic is told like an error.
fn library(files: &Files, dir: &str) -> Outcome {
    std::panic::catch_unwind(|| built(files, dir)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("{PANIC}{}", text.unwrap_or_default()))
    })
}

/// In the order that kubectl always has.
fn built(files: &Files, dir: &str) -> Outcome {
    let tree = MemoryTree::new(files.iter().map(|(path, text)| (path.clone(), text.clone().into())));
    let options = Options { order: Order::Legacy, ..Options::default() };
    let built = kustomize::build(&tree, dir, options).map_err(|error| error.to_string())?;
    built.to_yaml().map_err(|error| error.to_string())
}

fn report(case: &Case, comparison: &Comparison) -> String {
    let mut out = format!("\n════ a difference, building {} ════\n", case.dir);
    for (path, text) in &case.files {
        out.push_str(&format!("──── {path}\n{text}"));
        if !text.ends_with('\n') {
            out.push('\n');
        }
    }
    let shown = |outcome: &Outcome| match outcome {
        Ok(text) => text.clone(),
        Err(error) => format!("error: {error}\n"),
    };
    let (theirs, ours) = (shown(&comparison.theirs), shown(&comparison.ours));
    let diff = similar::TextDiff::from_lines(&theirs, &ours);
    out.push_str("──── difference\n");
    out.push_str(&diff.unified_diff().header("reference", "library").to_string());
    out
}
