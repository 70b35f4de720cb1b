//! Broken input: small trees with bytes and lines changed, and values nested at random. Whatever is read, a build ends
//! soon, with a result or an error, and does not panic.
//!
//! `PORTOLAN_FUZZ_RUNS` says how many inputs, `PORTOLAN_FUZZ_SEED` which. What fails is printed whole.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "in a test, whatever goes wrong ends it")]

#[path = "differential/dice.rs"]
#[allow(dead_code, reason = "shared with the comparison with the reference")]
mod dice;
#[path = "differential/entries.rs"]
#[allow(dead_code, reason = "shared with the comparison with the reference")]
mod entries;
#[path = "differential/objects.rs"]
mod objects;
#[path = "differential/patches.rs"]
mod patches;
#[path = "differential/plan.rs"]
mod plan;
#[path = "differential/template.rs"]
mod template;

use std::time::{Duration, Instant};

use dice::{Dice, SCALARS};
use kustomize::{MemoryTree, Options, build};
use plan::{Case, Files};

const RUNS: u64 = 3_000;
/// Far more than any of these small trees needs, on a busy machine, without optimisation.
const TIME_LIMIT: Duration = Duration::from_secs(10);
const THREADS: u64 = 2;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn no_input_ends_in_a_panic_or_takes_long() {
    let (runs, seed) = (number("PORTOLAN_FUZZ_RUNS", RUNS), number("PORTOLAN_FUZZ_SEED", 1));
    let built: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || (thread..runs).step_by(2).map(|run| try_one(seed, run)).sum::<u64>())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    println!("{runs} inputs, {built} of them built");
    assert!(built * 50 > runs, "too few inputs are near enough to a kustomization to test anything");
}

/// Builds one input; 1 if it could be built.
fn try_one(seed: u64, run: u64) -> u64 {
    let mut dice = Dice::new(seed.wrapping_mul(0x1000_0000_01b3).wrapping_add(run));
    let mut case = plan::random(&mut dice);
    for _ in 0..dice.below(4) {
        mutate(&mut case.files, &mut dice);
    }
    let begun = Instant::now();
    let built = std::panic::catch_unwind(|| {
        let tree = MemoryTree::new(case.files.iter().map(|(path, text)| (path.clone(), text.clone().into())));
        build(&tree, &case.dir, Options::default()).and_then(|built| built.to_yaml())
    });
    assert!(built.is_ok(), "seed {seed}, run {run} panics\n{}", shown(&case));
    assert!(begun.elapsed() < TIME_LIMIT, "seed {seed}, run {run} takes too long\n{}", shown(&case));
    u64::from(built.unwrap().is_ok())
}

fn shown(case: &Case) -> String {
    let files: String = case.files.iter().map(|(path, text)| format!("──── {path}\n{text}\n")).collect();
    format!("building {}\n{files}", case.dir)
}

fn mutate(files: &mut Files, dice: &mut Dice) {
    let paths: Vec<String> = files.keys().cloned().collect();
    let path = &paths[dice.below(paths.len())];
    let text = files[path].clone();
    let changed = match dice.below(8) {
        0 | 1 => bytes(&text, dice),
        2 => swapped(&text, dice),
        3 => with_line(&text, dice, |line, _| format!("{line}\n{line}")),
        4 => with_line(&text, dice, reindented),
        5 => with_line(&text, dice, revalued),
        6 => with_line(&text, dice, |_, dice| nested(dice, 0)),
        _ => cut(&text, dice),
    };
    files.insert(path.clone(), changed);
}

/// Bytes that mean something to YAML, and some that mean nothing.
const BYTES: &[u8] = b"\0\t\n\r -:?,[]{}#&*!|>'\"%@`~=<.$/\\0aAe\x7f\x80\xc2\x85\xef\xbb\xbf\xff";

