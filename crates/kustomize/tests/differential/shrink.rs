//! From a tree that shows a difference to a small one that still shows it.

use proptest::strategy::ValueTree;

use crate::plan::{Case, Plan};

/// Builds that shrinking may cost, in each of its two steps: the reference takes its time.
const STEPS: usize = 400;

/// Takes away layers, objects and entries.
pub(crate) fn plan(tree: &mut dyn ValueTree<Value = Plan>, differs: &mut dyn FnMut(&Case) -> bool) -> Case {
    let mut smallest = tree.current().case();
    let mut steps = 0;
    let mut moved = tree.simplify();
    while moved && steps < STEPS {
        steps += 1;
        let case = tree.current().case();
        moved = if differs(&case) {
            smallest = case;
            tree.simplify()
        } else {
            tree.complicate()
        };
    }
    smallest
}

/// Takes away files, then lines with what is below them.
pub(crate) fn lines(mut case: Case, differs: &mut dyn FnMut(&Case) -> bool) -> Case {
    let mut steps = 0;
    let mut again = true;
    while again && steps < STEPS {
        again = false;
        let paths: Vec<String> = case.files.keys().cloned().collect();
        for path in paths {
            let mut without = case.clone();
            without.files.remove(&path);
            steps += 1;
            if differs(&without) {
                case = without;
                again = true;
                continue;
            }
            again |= file(&mut case, &path, &mut steps, differs);
        }
    }
    case
}

fn file(case: &mut Case, path: &str, steps: &mut usize, differs: &mut dyn FnMut(&Case) -> bool) -> bool {
    let mut shorter = false;
    let mut at = 0;
    while *steps < STEPS {
        let lines: Vec<&str> = case.files[path].split_inclusive('\n').collect();
        let Some(end) = block_end(&lines, at) else { break };
        let kept: String = [&lines[..at], &lines[end..]].concat().concat();
        let mut without = case.clone();
        without.files.insert(path.to_owned(), kept);
        *steps += 1;
        if differs(&without) {
            *case = without;
            shorter = true;
        } else {
            at += 1;
        }
    }
    shorter
}

/// Where the block that a line opens ends.
fn block_end(lines: &[&str], at: usize) -> Option<usize> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let first = lines.get(at)?;
    let is_item = first.trim_start().starts_with("- ");
    let below = lines[at + 1..].iter().take_while(|line| {
        indent(line) > indent(first)
            || (!is_item && indent(line) == indent(first) && line.trim_start().starts_with("- "))
    });
    Some(at + 1 + below.count())
}
