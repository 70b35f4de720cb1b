//! How long builds take, beside the reference where that can be had, and how much memory: one overlay, a thousand of
//! them, ten thousand objects. `cargo bench -p kustomize`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench prints and may fail loudly"
)]

#[path = "builds/reference.rs"]
mod reference;
#[path = "builds/trees.rs"]
mod trees;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kustomize::{Kind, MemoryTree, Options, Renderer, Tree, build};
use reference::{HASH_OF_NOTHING, Reference, hash};
use trees::{Files, fleet, in_memory, overlay_dir};

const BASES: usize = 50;
const OVERLAYS: usize = 1000;
const OBJECTS: usize = 10_000;
const COMPARED_OBJECTS: usize = 1000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--list" || argument == "--test") {
        return;
    }
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[1..] {
        ["one", dir] => return print!("{}", text(&Disk { root: dir.into() }, "overlays/team-0000").len()),
        ["memory", objects] => return memory(objects.parse().unwrap()),
        // For a profiler: nothing but builds, or the tree for one on the disk.
        ["write", dir] => return trees::write(&fleet(1, 1), Path::new(dir)),
        ["fleet", times] => return repeat(&fleet(BASES, OVERLAYS), OVERLAYS, times.parse().unwrap()),
        ["renderer", times] => return again(&fleet(BASES, OVERLAYS), times.parse().unwrap()),
        ["large", times] => return repeat(&trees::large(OBJECTS), 0, times.parse().unwrap()),
        ["objects"] => return costs(),
        _ => {}
    }
    let reference = Reference::prepare();
    one_overlay(&reference);
    many_overlays(&reference);
    overlays_again(&reference);
    many_objects(&reference);
}

/// One line: what, how long, and beside what.
fn line(what: &str, ours: Duration, other: Option<(&str, Duration, f64)>) {
    match other {
        None => println!("{what}: {ours:.1?}"),
        Some((name, theirs, target)) => {
            let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
            println!("{what}: {ours:.1?}, {name} {theirs:.1?}: {ratio:.0} times faster (target: {target})");
        }
    }
}

/// One small overlay: a process that does nothing else, and in a process that runs.
fn one_overlay(reference: &Reference) {
    let files = fleet(1, 1);
    let dir = tempfile::tempdir().unwrap();
    trees::write(&files, dir.path());
    let overlay = dir.path().join(overlay_dir(0));
    // `cargo build --release` puts it beside the benches; without it this library alone in a process is measured.
    let program = std::env::current_exe().unwrap();
    let portolan = program.ancestors().nth(2).unwrap().join("portolan");
    let (what, ours) = if portolan.exists() {
        let command = [portolan.display().to_string(), "build".to_owned()];
        ("one overlay, `portolan build`", reference::process(&command, &overlay))
    } else {
        let command = [program.display().to_string(), "one".to_owned()];
        ("one overlay, a process with nothing but the library", reference::process(&command, dir.path()))
    };
    for (name, command) in &reference.commands {
        let target = if command[0] == "kubectl" { 10.0 } else { 5.0 };
        line(what, ours, Some((name, reference::process(command, &overlay), target)));
    }
    let tree = in_memory(&files);
    let ours = median(200, || drop(text(&tree, &overlay_dir(0))));
    line("one overlay, in process", ours, None);
}

/// A thousand overlays, each as if it were the only one.
fn many_overlays(reference: &Reference) {
    let files = fleet(BASES, OVERLAYS);
    let dir = tempfile::tempdir().unwrap();
    trees::write(&files, dir.path());
    let dirs: Vec<String> = (0..OVERLAYS).map(overlay_dir).collect();
    let tree = in_memory(&files);
    let (mut bytes, mut all) = (0, HASH_OF_NOTHING);
    for dir in &dirs {
        let text = text(&tree, dir);
        bytes += text.len();
        all = hash(all, &text);
    }
    let ours = median(5, || dirs.iter().for_each(|dir| drop(text(&tree, dir))));
    line("1,000 overlays, each alone", ours / 1000, None);
    for place in ["memory", "disk"] {
        let Some(theirs) = reference.build(place, dir.path(), &dirs) else { continue };
        assert_eq!((theirs.bytes, theirs.hash), (bytes, all), "the reference gives something else");
        let name = format!("the library ({place})");
        line("1,000 overlays, each alone", ours / 1000, Some((&name, theirs.time / 1000, 20.0)));
    }
    for (name, command) in &reference.commands {
        let theirs = reference::process(command, &dir.path().join(overlay_dir(7)));
        line("1,000 overlays, each alone", ours / 1000, Some((name, theirs, 100.0)));
    }
}

/// The same with one renderer, which keeps what it made; then again after changes.
fn overlays_again(reference: &Reference) {
    let files = fleet(BASES, OVERLAYS);
    let dir = tempfile::tempdir().unwrap();
    trees::write(&files, dir.path());
    let dirs: Vec<String> = (0..OVERLAYS).map(overlay_dir).collect();
    let (mut tree, mut renderer) = (in_memory(&files), Renderer::default());
    let mut all = HASH_OF_NOTHING;
    let mut render = |tree: &MemoryTree| {
        let start = Instant::now();
        for dir in &dirs {
            all = hash(all, &renderer.render(tree, dir, Options::default()).unwrap().to_yaml().unwrap());
        }
        (start.elapsed(), renderer.counts().built, renderer.size())
    };
    let (time, _, size) = render(&tree);
    let each = time / 1000;
    line("1,000 overlays with one renderer", each, None);
    if let Some(theirs) = reference.build("memory", dir.path(), &dirs) {
        let other = ("the library (memory)", theirs.time / 1000, 20.0);
        line("1,000 overlays with one renderer", each, Some(other));
    }
    for (name, command) in &reference.commands {
        let theirs = reference::process(command, &dir.path().join(overlay_dir(7)));
        line("1,000 overlays with one renderer", each, Some((name, theirs, 100.0)));
    }
    println!("the renderer keeps about {:.1} MiB", size as f64 / f64::from(1 << 20));
    let (time, mut before, _) = render(&tree);
    line("1,000 overlays again, nothing changed, texts written", time, None);
    for path in ["overlays/team-0007/resources.yaml", "bases/app-07/service.yaml"] {
        let text = tree.read(path).unwrap();
        tree.insert(path, [&*text, b"# changed\n"].concat());
        let (time, built, _) = render(&tree);
        println!("1,000 overlays again, {path} changed: {time:.1?}, {} built", built - before);
        before = built;
    }
}