fn bytes(text: &str, dice: &mut Dice) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len() + 1);
        let byte = BYTES[dice.below(BYTES.len())];
        match dice.below(3) {
            0 => bytes.insert(at, byte),
            1 if at < bytes.len() => bytes[at] = byte,
            _ if at < bytes.len() => {
                bytes.remove(at);
            }
            _ => {}
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn with_line(text: &str, dice: &mut Dice, change: impl Fn(&str, &mut Dice) -> String) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if !lines.is_empty() {
        let at = dice.below(lines.len());
        lines[at] = change(&lines[at], dice);
    }
    lines.join("\n") + "\n"
}

fn swapped(text: &str, dice: &mut Dice) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    if lines.len() > 1 {
        let (a, b) = (dice.below(lines.len()), dice.below(lines.len()));
        lines.swap(a, b);
    }
    lines.join("\n")
}

fn reindented(line: &str, dice: &mut Dice) -> String {
    format!("{}{}", " ".repeat(dice.below(8)), line.trim_start())
}

/// The same field with another value.
fn revalued(line: &str, dice: &mut Dice) -> String {
    let field = line.split_once(": ").map_or(line.trim_end_matches(':'), |(field, _)| field);
    let value = if dice.once_in(2) { dice.pick(SCALARS).to_owned() } else { nested(dice, 0) };
    format!("{field}: {value}")
}

fn cut(text: &str, dice: &mut Dice) -> String {
    let (a, b) = (dice.below(text.len() + 1), dice.below(text.len() + 1));
    let whole = |at: usize| (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let (from, to) = (whole(a.min(b)), whole(a.max(b)));
    if dice.once_in(2) { text[..from].to_owned() } else { format!("{}{}", &text[..from], &text[to..]) }
}

const FIELDS: &[&str] = &[
    "metadata",
    "name",
    "spec",
    "patch",
    "target",
    "options",
    "kind",
    "$patch",
    "<<",
    "data",
    "fieldPaths",
    "a",
];

fn nested(dice: &mut Dice, depth: usize) -> String {
    let limit = if dice.once_in(50) { 400 } else { 6 };
    match dice.below(5) {
        0 if depth < limit => format!("[{}]", nested(dice, depth + 1)),
        1 if depth < limit => format!("[{}, {}]", nested(dice, depth + 1), nested(dice, depth + 3)),
        2 | 3 if depth < limit => format!("{{{}: {}}}", dice.pick(FIELDS), nested(dice, depth + 1)),
        _ => dice.pick(SCALARS).to_owned(),
    }
}

#[test]
fn deep_and_wide_texts_are_refused_in_time() {
    let deep = format!("a: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let steps = "- ".repeat(100_000);
    let maps: String = (0..3_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let bomb: String =
        (1..30).map(|n| format!("a{n}: &a{n} [{}]\n", format!("*a{},", n - 1).repeat(9))).collect();
    let bomb = format!("a0: &a0 x\n{bomb}");
    let keys = |count| (0..count).map(|n| format!("key{n}: {n}\n")).collect::<String>();
    let (many, too_many) = (keys(12_000), keys(60_000));
    let quotes = format!("a: \"{}", "\\\"".repeat(200_000));
    for text in [deep, steps, maps, bomb, many, too_many, quotes] {
        for file in ["kustomization.yaml", "a.yaml", "patch.yaml"] {
            let mut files = Files::from([
                (
                    "kustomization.yaml".to_owned(),
                    "resources: [a.yaml]\npatches: [{path: patch.yaml}]\n".to_owned(),
                ),
                ("a.yaml".to_owned(), "apiVersion: v1\nkind: A\nmetadata: {name: a}\n".to_owned()),
                ("patch.yaml".to_owned(), "apiVersion: v1\nkind: A\nmetadata: {name: a}\nx: y\n".to_owned()),
            ]);
            let head = if file == "kustomization.yaml" {
                ""
            } else {
                "apiVersion: v1\nkind: A\nmetadata: {name: a}\n"
            };
            files.insert(file.to_owned(), format!("{head}{text}"));
            let tree = MemoryTree::new(files.into_iter().map(|(path, text)| (path, text.into())));
            let begun = Instant::now();
            let _ = build(&tree, "", Options::default()).and_then(|built| built.to_yaml());
            assert!(begun.elapsed() < TIME_LIMIT, "{file}: {}", &text[..60]);
        }
    }
}