/// Makes a tree with so many objects.
type Make = fn(usize) -> Files;

/// Many objects in one build: the time for each must not grow, and memory has a bound.
fn many_objects(reference: &Reference) {
    costs();
    // The reference takes time for the square of the number: with all of them it would be an hour.
    let files = trees::large(COMPARED_OBJECTS);
    let dir = tempfile::tempdir().unwrap();
    trees::write(&files, dir.path());
    let tree = in_memory(&files);
    let ours = median(3, || drop(text(&tree, "")));
    if let Some(theirs) = reference.build("memory", dir.path(), &[".".to_owned()]) {
        let all = hash(HASH_OF_NOTHING, &text(&tree, ""));
        assert_eq!(theirs.hash, all, "the reference gives something else");
        line(&format!("{COMPARED_OBJECTS} objects"), ours, Some(("the library (memory)", theirs.time, 20.0)));
    }
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).args(["memory", &OBJECTS.to_string()]).output().unwrap();
    print!("{}", String::from_utf8(output.stdout).unwrap());
}

/// What an object costs among few and among many.
fn costs() {
    let cases: [(&str, Make); 5] = [
        ("objects with references", trees::large),
        ("objects with patches by regular expression", |objects| trees::patched(objects, 50)),
        ("objects, each with a patch of its own", trees::patched_each),
        ("generated ConfigMaps", trees::generated),
        ("objects, each in a file of its own", trees::scattered),
    ];
    for (what, files) in cases {
        let mut each = vec![];
        for objects in [OBJECTS / 4, OBJECTS] {
            let tree = in_memory(&files(objects));
            let (time, cpu) = best_of(3, || drop(text(&tree, "")));
            each.push(cpu.as_secs_f64() / objects as f64);
            line(&format!("{objects} {what}"), time, None);
        }
        println!(
            "{what}: an object costs {:.2} times as much among 4 times as many (target: 1)",
            each[1] / each[0]
        );
    }
}

/// Run in a process of its own: how much memory a build takes at most, beside the tree that it reads.
fn memory(objects: usize) {
    let tree = in_memory(&trees::large(objects));
    let before = status_kib("VmRSS:");
    let built = build(&tree, "", Options::default()).unwrap();
    let text = built.to_yaml().unwrap();
    let peak = (status_kib("VmHWM:") - before) as f64 / 1024.0;
    let output = text.len() as f64 / f64::from(1 << 20);
    println!(
        "{objects} objects, most memory: {peak:.1} MiB for {output:.1} MiB of output: {:.1} times (target: at most 6)",
        peak / output
    );
}

/// Builds so many overlays, or the root, over and over.
fn repeat(files: &Files, overlays: usize, times: usize) {
    let tree = in_memory(files);
    for n in 0..times {
        let dir = if overlays == 0 { String::new() } else { overlay_dir(n % overlays) };
        drop(text(&tree, &dir));
    }
}

/// The same with a renderer, a new one when all overlays were built.
fn again(files: &Files, times: usize) {
    let tree = in_memory(files);
    let mut renderer = Renderer::default();
    for n in 0..times {
        if n % OVERLAYS == 0 {
            renderer = Renderer::default();
        }
        let built = renderer.render(&tree, &overlay_dir(n % OVERLAYS), Options::default()).unwrap();
        drop(built.to_yaml().unwrap());
    }
}

fn text(tree: &dyn Tree, dir: &str) -> String {
    build(tree, dir, Options::default()).unwrap().to_yaml().unwrap()
}

/// The least time, as a clock on the wall sees it and as the processor counts it.
fn best_of(runs: usize, mut run: impl FnMut()) -> (Duration, Duration) {
    let mut best = (Duration::MAX, Duration::MAX);
    for _ in 0..runs {
        let (start, cpu) = (Instant::now(), cpu_time());
        run();
        best = (best.0.min(start.elapsed()), best.1.min(cpu_time() - cpu));
    }
    best
}

/// How long this thread was on a processor: other programs do not count.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_ascii_whitespace().next().unwrap().parse().unwrap())
}

fn median(runs: usize, mut run: impl FnMut()) -> Duration {
    let mut times = vec![];
    for _ in 0..runs {
        let start = Instant::now();
        run();
        times.push(start.elapsed());
    }
    times.sort();
    times[runs / 2]
}

/// A line of what the kernel knows about this process.
fn status_kib(name: &str) -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A tree on the disk, without links.
struct Disk {
    root: PathBuf,
}

impl Tree for Disk {
    fn read(&self, path: &str) -> Option<Bytes> {
        std::fs::read(self.root.join(path)).ok().map(Bytes::from)
    }

    fn kind(&self, path: &str) -> Option<Kind> {
        let kind = |path: &Path| std::fs::metadata(path).ok();
        let metadata = kind(&self.root.join(path))?;
        Some(if metadata.is_dir() { Kind::Directory } else { Kind::File })
    }

    fn list(&self, _: &str) -> Vec<(String, Kind)> {
        vec![]
    }
}
